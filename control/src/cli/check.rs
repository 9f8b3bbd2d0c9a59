//! `doorward check request|provider`: what would happen to a request, and whether provider files are right, without a
//! network, a vault or a running proxy. Exit 3 where policy says deny.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use http::{HeaderMap, Method, Uri};
use serde_json::{Value, json};

use super::{Env, Exit, Failure, Format};
use crate::agent::AgentName;
use crate::config::Home;
use crate::model::{Asked, ModelRules, Reading, reading};
use crate::policy::{Facts, Outcome, Permit, Step, decide, explain};
use crate::provider::{Loaded, Mode, Provider, load};
use crate::refusal::{Code, Refusal};
use crate::rule::Path;
use crate::secret::SecretRef;
use crate::target::Target;

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
}

/// The request to decide.
#[derive(Args, Clone, Debug)]
pub struct CheckRequest {
    /// The method, in capitals.
    pub method: String,
    /// The absolute URL.
    pub url: String,
    /// The agent that would ask.
    #[arg(long, default_value = "agent", value_name = "NAME")]
    pub agent: String,
    /// Provider files or folders (repeatable); default: the home's own.
    #[arg(long, env = "DOORWARD_PROVIDERS", value_name = "PATH", value_delimiter = ',')]
    pub providers: Vec<PathBuf>,
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
    steps: Vec<Step>,
    injected: Option<&'static str>,
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
        let loaded = load_files(&self.providers, env)?;
        let answer = self.answer(&loaded)?;
        if matches!(format, Format::Json | Format::Jsonl) {
            env.output.data(answer.object());
        } else {
            answer.lines().iter().for_each(|line| env.output.data(line));
        }
        Ok(if answer.verdict.is_ok() { Exit::Ok } else { Exit::Deny })
    }

    fn answer<'l>(&self, loaded: &'l Loaded) -> Result<Answer<'l>, Failure> {
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
        let refused = |refusal| {
            Ok(Answer {
                provider: None,
                model: None,
                steps: Vec::new(),
                injected: None,
                would_deny: false,
                verdict: Err(refusal),
            })
        };
        let path = match Path::of_uri(&uri) {
            Ok(path) => path,
            Err(error) => return refused(Refusal::new(Code::Dw2008, error.to_string())),
        };
        if matches!(method.as_str(), "TRACE" | "TRACK" | "CONNECT") {
            return refused(Refusal::new(Code::Dw2011, "this method is refused on every host"));
        }
        let agent = AgentName::new(&self.agent);
        let Some(provider) = loaded.routes.route(&target, &agent) else {
            let code = if plain { Code::Dw1010 } else { Code::Dw1001 };
            return refused(Refusal::new(code, "no provider of this agent covers the host and port"));
        };
        if plain != (provider.mode == Mode::Plain) {
            let refusal = Refusal::new(Code::Dw1010, "the provider does not speak this scheme on this port");
            return refused(refusal.of_provider(&provider.name));
        }
        let headers = HeaderMap::new();
        let facts = Facts {
            agent: &agent,
            target: &target,
            provider,
            method: &method,
            path: &path,
            query: uri.query(),
            body: None,
            headers: &headers,
        };
        let verdict = decide(&facts);
        let (model, verdict) = match (&provider.model, verdict) {
            (Some(rules), Ok(permit)) => judged_model(rules, &facts, permit),
            (_, verdict) => (None, verdict),
        };
        let injection = provider.auth.as_ref().and_then(|auth| auth.injection_for(&target));
        Ok(Answer {
            provider: Some(provider),
            model,
            steps: explain(&facts),
            injected: injection.filter(|_| verdict.is_ok()).map(|injection| injection.scheme),
            would_deny: verdict.as_ref().is_ok_and(|permit| permit.trace().would_deny.is_some()),
            verdict: verdict.map(drop),
        })
    }
}

/// What a model provider makes of the request line; what its body says is judged when it comes.
fn judged_model(
    rules: &ModelRules,
    facts: &Facts<'_>,
    permit: Permit,
) -> (Option<&'static str>, Result<Permit, Refusal>) {
    match reading(facts, rules.vendor) {
        Reading::Unreadable if rules.limits() => {
            (Some("cannot be read"), Err(rules.unreadable().of_provider(&facts.provider.name)))
        }
        Reading::Unreadable => (Some("not read"), Ok(permit)),
        Reading::Free => (Some("none is asked"), Ok(permit)),
        Reading::Body(_) => (Some("in the body, judged when it comes"), Ok(permit)),
        Reading::Path(_, model) => {
            let mut asked = Asked::default();
            asked.add_model(&model);
            match rules.judge_models(&asked) {
                Ok(()) => (Some("in the path, with the body judged when it comes"), Ok(permit)),
                Err(refusal) => (Some("in the path"), Err(refusal.of_provider(&facts.provider.name))),
            }
        }
    }
}

impl Answer<'_> {
    fn word(&self) -> &'static str {
        match (&self.verdict, self.would_deny) {
            (Ok(()), false) => "allow",
            (Ok(()), true) => "would-deny",
            (Err(_), _) => "deny",
        }
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(provider) = self.provider {
            lines.push(format!("provider     {} ({})", provider.name, provider.source));
        }
        lines.extend(self.model.map(|model| format!("model        {model}")));
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
            Err(refusal) => format!("verdict      deny, {refusal}"),
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
  policy: {allow: [\"issues:read\"]}
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
";

    fn answer(method: &str, url: &str) -> (String, Vec<String>) {
        let loaded = parse_text("f.yaml", FILE, SCHEMES).unwrap();
        let request = CheckRequest {
            method: method.into(),
            url: url.into(),
            agent: "agent".into(),
            providers: Vec::new(),
        };
        let answer = request.answer(&loaded).unwrap();
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
    fn shows_the_way_and_what_would_be_injected() {
        let lines = answer("GET", "https://api.github.com/repos/a/b/issues").1;
        assert_eq!(lines[0], "provider     gh (f.yaml:2)");
        assert!(lines.contains(&"injects      header, secret default/pat".to_owned()), "{lines:#?}");
        assert_eq!(lines.last().unwrap(), "verdict      allow");
    }
}
