//! Each mistake that a provider file can have, and what is said of it.

use super::*;

/// Each spec with a part of the one mistake that it has to give, with its line counted from the spec's first.
pub(super) const WRONG: &[(&str, &str)] = &[
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
