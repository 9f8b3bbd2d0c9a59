use std::fs;

use proptest::prelude::*;

use super::testing::SCHEMES;
use super::*;
use crate::agent::AgentName;
use crate::target::Target;

fn spec(text: &str) -> String {
    format!("apiVersion: doorward.dev/v1alpha1\nkind: Provider\nmetadata: {{name: p}}\nspec:\n{text}")
}

fn mistakes(text: &str) -> Vec<String> {
    match parse_text("f.yaml", text, SCHEMES) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
    }
}

fn loaded(text: &str) -> Loaded {
    parse_text("f.yaml", text, SCHEMES).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
}

fn one(text: &str) -> Arc<Provider> {
    Arc::clone(&loaded(text).providers[0])
}

/// Each spec with a part of the one mistake that it has to give, with its line counted from the spec's first.
const WRONG: &[(&str, &str)] = &[
    ("  typ: github\n", "5:3: unknown field \"typ\"; did you mean \"type\"?"),
    ("  host: a.com\n", "5:3: `type` is missing"),
    ("  type: githb\n", "5:9: unknown type; did you mean \"github\"?"),
    (
        "  type: gcp\n  auth: {type: workload-identity, secretRef: s}\n  config: {subjectTokenFile: token}\n",
        "7:30: `config.subjectTokenFile` is an absolute path",
    ),
    (
        "  type: gcp\n  auth: {type: workload-identity, secretRef: s}\n  config: {subjectTokenFile: /token}\n",
        "7:30: `config.subjectTokenFile` lies in a folder of its own",
    ),
    (
        "  type: gcp\n  auth: {type: workload-identity, secretRef: s}\n  config: {subjectTokenFile: /proc/self/environ}\n",
        "7:30: `config.subjectTokenFile` lies in a folder of its own",
    ),
    (
        "  type: gcp\n  auth: {type: workload-identity, secretRef: s}\n",
        "`config.subjectTokenFile` is missing",
    ),
    (
        "  type: aws\n  policy:\n    deny: [\"s3:Delete?ucket\"]\n",
        "7:12: `?` is no wildcard here: write `*`, or each action",
    ),
    ("  type: slack\n  policy: {allow: [\"chat.?\"]}\n", "`?` is no wildcard here"),
    (
        "  type: aws\n  scope: {resources: [\"arn:aws:s3:::log-?/*\"]}\n",
        "6:23: not an ARN pattern such as `arn:aws:s3:::bucket/*`; `*` is the only wildcard",
    ),
    ("  type: aws\n  scope: {resources: [\"arn:aws:s3:::${aws:username}/*\"]}\n", "`*` is the only wildcard"),
    ("  type: 5\n  host: a.com\n", "`type` has to be text, here is a number; put it in quotes"),
    ("  type: http-token\n", "has no hosts of its own"),
    ("  type: github\n  host: a.com\n  hosts: [b.com]\n", "6:9: `host` cannot stand beside `hosts`"),
    ("  type: github\n  hosts: []\n", "cover nothing"),
    ("  type: github\n  hosts:\n", "`hosts` has nothing in it"),
    ("  type: github\n  host: https://a.com/x\n", "without `https://`"),
    ("  type: github\n  host: \"*a.com\"\n", "`*` stands only in front"),
    (
        "  type: github\n  host: a.com\n  host: b.com\n",
        "7:3: the key \"host\" stands here twice, first in line 6",
    ),
    ("  type: http-token\n  host: \"*.com\"\n  auth: {secretRef: s}\n", "public suffix"),
    ("  type: http-token\n  host: \"*.github.io\"\n  auth: {secretRef: s}\n", "public suffix"),
    ("  type: github\n  auth:\n", "`auth` has nothing in it"),
    ("  type: github\n  auth: {type: pat}\n", "`secretRef` is missing"),
    ("  type: github\n  auth: {secretRef: ghp_0123456789abcdef0123456789abcdef0123}\n", "never its value"),
    ("  type: openai\n  auth: {secretRef: sk-proj-0123456789abcdef0123456789}\n", "never its value"),
    (
        "  type: http-token\n  host: a.com\n  auth: {secretRef: 0123456789abcdef0123456789abcdef}\n",
        "never its value",
    ),
    (
        "  type: http-token\n  host: a.com\n  auth: {secretRef: {name: a}}\n",
        "`secretRef` has to be text, here is a map",
    ),
    (
        "  type: docker-registry\n  host: a.com\n  auth: {secretRef: s, type: token-service}\n",
        "`config.tokenService` is missing: the URL that the registry names as `realm`",
    ),
    (
        "  type: docker-registry\n  hosts: [ghcr.io, quay.io]\n  auth: {secretRef: s, type: token-service}\n",
        "is for one registry",
    ),
    (
        "  type: docker-registry\n  host: \"*.corp.example\"\n  auth: {secretRef: s, type: token-service}\n  config: {tokenService: \"https://a.example/t\"}\n",
        "not for a wildcard",
    ),
    (
        "  type: docker-registry\n  host: a.com\n  auth: {secretRef: s, type: token-service}\n  config: {tokenService: \"http://a.example/t\"}\n",
        "`config.tokenService` has to begin with `https://`",
    ),
    (
        "  type: docker-registry\n  host: ghcr.io\n  auth: {secretRef: s, type: token-service}\n  config: {service: \"a b\"}\n",
        "`config.service` is a name such as",
    ),
    (
        "  type: docker-registry\n  host: a.com\n  auth: {secretRef: s}\n  config: {tokenService: \"https://a.example/t\"}\n",
        "has no `config.tokenService`",
    ),
    (
        "  type: docker-registry\n  host: a.com\n  auth: {secretRef: s}\n  scope: {repositories: [\"a/**\"]}\n",
        "a repository is `name`, `owner/name` or deeper",
    ),
    (
        "  type: openai\n  auth: {type: oauth, secretRef: s, secretKey: access_token}\n",
        "`secretKey` is the key of the refresh token",
    ),
    (
        "  type: http-token\n  host: a.com\n  auth: {type: oauth2-refresh, secretRef: s, tokenUrl: \"https://a.com/t\", secretKey: expires_at}\n",
        "`secretKey` is the key of the refresh token",
    ),
    (
        "  type: http-token\n  host: a.com\n  auth: {type: oauth2-refresh, secretRef: s, tokenUrl: x}\n",
        "`tokenUrl` has to begin with `https://`",
    ),
    ("  type: http-token\n  host: a.com\n  auth: {type: beerer, secretRef: s}\n", "did you mean \"bearer\"?"),
    ("  type: github\n  auth: {secretRef: s, header: X}\n", "auth type `pat` has no field `header`"),
    ("  type: http-token\n  host: a.com\n  auth: {type: header, secretRef: s}\n", "`header` is missing"),
    (
        "  type: http-token\n  host: a.com\n  auth: {type: header, secretRef: s, header: \"a b\"}\n",
        "`header` is not the name of a header",
    ),
    (
        "  type: http-token\n  host: a.com\n  auth: {type: header, secretRef: s, header: Host}\n",
        "cannot carry a credential",
    ),
    (
        "  type: http-token\n  host: a.com\n  auth: {secretRef: s, param: k, prefix: x}\n",
        "`prefix` cannot stand beside `param`",
    ),
    (
        "  type: http-token\n  host: a.com\n  auth: {type: query, secretRef: s, param: k, header: X}\n",
        "auth type `query` has no field `header`",
    ),
    (
        "  type: http-token\n  host: a.com\n  auth: {type: path, secretRef: s, template: \"bot{{token}}\"}\n",
        "has to begin with `/`",
    ),
    (
        "  type: http-token\n  host: a.com\n  auth: {type: path, secretRef: s, template: \"/bot/\"}\n",
        "is not a template",
    ),
    ("  type: github\n  auth: {secretRef: s, placeholder: short}\n", "8 characters or more"),
    (
        "  type: github\n  auth: {secretRef: s, agentEnvVar: \"1X\"}\n",
        "not the name of an environment variable",
    ),
    (
        "  type: github\n  auth: {secretRef: s, agentEnv: {X: {secretRef: t}}}\n",
        "`secretRef` comes with a later release",
    ),
    (
        "  type: github\n  auth: {secretRef: s, agentEnv: {X: {placeholder: \"{rand:\"}}}\n",
        "a shape is text with",
    ),
    ("  type: github\n  auth: {secretRef: s, onAgentCredential: keep}\n", "`onAgentCredential` has to be"),
    ("  type: github\n  auth: {secretRef: s, removeHeaders: [\"a b\"]}\n", "not the name of a header"),
    ("  type: github\n  auth: {secretRef: s, verify: {url: \"https://evil.example/\"}}\n", "does not cover"),
    ("  type: github\n  auth: {secretRef: s, verify: {url: \"http://api.github.com/\"}}\n", "absolute URL"),
    (
        "  type: github\n  auth: {secretRef: s, verify: {url: \"https://u:p@api.github.com/\"}}\n",
        "absolute URL",
    ),
    (
        "  type: github\n  auth: {secretRef: s, inject: [{hosts: [a.com], header: X}]}\n",
        "does not cover this host",
    ),
    ("  type: github\n  auth: {secretRef: s, inject: [{header: X, query: {name: k}}]}\n", "exactly one of"),
    ("  type: github\n  auth: {secretRef: s, inject: [{hosts: [github.com]}]}\n", "exactly one of"),
    (
        "  type: github\n  auth: {secretRef: s, inject: [{hosts: [], header: X}]}\n",
        "nothing would be injected",
    ),
    (
        "  type: github\n  auth: {secretRef: s, inject: [{query: {nme: k}}]}\n",
        "`query` has no field \"nme\"; did you mean \"name\"?",
    ),
    (
        "  type: github\n  auth: {secretRef: s, inject: [{query: {name: k}, template: x}]}\n",
        "belongs inside `query`",
    ),
    ("  type: github\n  auth: {secretRef: s, inject: [{body: {jsonPointer: a}}]}\n", "JSON pointer"),
    (
        "  type: github\n  auth: {secretRef: s, inject: [{placeholder: {in: [\"header:User-Agent\"]}}]}\n",
        "servers reflect it",
    ),
    (
        "  type: github\n  auth: {secretRef: s, inject: [{placeholder: {in: [\"header:Accept-Language\"]}}]}\n",
        "servers reflect it",
    ),
    (
        "  type: github\n  auth: {secretRef: s, inject: [{placeholder: {in: [nowhere]}}]}\n",
        "is made of `header:NAME`",
    ),
    ("  type: github\n  auth: {secretRef: s, inject: [{placeholder: {in: []}}]}\n", "names no spot"),
    (
        "  type: http-token\n  host: a.com\n  auth: {secretRef: s, header: X, inject: [{header: X}]}\n",
        "does nothing beside `inject`",
    ),
    (
        "  type: github\n  policy: {allow: [\"isues:read\"]}\n",
        "no such action; did you mean \"issues:read\"?",
    ),
    ("  type: http-token\n  host: a.com\n  policy: {allow: [\"x:read\"]}\n", "has no actions"),
    ("  type: github\n  policy:\n    allow:\n", "`allow` has nothing in it"),
    ("  type: github\n  policy:\n", "`policy` has nothing in it"),
    ("  type: github\n  policy: {httpRules: [{effect: ask, ask: {hold: 6m}}]}\n", "`hold` is a number with"),
    ("  type: github\n  policy: {httpRules: [{effect: ask, ask: {hold: 30}}]}\n", "put it in quotes"),
    ("  type: github\n  policy: {httpRules: [{effect: deny, ask: {hold: 6s}}]}\n", "`ask` belongs to"),
    ("  type: github\n  policy: {httpRules: [{effect: alow}]}\n", "did you mean \"allow\"?"),
    ("  type: github\n  policy: {httpRules: [{methods: [get], effect: allow}]}\n", "written in capitals"),
    ("  type: github\n  policy: {httpRules: [{methods: [], effect: allow}]}\n", "would match nothing"),
    ("  type: github\n  policy: {httpRules: [{paths: [], effect: allow}]}\n", "would match nothing"),
    ("  type: github\n  policy: {httpRules: [{paths: [\"v1/**\"], effect: allow}]}\n", "begins with `/`"),
    (
        "  type: github\n  policy: {httpRules: [{paths: [\"/a?b\"], effect: allow}]}\n",
        "query is not part of the path",
    ),
    ("  type: github\n  policy: {httpRules: [{id: a, effect: allow}, {id: a, effect: deny}]}\n", "same `id`"),
    (
        "  type: github\n  policy: {mcp: {allowedTools: [a]}}\n",
        "type `github` has no tools: `policy.mcp` is for `type: mcp`",
    ),
    ("  type: github\n  scope: {channels: [C1]}\n", "type `github` has no `scope.channels`"),
    ("  type: github\n  scope: {repositories: [acme]}\n", "`owner/name`"),
    ("  type: github\n  scope: {repositories: [\"acme/**\"]}\n", "`owner/name`"),
    ("  type: github\n  scope: {repositories:}\n", "`repositories` has nothing in it"),
    ("  type: github\n  limits: {requestsPerMinute: 0}\n", "a whole number from 1"),
    ("  type: github\n  limits: {timeout: 30}\n", "put it in quotes"),
    ("  type: github\n  limits: {timeout: 0s}\n", "`timeout` is a number with"),
    ("  type: github\n  limits: {timeout: 99999h}\n", "`timeout` is a number with"),
    ("  type: github\n  response: {redact: \"no\"}\n", "`redact` has to be true or false"),
    ("  type: github\n  response: {redact: no}\n", "`redact` has to be true or false"),
    ("  type: github\n  response: {smallRanges: deny}\n", "`smallRanges` has to be `allow`"),
    ("  type: github\n  request: {keepHeaders: [Connection]}\n", "may never be kept"),
    ("  type: github\n  tls: {clientCert: {}}\n", "`secretRef` is missing"),
    ("  type: github\n  tls: {clientCert: {secretRef: s, key: k}}\n", "unknown field \"key\""),
    (
        "  type: github\n  tls: {clientCert: {secretRef: s}, mode: passthrough}\n",
        "the TLS is the agent's own",
    ),
    ("  type: github\n  tls: {clientCert: {secretRef: s}, mode: plain}\n", "there is no TLS"),
    (
        "  type: http-token\n  host: a.b.c\n  auth: {type: mtls, secretRef: s}\n  tls: {mode: plain}\n",
        "there is no TLS",
    ),
    (
        "  type: http-token\n  host: a.b.c\n  auth: {type: mtls, secretRef: s}\n  tls: {clientCert: {secretRef: s}}\n",
        "beside `auth.type: mtls`",
    ),
    (
        "  type: http-token\n  host: a.b.c\n  auth: {secretRef: s, onAgentCredential: placeholder-only}\n  tls: {clientCert: {secretRef: s}}\n",
        "shown whatever the agent sends",
    ),
    (
        "  type: http-token\n  host: a.b.c\n  auth: {type: mtls, secretRef: s, placeholder: dummy-dummy}\n",
        "`placeholder` does nothing with `type: mtls`",
    ),
    (
        "  type: http-token\n  host: a.b.c\n  auth: {type: mtls, secretRef: s, header: X-A}\n",
        "has no field `header`",
    ),
    (
        "  type: http-token\n  host: \"*.com\"\n  tls: {clientCert: {secretRef: s}}\n",
        "under this public suffix",
    ),
    ("  type: github\n  tls: {mode: off}\n", "`mode` has to be"),
    ("  type: github\n  tls: {mode: passthrough}\n  auth: {secretRef: s}\n", "cannot inject anything"),
    ("  type: github\n  tls: {mode: passthrough}\n  policy: {allow: [\"*\"]}\n", "requests are not read"),
    ("  type: github\n  network: {allowCIDRs: [169.254.169.254/32]}\n", "only cloud metadata"),
    ("  type: github\n  network: {allowCIDRs: [\"fd00:ec2::254\"]}\n", "only cloud metadata"),
    ("  type: github\n  network: {allowCIDRs: [10.0.0.0/33]}\n", "not an address range"),
    ("  type: github\n  config: {region: x}\n", "type `github` has no `config.region`"),
    ("  type: aws\n  config: {region: x}\n", "`config` does nothing without `auth`"),
    (
        "  type: aws\n  auth: {secretRef: s}\n  config: {region: eu/west}\n",
        "`config.region` is made of lower-case",
    ),
    (
        "  type: aws\n  auth: {secretRef: s}\n  config: {services: [s3, \"s3.evil\"]}\n",
        "`config.services` is made of",
    ),
    ("  type: aws\n  auth: {secretRef: s}\n  config: {services: []}\n", "`config.services` is empty"),
    (
        "  type: aws\n  auth: {secretRef: s}\n  config: {assumeRole: {arn: a}}\n",
        "`config.assumeRole.arn` is not the ARN of a role",
    ),
    ("  type: aws\n  auth: {secretRef: s}\n  config: {assumeRole: {externalId: abc}}\n", "`arn` is missing"),
    (
        "  type: aws\n  auth: {secretRef: s}\n  config: {assumeRole: {arn: \"arn:aws:iam::123456789012:role/x\", duration: 60}}\n",
        "`config.assumeRole.duration` is a number of seconds from 900 to 43200",
    ),
    (
        "  type: aws\n  auth: {secretRef: s}\n  config: {assumeRole: {arn: \"arn:aws:iam::123456789012:role/x\", externalId: \"a b\"}}\n",
        "`config.assumeRole.externalId` is made of",
    ),
    (
        "  type: aws\n  auth: {secretRef: s}\n  config: {region: cn-north-1, assumeRole: {arn: \"arn:aws:iam::123456789012:role/x\"}}\n",
        "names a role of another partition",
    ),
    (
        "  type: aws\n  host: minio.corp.example\n  auth: {secretRef: s}\n  config: {assumeRole: {arn: \"arn:aws:iam::123456789012:role/x\"}}\n",
        "none of AWS'",
    ),
    ("  type: gcp\n  auth: {secretRef: s}\n  config: {assumeRole: {arn: x}}\n", "has no `config.assumeRole`"),
    ("  type: aws\n  scope: {resources: [bucket]}\n", "not an ARN pattern"),
    ("  type: gcp\n  scope: {resources: [\"arn:aws:s3:::a\"]}\n", "not a resource name such as"),
    ("  type: azure\n  scope: {resources: [rg]}\n", "not a resource id such as"),
    (
        "  type: azure\n  hosts: [management.azure.com, blobs.corp.example]\n  auth: {secretRef: s}\n",
        "gets tokens for the hosts of its vendor",
    ),
    (
        "  type: gcp\n  host: \"*.corp.example\"\n  auth: {secretRef: s}\n",
        "gets tokens for the hosts of its vendor",
    ),
    (
        "  type: github\n  hosts: [ghe.corp.example]\n  auth: {type: github-app, secretRef: s}\n",
        "gets tokens for the hosts of its vendor",
    ),
    (
        "  type: azure\n  auth: {secretRef: s}\n  config: {tenantId: a/b}\n",
        "`config.tenantId` is made of lower-case",
    ),
    (
        "  type: azure\n  auth: {secretRef: s}\n  config: {project: p}\n",
        "type `azure` has no `config.project`",
    ),
    (
        "  type: github\n  auth: {secretRef: s}\n  config: {permissions: [\"contents:read\"]}\n",
        "type `github` has no `config.permissions`",
    ),
    (
        "  type: aws\n  hosts: [\"*.minio.example.com\"]\n  scope: {resources: [\"arn:aws:s3:::a\"]}\n",
        "cannot be checked on a wildcard that is not the type's own",
    ),
    ("  type: github\n  mcp: {url: x}\n", "type `github` has no `mcp`: it is for `type: mcp`"),
    ("  type: mcp\n", "`mcp.url`, the URL of the MCP server, is missing"),
    ("  type: mcp\n  mcp: {}\n", "`url` is missing"),
    ("  type: mcp\n  mcp: {url: \"http://m.example.com/mcp\"}\n", "`mcp.url` is an absolute URL"),
    ("  type: mcp\n  mcp: {url: \"https://m.example.com/mcp?key=1\"}\n", "without a query"),
    ("  type: mcp\n  host: m.example.com\n  mcp: {url: \"https://m.example.com/mcp\"}\n", "leave this out"),
    ("  type: mcp\n  mcp: {url: \"https://m.example.com/mcp\", transport: ws}\n", "`transport` has to be"),
    (
        "  type: mcp\n  mcp: {url: \"https://m.example.com/mcp\"}\n  policy: {mcp: {}}\n",
        "`policy.mcp` limits nothing",
    ),
    (
        "  type: mcp\n  mcp: {url: \"https://m.example.com/mcp\"}\n  policy: {mcp: {allowedTools: [\"a b\"]}}\n",
        "the name of a tool",
    ),
    (
        "  type: mcp\n  tls: {mode: passthrough}\n  mcp: {url: \"https://m.example.com/mcp\"}\n",
        "requests are not read",
    ),
    ("  type: github\n  env: [{name: A, secretRef: s}]\n", "`env` comes with a later release"),
    ("  type: github\n  tests: [{request: \"GET\", expect: deny}]\n", "a test's `request`"),
    (
        "  type: github\n  tests: [{request: \"GET https://evil.example/\", expect: deny}]\n",
        "does not cover the host of this test",
    ),
    ("  type: github\n  tests: [{request: \"GET /\", expect: maybe}]\n", "`expect` has to be"),
];

#[test]
fn refuses_each_mistake_once_with_its_place() {
    for (text, wanted) in WRONG {
        let found = mistakes(&spec(text));
        assert!(
            found.iter().any(|mistake| mistake.contains(wanted)),
            "{text}\nwanted {wanted}\nfound {found:#?}"
        );
        assert!(found.len() <= 2, "{text}\n{found:#?}");
        assert!(found.iter().all(|mistake| mistake.starts_with("f.yaml:")));
    }
}

#[test]
fn tells_all_mistakes_of_a_file_at_once() {
    let found = mistakes(&spec("  type: github\n  hostz: [a]\n  limits: {timeout: soon}\n  policy: {allow: [\"x:y\"], deny: 5}\n")
        .replace("name: p", "name: P"));
    assert_eq!(found.len(), 5, "{found:#?}");
}

#[test]
fn never_shows_a_value() {
    for (text, _) in WRONG {
        let planted = text
            .replace("secretRef: s", "secretRef: CANARY!x")
            .replace("a.com", "CANARY_9f8e7d.com/")
            .replace("a b", "CANARY_9f8e7d b")
            .replace("x:read", "CANARY_9f8e7d:x")
            .replace("soon", "CANARY_9f8e7d");
        for mistake in mistakes(&spec(&planted)) {
            assert!(!mistake.contains("CANARY"), "{planted}\n{mistake}");
        }
    }
    let stray = mistakes(&spec(
        "  type: github\n  ghp_CANARY123456: x\n  auth: {secretRef: s, sk-CANARY12345678901234567890123: y}\n",
    ));
    assert!(stray.len() == 2 && stray.iter().all(|mistake| !mistake.contains("CANARY")), "{stray:#?}");
}

#[test]
fn refuses_documents_that_are_no_provider() {
    let head = "apiVersion: doorward.dev/v1alpha1\n";
    for (text, wanted) in [
        ("", "holds no document"),
        ("---\n", "holds no document"),
        ("- a\n", "a document is a map"),
        ("kind: Provider\n", "`apiVersion` is missing"),
        ("a: 1\n", "`kind` is missing"),
        ("kind: Secret\n", "use `doorward add`"),
        ("kind: Provder\n", "did you mean \"Provider\"?"),
        (
            "apiVersion: v1\nkind: Provider\nmetadata: {name: a}\nspec: {type: github}\n",
            "`apiVersion` of a Provider is",
        ),
        (
            "apiVersion: pai.io/v1\nkind: ModelProvider\nmetadata: {name: a}\nspec: {provider: opnai}\n",
            "did you mean \"openai\"?",
        ),
        (
            "apiVersion: pai.io/v1\nkind: Agent\nmetadata: {name: a}\nspec: {providers: []}\n",
            "`apiVersion` of a Agent is",
        ),
        ("kind: Provider\nmetadata: {name: ../x}\nspec: {type: github}\n", "`metadata.name` is made of"),
    ] {
        let found = mistakes(text);
        assert!(found.iter().any(|mistake| mistake.contains(wanted)), "{text:?} {found:#?}");
    }
    let two = format!("{head}kind: Provider\nmetadata: {{name: a}}\nspec: {{type: github}}\n");
    let same_name = "a provider of the same name stands in f.yaml:1";
    assert!(mistakes(&format!("{two}---\n{two}")).iter().any(|mistake| mistake.contains(same_name)));
}

#[test]
fn refuses_two_providers_for_one_host_unless_their_agents_differ() {
    let provider = |name: &str, host: &str| {
        format!(
            "---\napiVersion: pai.io/v1\nkind: Provider\nmetadata: {{name: {name}}}\nspec: {{type: http-token, host: \"{host}\"}}\n"
        )
    };
    let agent = |name: &str, provider: &str| {
        format!(
            "---\napiVersion: doorward.dev/v1alpha1\nkind: Agent\nmetadata: {{name: {name}}}\nspec: {{providers: [{provider}]}}\n"
        )
    };
    let both = provider("a", "x.com") + &provider("b", "x.com");
    let found = mistakes(&both);
    assert!(
        found[0].contains("`x.com` is named by provider `a` (f.yaml:2) and by provider `b` (f.yaml:7)"),
        "{found:?}"
    );
    assert!(mistakes(&(provider("a", "*.x.com") + &provider("b", "*.x.com"))).len() == 1);
    assert!(mistakes(&(both.clone() + &agent("one", "a, b"))).len() == 1);
    assert!(mistakes(&(both.clone() + &agent("one", "c")))[0].contains("no provider of this name"));
    let twice = mistakes(&(both.clone() + &agent("one", "a") + &agent("one", "b")));
    assert!(twice.iter().any(|mistake| mistake.contains("the same agent")));
    for fine in [
        provider("a", "x.com") + &provider("b", "x.com:8443"),
        provider("a", "x.com") + &provider("b", "*.com"),
    ] {
        assert!(mistakes(&fine).is_empty());
    }
    let disjoint = loaded(&(both + &agent("one", "a") + &agent("two", "b")));
    let target = Target::parse_authority("x.com:443").unwrap();
    let route = |agent: &str| {
        disjoint.routes.route(&target, &AgentName::new(agent)).map(|provider| provider.name.to_string())
    };
    assert_eq!(
        (route("one").as_deref(), route("two").as_deref(), route("three")),
        (Some("a"), Some("b"), None)
    );
}

#[test]
fn routes_to_the_most_specific_host_and_nowhere_else() {
    let text = ["x.com", "*.x.com", "*.a.x.com", "b.a.x.com", "p.com:8443"].iter().enumerate().fold(String::new(), |text, (n, host)| {
        format!("{text}---\napiVersion: pai.io/v1\nkind: Provider\nmetadata: {{name: p{n}}}\nspec: {{type: http-token, host: \"{host}\"}}\n")
    });
    let loaded = loaded(&text);
    for (target, provider) in [
        ("x.com:443", Some("p0")),
        ("z.x.com:443", Some("p1")),
        ("q.z.x.com:443", Some("p1")),
        ("a.x.com:443", Some("p1")),
        ("z.a.x.com:443", Some("p2")),
        ("b.a.x.com:443", Some("p3")),
        ("c.b.a.x.com:443", Some("p2")),
        ("p.com:8443", Some("p4")),
        ("p.com:443", None),
        ("x.com:80", None),
        ("xx.com:443", None),
        ("com:443", None),
        ("127.0.0.1:443", None),
        ("[::1]:443", None),
    ] {
        let found = loaded.routes.route(&Target::parse_authority(target).unwrap(), &AgentName::local());
        assert_eq!(found.map(|provider| &*provider.name), provider, "{target}");
    }
    assert!(loaded.routes.names_port(443) && loaded.routes.names_port(8443) && !loaded.routes.names_port(80));
    let empty = load(&[], SCHEMES).unwrap();
    assert!(
        empty.routes.route(&Target::parse_authority("x.com:443").unwrap(), &AgentName::local()).is_none()
    );
}

#[test]
fn reads_the_whole_example_of_the_reference() {
    let text = r#"
apiVersion: doorward.dev/v1alpha1
kind: Provider
metadata: {name: github-triage, namespace: team-a}
spec:
  type: github
  hosts: [api.github.com, github.com, "*.githubusercontent.com", "ghe.corp.example:8443"]
  auth:
    type: pat
    secretRef: github-pat
    secretKey: token
    placeholder: ghp_dummy1234
    removeHeaders: [X-Api-Key]
    agentEnvVar: GITHUB_TOKEN
    agentEnv: {GH_TOKEN: {placeholder: "ghp_{rand:36}"}, GH_HOST_TOKEN: }
    inject:
    - {hosts: [api.github.com], header: Authorization, template: "Bearer {{token}}"}
    - {hosts: [github.com], basic: {username: x-access-token, password: "{{token}}"}}
    - placeholder: {in: ["header:Authorization", "query:key", path, basic, "body:/auth/key"]}
    onAgentCredential: placeholder-only
    verify: {method: GET, url: "https://api.github.com/user", expect: 200}
  policy:
    httpRules:
    - {id: no-delete, methods: [DELETE], paths: ["/**"], effect: deny, reason: "agents never delete"}
    allow: ["issues:*", "pulls:read"]
    deny: ["admin:*", "repo:delete"]
    defaultAction: deny
  scope: {repositories: ["acme/*"], channels: [], resources: []}
  limits: {requestsPerMinute: 120, timeout: 30s}
  request: {keepHeaders: [X-Forwarded-For, X-HTTP-Method-Override]}
  response: {redact: true, stripHeaders: [Set-Cookie], smallRanges: allow}
  tls: {mode: intercept, upstreamCA: corp.pem}
  network: {allowCIDRs: [10.0.0.0/8, 192.168.1.1]}
  audit: {logRequests: false, enforcement: audit}
  tests:
  - {request: "DELETE /repos/acme/api", expect: deny, rule: no-delete}
  - {request: "GET https://api.github.com/repos/acme/api/issues?page=2", expect: allow}
"#;
    let loaded = loaded(text);
    let provider = &loaded.providers[0];
    assert_eq!(
        (&*provider.project, &*provider.name, &*provider.source),
        ("team-a", "github-triage", "f.yaml:2")
    );
    let auth = provider.auth.as_ref().unwrap();
    assert_eq!(auth.secret.to_string(), "team-a/github-pat");
    assert_eq!(auth.keys, ["token"]);
    assert_eq!(auth.on_agent_credential, OnAgentCredential::PlaceholderOnly);
    assert_eq!(auth.dummies.len(), 2);
    assert_eq!(auth.dummy(), "ghp_dummy1234");
    assert_eq!(provider.agent_env.len(), 3);
    assert!(
        auth.dummies.contains(&provider.agent_env[1].1) && provider.agent_env[1].1.starts_with("ghp_dw0")
    );
    let scheme =
        |host: &str| auth.injection_for(&Target::parse_authority(host).unwrap()).map(|one| one.scheme);
    assert_eq!(scheme("api.github.com:443"), Some("header"));
    assert_eq!(scheme("github.com:443"), Some("basic"));
    assert_eq!(scheme("ghe.corp.example:8443"), Some("placeholder"));
    assert_eq!(auth.injections[2].fields.spots("in").len(), 5);
    assert_eq!(provider.limits.timeout, Some(Duration::from_secs(30)));
    assert_eq!(provider.upstream.allow_cidrs.len(), 2);
    assert_eq!(provider.enforcement, Enforcement::Audit);
    assert!(!provider.log_requests && provider.response.small_ranges_allowed);
    for case in &loaded.tests {
        case.run().unwrap_or_else(|failed| panic!("{case}: {failed}"));
    }
}

#[test]
fn reads_json_several_documents_and_pai_files() {
    let loaded = loaded(
        "{\"apiVersion\": \"pai.io/v1\", \"kind\": \"Provider\",\n\t\"metadata\": {\"name\": \"a\"}, \"spec\": {\"type\": \"openai\", \"auth\": {\"secretRef\": \"k\"}}}\n---\napiVersion: pai.io/v1\nkind: Provider\nmetadata: {name: b}\nspec: {type: telegram, auth: {secretRef: k}}\n---\n",
    );
    assert_eq!(loaded.providers.len(), 2);
    assert_eq!(loaded.providers[0].auth.as_ref().unwrap().keys, ["api-key", "token"]);
    assert_eq!(loaded.providers[1].auth.as_ref().unwrap().injections[0].scheme, "path");
}

#[test]
fn injects_by_auth_type_with_the_documented_defaults() {
    for (auth, scheme, field, value, key) in [
        ("{secretRef: s}", "api_key", "prefix", None, "token"),
        (
            "{secretRef: s, type: bearer, header: X-Token, prefix: \"\"}",
            "api_key",
            "header",
            Some("x-token"),
            "token",
        ),
        ("{secretRef: s, param: api_key}", "api_key", "param", Some("api_key"), "token"),
        ("{secretRef: s, type: header, header: X-Key}", "header", "prefix", Some(""), "token"),
        ("{secretRef: s, type: query, param: k}", "query", "param", Some("k"), "token"),
        ("{secretRef: s, type: basic, username: me}", "basic", "username", Some("me"), "password"),
        ("{secretRef: s, type: cookie, name: sid}", "cookie", "name", Some("sid"), "token"),
        ("{secretRef: s, type: api-key, secretKey: other}", "api_key", "header", None, "other"),
    ] {
        let provider = one(&spec(&format!("  type: http-token\n  host: a.com\n  auth: {auth}\n")));
        let built = provider.auth.as_ref().unwrap();
        assert_eq!(built.injections[0].scheme, scheme, "{auth}");
        assert_eq!(built.injections[0].fields.text(field), value, "{auth}");
        assert_eq!(built.keys[0], key, "{auth}");
        assert!(built.dummy().starts_with("dw0"));
    }
}

#[test]
fn types_put_their_credential_where_their_hosts_take_it() {
    let github = one(&spec(
        "  type: github\n  hosts: [api.github.com, github.com, \"*.githubusercontent.com\", ghe.corp.example]\n  auth: {secretRef: s}\n",
    ));
    let auth = github.auth.as_ref().unwrap();
    let scheme =
        |host: &str| auth.injection_for(&Target::parse_authority(host).unwrap()).map(|one| one.scheme);
    assert_eq!(scheme("api.github.com:443"), Some("header"));
    assert_eq!(scheme("github.com:443"), Some("basic"));
    assert_eq!(scheme("raw.githubusercontent.com:443"), Some("header"));
    assert_eq!(scheme("objects.githubusercontent.com:443"), None);
    assert_eq!(scheme("ghe.corp.example:443"), Some("header"));
    let anthropic = one(&spec("  type: anthropic\n  auth: {secretRef: s}\n"));
    let auth = anthropic.auth.as_ref().unwrap();
    assert_eq!(auth.injections[0].fields.text("header"), Some("x-api-key"));
    assert_eq!(auth.remove_headers, ["authorization"]);
    let gemini = one(&spec("  type: gemini\n  auth: {secretRef: s}\n"));
    assert!(gemini.auth.as_ref().unwrap().remove_params.contains(&"key"));
    let telegram = one(&spec("  type: telegram\n  auth: {secretRef: s}\n"));
    let verify = telegram.verify.as_ref().unwrap();
    assert_eq!(verify.path_and_query, format!("/bot{}/getMe", telegram.auth.as_ref().unwrap().dummy()));
}

#[test]
fn plain_providers_stand_on_port_80() {
    let provider = one(&spec(
        "  type: http-token\n  host: a.example\n  tls: {mode: plain}\n  auth: {secretRef: s, verify: {url: \"http://a.example/x\"}}\n",
    ));
    assert_eq!(provider.mode, Mode::Plain);
    assert!(provider.hosts[0].covers(&Target::parse_authority("a.example:80").unwrap()));
    assert!(!provider.hosts[0].covers(&Target::parse_authority("a.example:443").unwrap()));
    assert_eq!(provider.verify.as_ref().unwrap().target.port, 80);
}

#[test]
fn knows_the_hosts_that_go_beyond_a_secrets_binding() {
    let provider = one(&spec("  type: github\n  auth: {secretRef: s}\n"));
    let bound =
        |texts: &[&str]| texts.iter().map(|text| HostPattern::parse(text, 443).unwrap()).collect::<Vec<_>>();
    assert_eq!(provider.hosts_beyond(&bound(&["api.github.com", "*.github.com", "github.com"])).count(), 1);
    assert_eq!(
        provider.hosts_beyond(&bound(&["github.com", "*.github.com", "*.githubusercontent.com"])).count(),
        0
    );
}

#[test]
fn reads_folders_in_order_and_leaves_hidden_and_other_files_out() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let provider = |name: &str| {
        format!("apiVersion: pai.io/v1\nkind: Provider\nmetadata: {{name: {name}}}\nspec: {{type: http-token, host: {name}.example}}\n").into_bytes()
    };
    write("b.yaml", &provider("b"));
    write("a/deep/c.yml", &provider("c"));
    write("..data/hidden.yaml", &provider("hidden"));
    write(".hidden.yaml", &provider("hidden2"));
    write("notes.txt", b"no yaml: [");
    let loaded = load(&[folder.path().to_owned()], SCHEMES).unwrap();
    let names: Vec<&str> = loaded.providers.iter().map(|provider| &*provider.source).collect();
    assert_eq!(names, ["a/deep/c.yml:1", "b.yaml:1"]);
    assert_eq!(loaded.files.len(), 2);

    write("x.yaml", b"kind: \xff\n");
    write("y.yaml", b"");
    write("z.json", &vec![b' '; (1 << 20) + 1]);
    let shown: Vec<String> = load(&[folder.path().to_owned()], SCHEMES)
        .unwrap_err()
        .iter()
        .map(|mistake| mistake.message.clone())
        .collect();
    assert_eq!(shown, ["the file is not UTF-8", "the file holds no document", "the file is over 1 MiB"]);
    let missing = load(&[folder.path().join("nowhere")], SCHEMES).unwrap_err();
    assert_eq!(missing[0].message, "no such file or folder");
}

#[test]
fn extra_roots_are_found_beside_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    fs::write(&file, spec("  type: github\n  tls: {upstreamCA: corp.pem}\n")).unwrap();
    assert!(load(std::slice::from_ref(&file), SCHEMES).unwrap_err()[0].message.contains("does not exist"));
    fs::write(folder.path().join("corp.pem"), "x").unwrap();
    let loaded = load(&[file], SCHEMES).unwrap();
    assert_eq!(
        loaded.providers[0].upstream.extra_roots.as_deref(),
        Some(folder.path().join("corp.pem").as_path())
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn never_panics_on_any_text(text in "\\PC{0,120}") {
        drop(parse_text("f", &text, SCHEMES));
    }

    #[test]
    fn never_panics_on_a_damaged_file(at in 0_usize..WRONG.len(), cut in 0_usize..400, junk in "[ -~\\n]{0,6}") {
        let mut text = spec(WRONG[at].0);
        let cut = (0..=cut.min(text.len())).rev().find(|cut| text.is_char_boundary(*cut)).unwrap();
        text.insert_str(cut, &junk);
        drop(parse_text("f", &text, SCHEMES));
    }

    #[test]
    fn wrong_kinds_of_values_anywhere_give_mistakes_not_panics(key in "(type|host|hosts|auth|policy|scope|limits|tls|tests|response|audit|network|request)", value in "(null|true|5|1.5|x|\\[\\]|\\[\\[\\]\\]|\\{\\}|\\{a: b\\}|\\[\\{\\}\\]|\\[null\\])") {
        drop(parse_text("f", &spec(&format!("  type: github\n  {key}: {value}\n")), SCHEMES));
    }
}

#[test]
fn warns_of_a_denied_action_that_no_request_shows() {
    let warned = |deny: &str| {
        let loaded = loaded(&spec(&format!("  type: aws\n  policy: {{deny: [\"{deny}\"]}}\n")));
        loaded.warnings.iter().any(|warning| warning.message.contains("a role is passed by what a body says"))
    };
    assert!(warned("iam:PassRole") && warned("IAM:passrole"));
    assert!(!warned("iam:*") && !warned("iam:CreateUser"));
}

#[test]
fn a_githubs_apps_token_is_asked_for_the_repositories_that_the_scope_names() {
    let repositories = |scope: &str| {
        let text = spec(&format!(
            "  type: github\n  auth: {{type: github-app, secretRef: s}}\n  scope: {{repositories: {scope}}}\n"
        ));
        let loaded = parse_text("f.yaml", &text, SCHEMES).unwrap();
        let auth = loaded.providers[0].auth.as_ref().unwrap();
        let fields: Vec<Option<&str>> =
            auth.injections.iter().map(|injection| injection.fields.text("repositories")).collect();
        assert!(fields.iter().all(|field| *field == fields[0]), "{fields:?}");
        fields[0].map(str::to_owned)
    };
    assert_eq!(repositories("[acme/api, Acme/web]").as_deref(), Some("api web"));
    // These cannot be asked for; each request is held to the scope all the same.
    for wide in ["[\"acme/*\"]", "[acme/api, \"acme/w*\"]", "[acme/api, other/web]", "[]"] {
        assert_eq!(repositories(wide), None, "{wide}");
    }
}

#[test]
fn googles_libraries_get_a_key_file_whose_key_is_nobodys() {
    let text = spec("  type: gcp\n  auth: {secretRef: s}\n  config: {project: acme-1}\n");
    let loaded = parse_text("f.yaml", &text, SCHEMES).unwrap();
    let file = loaded.providers[0].agent_file().unwrap();
    assert_eq!(file.variable, "GOOGLE_APPLICATION_CREDENTIALS");
    let env = &loaded.providers[0].agent_env;
    assert_eq!(*env, [("GOOGLE_CLOUD_PROJECT".to_owned(), "acme-1".to_owned())]);
    let account = crate::keyfile::ServiceAccount::read(file.text.as_bytes()).unwrap();
    assert!(account.private_key_id.unwrap().starts_with("ya29.dw0"));
    let github = spec("  type: github\n  auth: {secretRef: s}\n");
    assert_eq!(parse_text("f.yaml", &github, SCHEMES).unwrap().providers[0].agent_file(), None);
}

#[test]
fn warns_of_a_login_that_may_do_everything() {
    let warned = |auth: &str, policy: &str| {
        let text = format!("  type: openai\n  auth: {{type: {auth}, secretRef: s}}\n  policy: {policy}\n");
        let loaded = loaded(&spec(&text));
        loaded.warnings.iter().any(|warning| warning.message.contains("opens the whole account"))
    };
    assert!(warned("oauth", "{allow: [\"*\"]}") && warned("oauth", "{defaultAction: allow}"));
    assert!(!warned("oauth", "{allow: [\"responses:*\"]}") && !warned("oauth", "{defaultAction: deny}"));
    assert!(!warned("api-key", "{allow: [\"*\"]}"));
}
