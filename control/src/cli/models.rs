//! `doorward get model-providers` and `doorward describe model-provider`: models, budgets, and what of today's is used.

use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::listing::{Item, Listing, describe};
use super::remote::server;
use super::served;
use super::users::ProviderArgs;
use super::vault::{home, not_found};
use super::{Env, Exit, Failure};
use crate::model::ModelRules;
use crate::provider::Provider;

/// Which model providers.
#[derive(Args, Clone, Debug)]
pub struct ModelProviders {
    /// Only these; all if none is given.
    pub names: Vec<String>,
    #[command(flatten)]
    files: ProviderArgs,
}

/// Which model provider.
#[derive(Args, Clone, Debug)]
pub struct ModelProvider {
    /// Its name.
    pub name: String,
    #[command(flatten)]
    files: ProviderArgs,
}

impl ModelProviders {
    pub(super) fn listing(&self, env: &Env) -> Result<Listing, Failure> {
        let all = models(&self.files, env)?;
        let used = used(env);
        let mut items = Vec::new();
        if let Some(missing) = self.names.iter().find(|name| !all.iter().any(|one| *one.0.name == ***name)) {
            return Err(missing_one(missing, &all));
        }
        for (provider, rules) in &all {
            if self.names.is_empty() || self.names.iter().any(|name| *provider.name == **name) {
                items.push(item(provider, rules, used.get(&key(provider))));
            }
        }
        Ok(Listing {
            kind: "model-provider",
            columns: &[
                "NAME",
                "PROVIDER",
                "MODELS",
                "TOKENS/DAY",
                "USED TODAY",
                "HOST",
                "DENIED",
                "FALLBACKS",
            ],
            wide_from: 5,
            items,
        })
    }
}

impl ModelProvider {
    pub(super) fn run(&self, env: &Env) -> Result<Exit, Failure> {
        let all = models(&self.files, env)?;
        let found = all.iter().find(|(provider, _)| *provider.name == *self.name);
        let (provider, rules) = found.ok_or_else(|| missing_one(&self.name, &all))?;
        let tokens = used(env);
        let spent = tokens.get(&key(provider));
        let number = |limit: Option<u64>| limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
        let secret = provider.auth.as_ref().map(|auth| auth.secret.to_string());
        let lines = [
            ("Name", provider.name.to_string()),
            ("Project", provider.project.to_string()),
            ("Source", provider.source.to_string()),
            ("Provider", rules.vendor.name.to_owned()),
            ("Endpoint", endpoint(rules)),
            ("Secret", secret.unwrap_or_else(|| "-".to_owned())),
            ("Allowed models", allowed(rules)),
            ("Denied models", listed(&rules.denied_models())),
            ("Tokens a request", number(rules.tokens_per_request)),
            ("Tokens a day", number(rules.tokens_per_day)),
            ("Used today", spent.map_or_else(|| "-".to_owned(), u64::to_string)),
            ("Attempts", rules.retry.map_or(1, |retry| retry.attempts).to_string()),
            ("Fallbacks", listed(&fallbacks(rules))),
            ("Base URL", format!("/model/{}/", provider.name)),
        ];
        describe(env, &format!("model-provider/{}", provider.name), &lines, &object(provider, rules, spent))
    }
}

type Model = (Arc<Provider>, Arc<ModelRules>);

fn models(files: &ProviderArgs, env: &Env) -> Result<Vec<Model>, Failure> {
    let providers = served::load(env, server(env)?.as_ref(), files, None)?.providers.into_iter();
    let model = |provider: Arc<Provider>| {
        let rules = Arc::clone(provider.model.as_ref()?);
        Some((provider, rules))
    };
    Ok(providers.filter_map(model).collect())
}

fn missing_one(name: &str, all: &[Model]) -> Failure {
    not_found("model provider", name, all.iter().map(|(provider, _)| &*provider.name))
}

/// What the proxies of this home have counted today, by project and name.
fn used(env: &Env) -> std::collections::BTreeMap<String, u64> {
    let file = home(env).map(|home| home.budgets_file());
    let text = file.ok().and_then(|file| std::fs::read(file).ok()).unwrap_or_default();
    let written: Value = serde_json::from_slice(&text).unwrap_or_default();
    let today = OffsetDateTime::now_utc().unix_timestamp() / 86_400;
    let entries = written.get("used").and_then(Value::as_object).into_iter().flatten();
    let of_today = entries.filter(|(_, used)| used.get("day").and_then(Value::as_i64) == Some(today));
    of_today.filter_map(|(key, used)| Some((key.clone(), used.get("tokens")?.as_u64()?))).collect()
}

fn key(provider: &Provider) -> String {
    format!("{}/{}", provider.project, provider.name)
}

fn item(provider: &Provider, rules: &ModelRules, used: Option<&u64>) -> Item {
    Item {
        name: provider.name.to_string(),
        cells: vec![
            provider.name.to_string(),
            rules.vendor.name.to_owned(),
            allowed(rules),
            rules.tokens_per_day.map_or_else(|| "-".to_owned(), |most| most.to_string()),
            used.map_or_else(|| "-".to_owned(), u64::to_string),
            rules.endpoint.target.to_string(),
            listed(&rules.denied_models()),
            listed(&fallbacks(rules)),
        ],
        object: object(provider, rules, used),
    }
}

fn fallbacks(rules: &ModelRules) -> Vec<&str> {
    rules.fallbacks.iter().map(|name| &**name).collect()
}

fn endpoint(rules: &ModelRules) -> String {
    let (scheme, port) = if rules.endpoint.plain { ("http", 80) } else { ("https", 443) };
    format!("{scheme}://{}{}", rules.endpoint.target.authority(port), rules.endpoint.base)
}

fn allowed(rules: &ModelRules) -> String {
    rules.allowed_models().map_or_else(|| "any".to_owned(), |names| listed(&names))
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "-".to_owned() } else { names.join(", ") }
}

fn object(provider: &Provider, rules: &ModelRules, used: Option<&u64>) -> Value {
    json!({
        "kind": "ModelProvider",
        "name": &*provider.name,
        "project": &*provider.project,
        "source": &*provider.source,
        "provider": rules.vendor.name,
        "endpoint": endpoint(rules),
        "secret": provider.auth.as_ref().map(|auth| auth.secret.to_string()),
        "allowedModels": rules.allowed_models(),
        "deniedModels": rules.denied_models(),
        "maxTokensPerRequest": rules.tokens_per_request,
        "maxTokensPerDay": rules.tokens_per_day,
        "usedToday": used,
        "maxAttempts": rules.retry.map_or(1, |retry| retry.attempts),
        "fallbacks": fallbacks(rules),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::parse_text;
    use crate::provider::testing::SCHEMES;

    #[test]
    fn shows_what_is_limited_and_no_value() {
        let text = "apiVersion: pai.io/v1\nkind: ModelProvider\nmetadata: {name: m}\n\
                    spec: {provider: vllm, endpoint: \"http://llm.example:8000/v1/\", allowedModels: [a, \"b*\"], maxTokensPerDay: 9}\n";
        let loaded = parse_text("m.yaml", text, SCHEMES).unwrap();
        let provider = &loaded.providers[0];
        let shown = item(provider, provider.model.as_ref().unwrap(), Some(&4));
        assert_eq!(shown.cells[..5], ["m", "vllm", "a, b*", "9", "4"]);
        assert_eq!(shown.object["endpoint"], "http://llm.example:8000/v1");
    }
}
