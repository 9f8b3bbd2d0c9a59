//! From a ModelProvider document to a provider as run: the same hosts, credential and rules as a Provider document would
//! give, and what limits models and tokens beside.
//!
//! Refuses an endpoint that is no base URL, a budget of nothing, and settings that the vendor does not have.

use std::sync::Arc;
use std::time::Duration;

use super::Mode;
use super::Provider;
use super::build::{self, Ground};
use super::report::{Report, suggestion};
use super::tree::{Entry, Node, Place, Value};
use super::verify::split_url;
use crate::model::{Endpoint, ModelGlob, ModelRules, Places, Retry, VENDORS, Vendor, Version};

/// The most attempts of one request.
const ATTEMPTS_MOST: i64 = 10;
/// The longest wait between two attempts.
const WAIT_MOST: i64 = 60_000;

/// Builds a ModelProvider document.
pub(super) fn provider(node: &Node, ground: Ground<'_>, report: &mut Report<'_>) -> Option<Provider> {
    let spec = node.field("spec")?;
    let vendor = vendor(spec, report);
    let endpoint = vendor.and_then(|vendor| endpoint(spec, vendor, report));
    let rules = vendor.zip(endpoint).map(|(vendor, endpoint)| rules(spec, vendor, endpoint, report));
    let (vendor, rules) = (vendor?, rules?);
    let lowered = lowered(node, spec, vendor, &rules.endpoint);
    let (mut provider, _) = build::provider(&lowered, ground, report)?;
    provider.digest = super::digest::of(node, &provider.project);
    provider.model = Some(Arc::new(rules));
    Some(provider)
}

fn vendor(spec: &Node, report: &mut Report<'_>) -> Option<&'static Vendor> {
    let node = spec.field("provider")?;
    let name = node.text()?;
    let vendor = Vendor::by_name(name);
    if vendor.is_none() {
        let names: Vec<&str> = VENDORS.iter().map(|vendor| vendor.name).collect();
        let hint = suggestion(name, names.iter().copied());
        report.mistake(node.at, format!("`provider` is one of {}{hint}", names.join(", ")));
    }
    vendor
}

fn endpoint(spec: &Node, vendor: &Vendor, report: &mut Report<'_>) -> Option<Endpoint> {
    let node = spec.field("endpoint");
    let text = match (node, vendor.endpoint) {
        (Some(node), _) => node.text()?,
        (None, Some(own)) => own,
        (None, None) => {
            report.mistake(
                spec.at,
                format!("provider `{}` has no host of its own: `endpoint` is missing", vendor.name),
            );
            return None;
        }
    };
    let read = read_endpoint(text);
    if read.is_none() {
        report.mistake(
            node.map_or(spec.at, |node| node.at),
            "`endpoint` is a base URL in canonical form, without a query, as `https://api.example.com/v1`",
        );
    }
    read
}

fn read_endpoint(text: &str) -> Option<Endpoint> {
    let plain = text.starts_with("http://");
    let mode = if plain { Mode::Plain } else { Mode::Intercept };
    let (target, path) = split_url(text, mode)?;
    let raw = text.split_once("://")?.1;
    let raw_path = raw.find('/').and_then(|at| raw.get(at..)).unwrap_or("/");
    let base = path.trim_end_matches('/');
    let is_canonical = raw_path.trim_end_matches('/') == base
        && !base.contains(['?', '%', ';', '*'])
        && !base.contains("//");
    is_canonical.then(|| Endpoint { target, plain, base: base.into() })
}

fn rules(spec: &Node, vendor: &'static Vendor, endpoint: Endpoint, report: &mut Report<'_>) -> ModelRules {
    let allowed = spec.field("allowedModels");
    if let Some(list) = allowed.filter(|list| list.items().is_empty()) {
        report.warn(list.at, "`allowedModels` is empty, so no model may be asked; leave it out for any");
    }
    let number = |name| spec.field(name).and_then(Node::int).and_then(|number| u64::try_from(number).ok());
    ModelRules {
        vendor,
        allowed: allowed.map(|list| globs(list, report)),
        denied: spec.field("deniedModels").map(|list| globs(list, report)).unwrap_or_default(),
        tokens_per_day: number("maxTokensPerDay"),
        tokens_per_request: number("maxTokensPerRequest"),
        retry: retry(spec, report),
        fallbacks: texts(spec.field("fallbacks")).map(Arc::from).collect(),
        endpoint,
        api_version: api_version(spec, vendor, report),
        places: places(spec, report),
    }
}

fn places(spec: &Node, report: &Report<'_>) -> Places {
    let of = |name: &str| {
        let at = spec.field(name).map_or(spec.at, |node| node.at);
        format!("{name} ({})", report.place(at)).into()
    };
    // Where only one of the lists stands, it is the one that does not let a model through.
    let allowed = if spec.field("allowedModels").is_some() { "allowedModels" } else { "deniedModels" };
    Places {
        allowed: of(allowed),
        denied: of("deniedModels"),
        day: of("maxTokensPerDay"),
        request: of("maxTokensPerRequest"),
        spec: format!("ModelProvider ({})", report.place(spec.at)).into(),
    }
}

fn texts(list: Option<&Node>) -> impl Iterator<Item = &str> {
    list.map_or(&[][..], Node::items).iter().filter_map(Node::text)
}

fn globs(list: &Node, report: &mut Report<'_>) -> Vec<ModelGlob> {
    let mut globs = Vec::new();
    for node in list.items() {
        let Some(text) = node.text() else { continue };
        if text.is_empty() || !text.chars().all(|c| !c.is_control() && !c.is_whitespace()) {
            report.mistake(node.at, "not the name of a model, nor one with `*`");
        }
        globs.push(ModelGlob::new(text.strip_prefix("models/").unwrap_or(text)));
    }
    globs
}

fn api_version(spec: &Node, vendor: &Vendor, report: &mut Report<'_>) -> Option<Arc<str>> {
    let node = spec.field("apiVersion")?;
    let text = node.text()?;
    if vendor.version == Version::None {
        report.warn(
            node.at,
            format!("`apiVersion` does nothing: provider `{}` has its version in its paths", vendor.name),
        );
        return None;
    }
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.')) {
        report.mistake(node.at, "`apiVersion` is made of letters, digits, `-` and `.`");
    }
    Some(text.into())
}

fn retry(spec: &Node, report: &mut Report<'_>) -> Option<Retry> {
    let node = spec.field("retry")?;
    let mut number = |name: &str, default: i64, most: i64| {
        let Some(field) = node.field(name) else { return default };
        let given = field.int().unwrap_or(default);
        if given > most {
            report.mistake(field.at, format!("`retry.{name}` is at most {most}"));
        }
        given.clamp(1, most)
    };
    let attempts = number("maxAttempts", 3, ATTEMPTS_MOST);
    let (initial, most) =
        (number("initialBackoffMs", 200, WAIT_MOST), number("maxBackoffMs", 5_000, WAIT_MOST));
    let wait = |milliseconds: i64| Duration::from_millis(milliseconds.unsigned_abs());
    Some(Retry {
        attempts: u32::try_from(attempts).unwrap_or(1),
        initial: wait(initial.min(most)),
        most: wait(most),
    })
}

/// The Provider document that gives the same; each of its values stands where the ModelProvider has it.
fn lowered(node: &Node, spec: &Node, vendor: &Vendor, endpoint: &Endpoint) -> Node {
    let at = spec.field("endpoint").map_or(spec.at, |node| node.at);
    let mut fields = vec![
        entry("type", text(spec.at, vendor.name)),
        entry("host", text(at, &endpoint.target.authority(if endpoint.plain { 80 } else { 443 }))),
    ];
    if let Some(secret) = spec.field("apiKeySecretRef") {
        let name = secret.field("name").map(|name| entry("secretRef", name.clone()));
        let key = secret.field("key").map(|key| entry("secretKey", key.clone()));
        fields.push(entry("auth", map(secret.at, name.into_iter().chain(key).collect())));
    }
    let mut tls: Vec<Entry> = spec.field("tls").map(|tls| tls.entries().to_vec()).unwrap_or_default();
    if endpoint.plain {
        tls.push(entry("mode", text(at, "plain")));
    }
    if !tls.is_empty() {
        fields.push(entry("tls", map(at, tls)));
    }
    fields.extend(spec.field("limits").map(|limits| entry("limits", limits.clone())));
    fields.extend(spec.field("network").map(|network| entry("network", network.clone())));
    if !endpoint.base.is_empty() {
        // What lies beside the base path is another service's.
        let paths = [endpoint.base.to_string(), format!("{}/**", endpoint.base)];
        let paths = paths.iter().map(|path| text(at, path)).collect();
        let rule = [
            entry("id", text(at, "endpoint")),
            entry("paths", Node { at, value: Value::List(paths) }),
            entry("effect", text(at, "allow")),
        ];
        let rules = Node { at, value: Value::List(vec![map(at, rule.into())]) };
        fields.push(entry("policy", map(at, vec![entry("httpRules", rules)])));
    }
    let mut document: Vec<Entry> =
        node.field("metadata").map(|ids| entry("metadata", ids.clone())).into_iter().collect();
    document.push(entry("spec", map(spec.at, fields)));
    map(node.at, document)
}

fn entry(key: &str, node: Node) -> Entry {
    Entry { at: node.at, key: key.to_owned(), node }
}

fn text(at: Place, text: &str) -> Node {
    Node { at, value: Value::Text(text.to_owned()) }
}

fn map(at: Place, entries: Vec<Entry>) -> Node {
    Node { at, value: Value::Map(entries) }
}

#[cfg(test)]
mod tests {
    use crate::provider::parse_text;
    use crate::provider::testing::SCHEMES;

    fn mistakes(spec: &str) -> Vec<String> {
        let text =
            format!("apiVersion: pai.io/v1\nkind: ModelProvider\nmetadata: {{name: m}}\nspec:\n{spec}");
        let found = parse_text("m.yaml", &text, SCHEMES).err().unwrap_or_default();
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_mistake_has_its_line() {
        for (spec, wanted) in [
            ("  provider: opnai\n", "m.yaml:5:13: `provider` is one of"),
            ("  provider: vllm\n", "m.yaml:5:3: provider `vllm` has no host of its own"),
            ("  provider: openai\n  endpoint: api.openai.com\n", "m.yaml:6:13: `endpoint` is a base URL"),
            (
                "  provider: openai\n  endpoint: https://a.example/v1?x=1\n",
                "m.yaml:6:13: `endpoint` is a base URL",
            ),
            (
                "  provider: openai\n  endpoint: https://a.example/a/../b\n",
                "m.yaml:6:13: `endpoint` is a base URL",
            ),
            (
                "  provider: openai\n  endpoint: https://u@a.example/\n",
                "m.yaml:6:13: `endpoint` is a base URL",
            ),
            (
                "  provider: openai\n  maxTokensPerDay: 0\n",
                "m.yaml:6:20: `maxTokensPerDay` has to be a whole number",
            ),
            (
                "  provider: openai\n  apiKeySecretRef: {name: sk-proj-0123456789abcdefghij}\n",
                "never its value",
            ),
            ("  provider: openai\n  apiKeySecretRef: {nam: x}\n", "unknown field \"nam\""),
            (
                "  provider: openai\n  retry: {maxAttempts: 99}\n",
                "m.yaml:6:24: `retry.maxAttempts` is at most 10",
            ),
            ("  provider: openai\n  retry: {attempts: 9}\n", "unknown field \"attempts\""),
            ("  provider: openai\n  allowedModels: [\"\"]\n", "m.yaml:6:19: not the name of a model"),
            ("  provider: openai\n  fallbacks: [gone]\n", "m.yaml:6:15: "),
            ("  provider: openai\n  fallbacks: [m]\n", "m.yaml:6:15: "),
            (
                "  provider: azure-openai\n  endpoint: https://a.example\n  apiVersion: \"a&b\"\n",
                "m.yaml:7:15: `apiVersion` is made of",
            ),
        ] {
            let found = mistakes(spec);
            assert!(found.iter().any(|mistake| mistake.contains(wanted)), "{spec}\n{found:#?}");
        }
    }
}
