use super::*;
use crate::agent::AgentName;
use crate::provider::testing::SCHEMES;
use crate::provider::{Provider, parse_text};
use crate::rule::Path;

fn provider(spec: &str) -> Arc<Provider> {
    let text = format!("apiVersion: pai.io/v1\nkind: ModelProvider\nmetadata: {{name: m}}\nspec:\n{spec}");
    let loaded = parse_text("m.yaml", &text, SCHEMES).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    Arc::clone(&loaded.providers[0])
}

fn read(spec: &str, method: &Method, path: &str) -> Reading {
    let provider = provider(spec);
    let rules = provider.model.as_ref().unwrap();
    let facts = Facts {
        agent: &AgentName::local(),
        target: &rules.endpoint.target,
        provider: &provider,
        method,
        path: &Path::parse(path).unwrap(),
        query: None,
        body: None,
        headers: &http::HeaderMap::new(),
    };
    reading(&facts, rules.vendor)
}

const VLLM: &str = "  provider: vllm\n  endpoint: https://x.example.com\n";
const AZURE: &str = "  provider: azure-openai\n  endpoint: https://x.openai.azure.com\n";

#[test]
fn what_cannot_be_told_is_unreadable() {
    for (spec, method, path) in [
        ("  provider: openai\n", Method::POST, "/v1/batches"),
        ("  provider: openai\n", Method::POST, "/v1/threads/t/runs"),
        ("  provider: openai\n", Method::POST, "/v1/fine_tuning/jobs"),
        ("  provider: openai\n", Method::GET, "/v1/realtime"),
        ("  provider: openai\n", Method::POST, "/v1/new-thing"),
        ("  provider: openai\n", Method::POST, "/v1/chat/completions;x"),
        ("  provider: openai\n", Method::POST, "/v1/responses/x%2fcancel"),
        ("  provider: openai\n", Method::from_bytes(b"post").unwrap(), "/v1/files"),
        ("  provider: anthropic\n", Method::POST, "/v1/messages/batches"),
        ("  provider: gemini\n", Method::POST, "/v1beta/models/a%2Fb:generateContent"),
        ("  provider: gemini\n", Method::POST, "/v1beta/cachedContents"),
        ("  provider: gemini\n", Method::GET, "/ws/x"),
        (VLLM, Method::POST, "/v1/chat/completions/x"),
        (VLLM, Method::DELETE, "/v1/chat/completions/x"),
        (VLLM, Method::POST, "/v1/responses/r/cancel"),
        (AZURE, Method::POST, "/openai/deployments/a%2Fb/chat/completions"),
    ] {
        assert_eq!(read(spec, &method, path), Reading::Unreadable, "{method} {path}");
    }
}

#[test]
fn reads_the_model_where_the_vendor_has_it() {
    let in_path = |api, model: &str| Reading::Path(api, model.to_owned());
    for (spec, method, path, wanted) in [
        ("  provider: openai\n", Method::GET, "/v1/models", Reading::Free),
        ("  provider: openai\n", Method::POST, "/v1/responses/r/cancel", Reading::Free),
        ("  provider: openai\n", Method::DELETE, "/v1/responses/r", Reading::Free),
        ("  provider: openai\n", Method::POST, "/v1/responses", Reading::Body(Api::Responses)),
        ("  provider: openai\n", Method::POST, "/v1//chat/completions", Reading::Body(Api::Chat)),
        ("  provider: openrouter\n", Method::POST, "/api/v1/messages", Reading::Body(Api::Messages)),
        ("  provider: anthropic\n", Method::POST, "/v1/messages", Reading::Body(Api::Messages)),
        ("  provider: anthropic\n", Method::POST, "/v1/complete", Reading::Body(Api::OldCompletions)),
        ("  provider: anthropic\n", Method::POST, "/v1/messages/count_tokens", Reading::Body(Api::Unbilled)),
        (
            "  provider: gemini\n",
            Method::POST,
            "/v1beta/models/g-2:generateContent",
            in_path(Api::Content, "g-2"),
        ),
        (
            "  provider: gemini\n",
            Method::POST,
            "/v1/tunedModels/t:generateContent",
            in_path(Api::Content, "tunedModels/t"),
        ),
        ("  provider: gemini\n", Method::POST, "/v1beta/openai/chat/completions", Reading::Body(Api::Chat)),
        (AZURE, Method::POST, "/openai/deployments/d/chat/completions", in_path(Api::Chat, "d")),
        (AZURE, Method::POST, "/openai/v1/responses", Reading::Body(Api::Responses)),
    ] {
        assert_eq!(read(spec, &method, path), wanted, "{method} {path}");
    }
}

#[test]
fn judges_models_narrowly_for_allow_and_widely_for_deny() {
    let provider = provider(
        "  provider: openrouter\n  allowedModels: [\"*\", \"openrouter/auto\"]\n  deniedModels: [\"openai/o1*\"]\n",
    );
    let judge = |provider: &Provider, models: &[&str]| {
        let asked =
            Asked { models: models.iter().map(|model| (*model).to_owned()).collect(), ..Asked::default() };
        provider
            .model
            .as_ref()
            .unwrap()
            .judge(Api::Chat, &asked)
            .map_err(|refusal| refusal.rule.unwrap().to_string())
    };
    let denied = Err("deniedModels (m.yaml:7)".to_owned());
    let not_allowed = Err("allowedModels (m.yaml:6)".to_owned());
    assert_eq!(judge(&provider, &["OpenAI/O1-pro"]), denied);
    assert_eq!(judge(&provider, &["a", "openai/o1"]), denied);
    assert_eq!(judge(&provider, &["openrouter/other"]), not_allowed);
    assert_eq!(judge(&provider, &["@preset/x"]), not_allowed);
    assert_eq!(judge(&provider, &["openrouter/auto"]), Ok(()));
    assert_eq!(judge(&provider, &[]), not_allowed);
    assert_eq!(judge(&provider, &["a "]), not_allowed);
    assert_eq!(judge(&provider, &["\u{43e}1"]), not_allowed);
    let narrow = self::provider("  provider: openai\n  allowedModels: [gpt-4o]\n");
    assert_eq!(judge(&narrow, &["GPT-4o"]), not_allowed);
    assert_eq!(judge(&narrow, &["gpt-4o-mini"]), not_allowed);
    assert_eq!(judge(&narrow, &["gpt-4o"]), Ok(()));
}

#[test]
fn a_request_without_a_limit_is_refused_where_there_is_one() {
    let provider = provider("  provider: openai\n  maxTokensPerRequest: 100\n  maxTokensPerDay: 5\n");
    let rules = provider.model.as_ref().unwrap();
    let asked = |bound| Asked { bound, ..Asked::default() };
    assert!(rules.judge(Api::Chat, &asked(None)).unwrap_err().detail.contains("max_completion_tokens"));
    assert!(rules.judge(Api::Chat, &asked(Some(101))).is_err());
    assert!(rules.judge(Api::Chat, &asked(Some(100))).is_ok());
    assert!(rules.judge(Api::Other, &asked(None)).is_ok());
    let background = Asked { in_background: true, ..asked(Some(1)) };
    assert_eq!(rules.judge(Api::Responses, &background).unwrap_err().status, 400);
    let overrides = Asked { overrides: true, ..asked(Some(1)) };
    assert!(rules.judge(Api::Messages, &overrides).is_err());
    let stream = Asked { streams: true, ..asked(Some(1)) };
    for api in [Api::Chat, Api::Completions] {
        let refusal = rules.judge(api, &stream).unwrap_err();
        assert_eq!((refusal.code, refusal.status), (Code::Dw1009, 400));
        assert!(refusal.detail.contains("include_usage"));
    }
    assert!(rules.judge(Api::Chat, &Asked { wants_usage: true, ..stream.clone() }).is_ok());
    assert!(rules.judge(Api::Messages, &stream).is_ok());
}
