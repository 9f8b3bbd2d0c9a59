//! `doorward check request|provider`: what would happen to a request, and whether provider files are right, without a
//! network, a vault or a running proxy, or by what a server has for an agent. Exit 3 where policy says deny.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use http::{HeaderMap, Method, Uri};
use serde_json::{Value, json};

use super::check_body::{judged_model, read_body};
use super::check_leak::CheckLeak;
use super::remote::server;
use super::served;
use super::users::ProviderArgs;
use super::{Env, Exit, Failure, Format};
use crate::agent::AgentName;
use crate::audit::McpUse;
use crate::config::Home;
use crate::mcp::Calls;
use crate::policy::{self, Facts, Outcome, Step, Verdict, decide, explain};
use crate::provider::{Loaded, Mode, Provider, load};
use crate::refusal::{Code, Refusal};
use crate::rule;
use crate::secret::SecretRef;
use crate::target::Target;
use crate::types::{Reading, Told};

/// Check requests and provider files without running anything.
#[derive(Args, Clone, Debug)]
pub struct Check {
    #[command(subcommand)]
    what: What,
}

/// What is checked.
#[derive(Subcommand, Clone, Debug)]
pub enum What {
    /// Show every step of the decision on one request (exit 3 if it is denied).
    Request(CheckRequest),
    /// Check provider files and run their own tests (exit 1 on a mistake, 3 if a test fails).
    Provider(CheckProvider),
    /// Look for the vault's values in what an agent could read (exit 3 if one is found).
    Leak(CheckLeak),
}

/// The request to decide.
#[derive(Args, Clone, Debug)]
pub struct CheckRequest {
    /// The method, in capitals.
    pub method: String,
    /// The absolute URL.
    pub url: String,
    /// The agent that would ask; with a server, what is attached to it decides, and without it all that the project has.
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// A file with the request's body, `-` for stdin: the messages for an MCP server, the JSON that asks a model, or the parameters of a call of GraphQL, Slack or AWS.
    #[arg(long, value_name = "FILE")]
    pub body: Option<PathBuf>,
    /// Provider files or folders, in the place of the home's own and of a server's documents.
    #[command(flatten)]
    pub files: ProviderArgs,
}

/// The files to check.
#[derive(Args, Clone, Debug)]
pub struct CheckProvider {
    /// Provider files or folders (repeatable); default: the home's own.
    #[arg(short = 'f', long = "file", value_name = "PATH")]
    pub files: Vec<PathBuf>,
}

impl Check {
    /// Runs the command.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        match self.what {
            What::Request(command) => command.run(env),
            What::Provider(command) => command.run(env),
            What::Leak(command) => command.run(env),
        }
    }
}

fn load_files(named: &[PathBuf], env: &Env) -> Result<Loaded, Failure> {
    let own;
    let paths = if named.is_empty() {
        let home = Home::find(env).map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
        own = [home.providers_dir()];
        &own[..]
    } else {
        named
    };
    let loaded = load(paths, env.schemes).map_err(|mistakes| {
        mistakes.iter().for_each(|mistake| env.output.say(mistake));
        Failure::new(Exit::Error, format!("{} mistakes", mistakes.len()))
    })?;
    loaded.warnings.iter().for_each(|warning| env.output.say(format!("{warning} (warning)")));
    Ok(loaded)
}

impl CheckProvider {
    /// Runs the command.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        let loaded = load_files(&self.files, env)?;
        let mut failed = 0;
        for case in &loaded.tests {
            if let Err(fault) = case.run() {
                failed += 1;
                env.output.data(format!("{}:{}: {case}: {fault}", case.path, case.line));
            }
        }
        env.output.say(format!(
            "{} providers, {} agents, {} tests, {failed} failed",
            loaded.providers.len(),
            loaded.agents.len(),
            loaded.tests.len()
        ));
        Ok(if failed == 0 { Exit::Ok } else { Exit::Deny })
    }
}

/// A decision with its way, ready to print.
#[derive(Debug)]
struct Answer<'a> {
    provider: Option<&'a Provider>,
    /// Where a model provider reads the model.
    model: Option<&'static str>,
    /// What the body asks of an MCP server.
    asks: Option<McpUse>,
    steps: Vec<Step>,
    injected: Option<&'static str>,
    /// A person is asked.
    is_asked: bool,
    would_deny: bool,
    verdict: Result<(), Refusal>,
}

impl CheckRequest {
    /// Runs the command.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        let format = env.globals.output;
        if !matches!(format, Format::Table | Format::Wide | Format::Json | Format::Jsonl) {
            return Err(Failure::new(Exit::Usage, "check prints table or json"));
        }
        let server = server(env)?.filter(|_| self.files.providers.is_empty());
        let loaded = match &server {
            Some(client) => served::load(env, Some(client), &self.files, self.agent.as_deref())?,
            None => load_files(&self.files.providers, env)?,
        };
        let body = self.body.as_deref().map(read_body).transpose()?;
        let answer = self.answer(&loaded, body.as_deref())?;
        if matches!(format, Format::Json | Format::Jsonl) {
            env.output.data(answer.object());
        } else {
            answer.lines().iter().for_each(|line| env.output.data(line));
        }
        Ok(if answer.verdict.is_ok() { Exit::Ok } else { Exit::Deny })
    }

    fn answer<'l>(&self, loaded: &'l Loaded, body: Option<&str>) -> Result<Answer<'l>, Failure> {
        let usage = |message: &str| Failure::new(Exit::Usage, message);
        let method = Method::from_bytes(self.method.as_bytes()).map_err(|_| usage("not a method"))?;
        let uri: Uri = self.url.parse().map_err(|_| usage("not a URL"))?;
        let plain = match uri.scheme_str() {
            Some("https") => false,
            Some("http") => true,
            Some(_) | None => return Err(usage("write an absolute URL with https:// or http://")),
        };
        let authority = uri.authority().ok_or_else(|| usage("the URL has no host"))?;
        let target = Target::parse_host(authority.as_str(), if plain { 80 } else { 443 })
            .map_err(|error| usage(&format!("the URL's host is refused (DW2008): {error}")))?;
        let refused = |refusal| Ok(Answer::refused(refusal));
        let path = match rule::Path::of_uri(&uri) {
            Ok(path) => path,
            Err(error) => return refused(Refusal::new(Code::Dw2008, error.to_string())),
        };
        if matches!(method.as_str(), "TRACE" | "TRACK" | "CONNECT") {
            return refused(Refusal::new(Code::Dw2011, "this method is refused on every host"));
        }
        let agent = AgentName::new(self.agent.as_deref().unwrap_or("agent"));
        let Some(provider) = loaded.routes.route(&target, &agent) else {
            let code = if plain { Code::Dw1010 } else { Code::Dw1001 };
            return refused(Refusal::new(code, "no provider of this agent covers the host and port"));
        };
        if plain != (provider.mode == Mode::Plain) {
            let refusal = Refusal::new(Code::Dw1010, "the provider does not speak this scheme on this port");
            return refused(refusal.of_provider(&provider.name));
        }
        let headers = HeaderMap::new();
        // As the data plane reads it: messages only for an MCP server, and only in a POST.
        let calls = match (&provider.mcp, body) {
            (Some(server), Some(body)) if method == Method::POST && server.covers(&method, path.as_str()) => {
                match Calls::read(body, &headers) {
                    Ok(calls) => Some(calls),
                    Err(fault) => {
                        let detail = format!("the message for the MCP server is not let through: {fault}");
                        return refused(Refusal::new(Code::Dw2008, detail).of_provider(&provider.name));
                    }
                }
            }
            _ => None,
        };
        let mut facts = Facts {
            agent: &agent,
            target: &target,
            provider,
            method: &method,
            path: &path,
            query: uri.query(),
            body: calls.as_ref().map(Told::Calls),
            headers: &headers,
        };
        if matches!(provider.kind.reads(&policy::ask(&facts)), Some(Reading::Form | Reading::Parameters)) {
            let is_json = |text: &str| text.trim_ascii_start().starts_with('{');
            facts.body = body.map(|text| if is_json(text) { Told::Json(text) } else { Told::Form(text) });
        }
        let (asks, verdict) = match decide(&facts) {
            Ok(Verdict::Allow(permit)) => (false, Ok(permit)),
            Ok(Verdict::Ask(question)) => (true, Err(question.refusal())),
            Err(refusal) => (false, Err(refusal)),
        };
        let (model, verdict) = match (&provider.model, verdict) {
            (Some(rules), Ok(permit)) => judged_model(rules, &facts, body, permit),
            (_, verdict) => (None, verdict),
        };
        let injection = provider.auth.as_ref().and_then(|auth| auth.injection_for(&target));
        Ok(Answer {
            provider: Some(provider),
            model,
            asks: calls.as_ref().map(McpUse::of),
            steps: explain(&facts),
            injected: injection.filter(|_| verdict.is_ok()).map(|injection| injection.scheme),
            is_asked: asks,
            would_deny: verdict.as_ref().is_ok_and(|permit| permit.trace().would_deny.is_some()),
            verdict: verdict.map(drop),
        })
    }
}

impl Answer<'_> {
    /// What no provider was found for, or looked at.
    fn refused(refusal: Refusal) -> Self {
        Self {
            provider: None,
            model: None,
            asks: None,
            steps: Vec::new(),
            injected: None,
            is_asked: false,
            would_deny: false,
            verdict: Err(refusal),
        }
    }

    fn word(&self) -> &'static str {
        match (&self.verdict, self.would_deny) {
            (Ok(()), false) => "allow",
            (Ok(()), true) => "would-deny",
            (Err(_), _) if self.is_asked => "ask",
            (Err(_), _) => "deny",
        }
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(provider) = self.provider {
            lines.push(format!("provider     {} ({})", provider.name, provider.source));
        }
        lines.extend(self.model.map(|model| format!("model        {model}")));
        if let Some(McpUse { methods, tools }) = &self.asks {
            lines.push(format!("asks         {methods}"));
            lines.extend(tools.iter().map(|tools| format!("tools        {tools}")));
        }
        for step in &self.steps {
            let outcome =
                if step.outcome == Outcome::Passed { String::new() } else { format!("{}: ", step.outcome) };
            lines.push(format!("{:<12} {outcome}{}", step.stage.to_string(), step.detail));
        }
        if let (Some(scheme), Some(auth)) =
            (self.injected, self.provider.and_then(|provider| provider.auth.as_ref()))
        {
            lines.push(format!("injects      {scheme}, secret {}", auth.secret));
        }
        if let Some(secret) = self.client_cert() {
            lines.push(format!("client cert  secret {secret}"));
        }
        lines.push(match &self.verdict {
            Ok(()) => format!("verdict      {}", self.word()),
            Err(refusal) => format!("verdict      {}, {refusal}", self.word()),
        });
        lines
    }

    /// The client certificate that the upstream would be shown.
    fn client_cert(&self) -> Option<&SecretRef> {
        self.provider.filter(|_| self.verdict.is_ok())?.upstream.client_cert.as_ref()
    }

    fn object(&self) -> Value {
        let refusal = self.verdict.as_ref().err();
        let steps: Vec<Value> = self
            .steps
            .iter()
            .map(|step| json!({"stage": step.stage.to_string(), "outcome": step.outcome.to_string(), "detail": step.detail}))
            .collect();
        json!({
            "verdict": self.word(),
            "provider": self.provider.map(|provider| &*provider.name),
            "model": self.model,
            "mcpMethod": self.asks.as_ref().map(|asks| &*asks.methods),
            "mcpTool": self.asks.as_ref().and_then(|asks| asks.tools.as_deref()),
            "steps": steps,
            "scheme": self.injected,
            "secret": self.provider.and_then(|provider| provider.auth.as_ref()).map(|auth| auth.secret.to_string()),
            "clientCert": self.client_cert().map(ToString::to_string),
            "code": refusal.map(|refusal| refusal.code.to_string()),
            "reason": refusal.map(|refusal| &*refusal.detail),
            "rule": refusal.and_then(|refusal| refusal.rule.as_deref()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::parse_text;
    use crate::provider::testing::SCHEMES;

    const FILE: &str = "
apiVersion: doorward.dev/v1alpha1
kind: Provider
metadata: {name: gh}
spec:
  type: github
  auth: {secretRef: pat}
  policy: {allow: [\"issues:read\", \"graphql:query\"]}
---
apiVersion: doorward.dev/v1alpha1
kind: Provider
metadata: {name: lan}
spec: {type: http-token, host: lan.example, tls: {mode: plain}}
---
apiVersion: doorward.dev/v1alpha1
kind: ModelProvider
metadata: {name: m}
spec: {provider: gemini, allowedModels: [g-2]}
---
apiVersion: doorward.dev/v1alpha1
kind: ModelProvider
metadata: {name: c}
spec: {provider: openai, allowedModels: [gpt-4o], maxTokensPerDay: 1000}
---
apiVersion: doorward.dev/v1alpha1
kind: Provider
metadata: {name: cloud}
spec: {type: aws, auth: {secretRef: s}, policy: {allow: [\"sts:GetCallerIdentity\"]}}
---
apiVersion: doorward.dev/v1alpha1
kind: Provider
metadata: {name: tools}
spec: {type: mcp, mcp: {url: \"https://m.example.com/mcp\"}, policy: {mcp: {allowedTools: [\"get_*\"]}}}
";

    fn answer(method: &str, url: &str) -> (String, Vec<String>) {
        with_body(method, url, None)
    }

    fn with_body(method: &str, url: &str, body: Option<&str>) -> (String, Vec<String>) {
        let loaded = parse_text("f.yaml", FILE, SCHEMES).unwrap();
        let request = CheckRequest {
            method: method.into(),
            url: url.into(),
            agent: None,
            body: None,
            files: ProviderArgs::default(),
        };
        let answer = request.answer(&loaded, body).unwrap();
        let code = answer.verdict.as_ref().err().map_or(String::new(), |refusal| refusal.code.to_string());
        (format!("{}{code}", answer.word()), answer.lines())
    }

    #[test]
    fn says_deny_with_the_code_of_each_stage() {
        for (method, url, wanted) in [
            ("GET", "https://evil.example/", "denyDW1001"),
            ("GET", "https://api.github.com:8443/", "denyDW1001"),
            ("GET", "http://api.github.com/", "denyDW1010"),
            ("GET", "https://api.github.com/a/%2e%2e/..", "denyDW2008"),
            ("TRACE", "https://api.github.com/", "denyDW2011"),
            ("DELETE", "https://api.github.com/repos/a/b", "denyDW1002"),
            ("GET", "https://api.github.com/repos/a/b/issues", "allow"),
            ("GET", "http://lan.example/", "allow"),
            (
                "POST",
                "https://generativelanguage.googleapis.com/v1beta/models/g-3:generateContent",
                "denyDW1002",
            ),
            ("POST", "https://generativelanguage.googleapis.com/v1beta/models/g-2:generateContent", "allow"),
            ("POST", "https://generativelanguage.googleapis.com/v1beta/batches/x", "denyDW1002"),
            ("GET", "https://generativelanguage.googleapis.com/v1beta/models", "allow"),
        ] {
            assert_eq!(answer(method, url).0, wanted, "{method} {url}");
        }
    }

    #[test]
    fn judges_a_body_as_the_proxy_would() {
        let chat = "https://api.openai.com/v1/chat/completions";
        let mcp = "https://m.example.com/mcp";
        let (graphql, sts) = ("https://api.github.com/graphql", "https://sts.amazonaws.com/");
        let call = |tool: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}"}}}}"#)
        };
        for (url, body, wanted) in [
            (chat, r#"{"model":"o1"}"#.to_owned(), "denyDW1002"),
            (chat, r#"{"model":"gpt-4o","stream":true}"#.to_owned(), "denyDW1009"),
            (chat, r#"{"model":"gpt-4o","model":"o1"}"#.to_owned(), "denyDW2008"),
            (chat, r#"{"model":"gpt-4o"}"#.to_owned(), "allow"),
            (mcp, call("put"), "denyDW1002"),
            (mcp, "{}".to_owned(), "denyDW2008"),
            (mcp, call("get_a"), "allow"),
            (graphql, r#"{"query":"mutation { a }"}"#.to_owned(), "denyDW1002"),
            (graphql, r#"{"query":"{ a }"}"#.to_owned(), "allow"),
            (sts, "Action=AssumeRole&Version=2011-06-15".to_owned(), "denyDW1002"),
            (sts, "Action=GetCallerIdentity&Version=2011-06-15".to_owned(), "allow"),
        ] {
            assert_eq!(with_body("POST", url, Some(&body)).0, wanted, "{url} {body}");
        }
        assert_eq!(answer("POST", mcp).0, "denyDW1002");
        let lines = with_body("POST", mcp, Some(&call("put"))).1;
        for line in ["asks         tools/call", "tools        put"] {
            assert!(lines.contains(&line.to_owned()), "{lines:#?}");
        }
    }

    #[test]
    fn shows_the_way_and_what_would_be_injected() {
        let lines = answer("GET", "https://api.github.com/repos/a/b/issues").1;
        assert_eq!(lines[0], "provider     gh (f.yaml:2)");
        assert!(lines.contains(&"injects      header, secret default/pat".to_owned()), "{lines:#?}");
        assert_eq!(lines.last().unwrap(), "verdict      allow");
    }
}
