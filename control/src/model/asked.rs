//! What a request's JSON body asks: models, and how much may be generated.
//!
//! Refuses what two readers could read differently: a key that is there twice or in another spelling, trailing bytes,
//! text that is not UTF-8, numbers that are none. Nothing of the body is in an error.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Api;

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is not JSON, or not an object.
    #[error("the body is not one JSON object")]
    Malformed,
    /// A key that matters is there twice, or in a spelling that some servers take for it.
    #[error("the body names its model or a limit twice, or in an odd spelling")]
    Ambiguous,
    /// A value that matters is of another kind.
    #[error("the model or a limit in the body is not of its kind")]
    Kind,
}

/// What a request asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Every model that it names.
    pub models: Vec<String>,
    /// The most tokens that may be generated, in all answers together; `None`: it sets no limit.
    pub bound: Option<u64>,
    /// It is answered before its work is done.
    pub in_background: bool,
    /// It leaves the choice to something that is stored with the vendor.
    pub names_preset: bool,
}

impl Asked {
    /// Reads a body.
    ///
    /// # Errors
    /// For a body that is not one object in JSON with each key that matters at most once.
    pub fn read(api: Api, body: &[u8]) -> Result<Self, Fault> {
        let text = std::str::from_utf8(body).map_err(|_| Fault::Malformed)?;
        let mut top = Top::default();
        for (key, value) in Pairs::of(text).ok_or(Fault::Malformed)?.known(KEYS)? {
            top.take(key, value)?;
        }
        Ok(top.asked(api))
    }

    /// Adds the model that the path names.
    pub fn add_model(&mut self, model: &str) {
        if !self.models.iter().any(|other| other == model) {
            self.models.push(model.to_owned());
        }
    }
}

/// The keys that matter.
const KEYS: &[&str] = &[
    "model",
    "models",
    "fallbacks",
    "preset",
    "background",
    "tools",
    "requests",
    "plugins",
    "data_sources",
    "context_window_fallbacks",
    "content_policy_fallbacks",
    "default_fallbacks",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "max_tokens_to_sample",
    "n",
    "best_of",
    "prompt",
    "generationConfig",
    "generation_config",
];

/// The keys of Gemini's `generationConfig`: protobuf's JSON takes either spelling.
const GENERATION: &[&str] = &["maxOutputTokens", "max_output_tokens", "candidateCount", "candidate_count"];

#[derive(Debug, Default)]
struct Top {
    models: Vec<String>,
    names_preset: bool,
    in_background: bool,
    /// `max_tokens` and `max_completion_tokens`: of both the larger.
    chat: Option<u64>,
    max_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
    max_tokens_to_sample: Option<u64>,
    n: Option<u64>,
    best_of: Option<u64>,
    prompts: u64,
    generation: Option<u64>,
    candidates: Option<u64>,
}

impl Top {
    fn take(&mut self, key: &str, value: &RawValue) -> Result<(), Fault> {
        match key {
            "model" => self.models.extend(name(value)?),
            "models" => self.models.extend(names(value)?),
            // OpenRouter's are objects or names; Anthropic's are objects.
            "fallbacks" => match names(value) {
                Ok(names) => self.models.extend(names),
                Err(_) => self.nested(value, |model, _| model.is_none())?,
            },
            "requests" => self.nested(value, |_, _| false)?,
            // A tool that the vendor runs may ask a model of its own choice, wherever that is named.
            "tools" => self.nested(value, |_, kind| kind.is_some_and(|kind| !runs_no_model(kind)))?,
            "plugins"
            | "data_sources"
            | "context_window_fallbacks"
            | "content_policy_fallbacks"
            | "default_fallbacks" => self.names_preset |= !matches!(value.get(), "null" | "[]" | "{}"),
            "preset" => self.names_preset |= value.get() != "null",
            "background" => self.in_background = read::<Option<bool>>(value)?.unwrap_or(false),
            "max_tokens" => {
                self.max_tokens = count(value)?;
                self.chat = self.chat.max(self.max_tokens);
            }
            "max_completion_tokens" => self.chat = self.chat.max(count(value)?),
            "max_output_tokens" => self.max_output_tokens = count(value)?,
            "max_tokens_to_sample" => self.max_tokens_to_sample = count(value)?,
            "n" => self.n = count(value)?,
            "best_of" => self.best_of = count(value)?,
            "prompt" => self.prompts = prompts(value),
            _ => self.take_generation(value)?,
        }
        Ok(())
    }

    /// The models that the entries of a list name. `chooses` says of an entry, by its model and its type, whether it asks one
    /// that is not named there.
    fn nested(
        &mut self,
        value: &RawValue,
        chooses: impl Fn(Option<&str>, Option<&str>) -> bool,
    ) -> Result<(), Fault> {
        let entries: Option<Vec<&RawValue>> = read(value)?;
        let entries = entries.unwrap_or_default();
        if entries.len() > ENTRIES_MOST {
            return Err(Fault::Malformed);
        }
        for entry in entries {
            let (mut model, mut kind) = (None, None);
            for (key, value) in
                Pairs::of(entry.get()).map_or(Ok(Vec::new()), |pairs| pairs.known(&["model", "type"]))?
            {
                match key {
                    "model" => model = name(value)?,
                    _ => kind = read::<Option<String>>(value)?,
                }
            }
            self.names_preset |= chooses(model.as_deref(), kind.as_deref());
            self.models.extend(model);
        }
        Ok(())
    }

    fn take_generation(&mut self, value: &RawValue) -> Result<(), Fault> {
        if value.get() == "null" {
            return Ok(());
        }
        for (key, value) in Pairs::of(value.get()).ok_or(Fault::Kind)?.known(GENERATION)? {
            match key {
                "maxOutputTokens" | "max_output_tokens" => self.generation = count(value)?,
                _ => self.candidates = count(value)?,
            }
        }
        Ok(())
    }

    fn asked(self, api: Api) -> Asked {
        let one = match api {
            Api::Chat => self.chat,
            Api::Responses => self.max_output_tokens,
            Api::Completions | Api::Messages => self.max_tokens,
            Api::OldCompletions => self.max_tokens_to_sample,
            Api::Content => self.generation,
            Api::Other | Api::Unbilled => None,
        };
        let times = match api {
            Api::Chat => self.n.unwrap_or(1),
            Api::Completions => self.n.max(self.best_of).unwrap_or(1).saturating_mul(self.prompts.max(1)),
            Api::Content => self.candidates.unwrap_or(1),
            Api::Responses | Api::Messages | Api::OldCompletions | Api::Other | Api::Unbilled => 1,
        };
        Asked {
            models: self.models,
            bound: one.map(|one| one.saturating_mul(times.max(1))),
            in_background: self.in_background,
            names_preset: self.names_preset,
        }
    }
}

fn read<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Result<T, Fault> {
    serde_json::from_str(value.get()).map_err(|_| Fault::Kind)
}

fn count(value: &RawValue) -> Result<Option<u64>, Fault> {
    read(value)
}

fn name(value: &RawValue) -> Result<Option<String>, Fault> {
    read::<Option<String>>(value).map(|name| name.map(plain))
}

fn names(value: &RawValue) -> Result<Vec<String>, Fault> {
    let names: Option<Vec<String>> = read(value)?;
    Ok(names.unwrap_or_default().into_iter().map(plain).collect())
}

/// The most entries that a list of tools, fallbacks or requests may have: each is looked at.
const ENTRIES_MOST: usize = 2_048;

/// Tools of vendors that run no model, by the beginning of their `type`; other types may.
const RUNS_NO_MODEL: &[&str] = &[
    "function",
    "custom",
    "web_search",
    "web_fetch",
    "code_execution",
    "code_interpreter",
    "bash_",
    "text_editor_",
    "computer",
    "memory_",
    "file_search",
    "local_shell",
    "shell",
    "apply_patch",
    "mcp",
    "tool_search",
];

fn runs_no_model(kind: &str) -> bool {
    RUNS_NO_MODEL.iter().any(|own| kind.starts_with(own))
}

/// How many prompts there are: a list of texts or of token lists is one for each; a list of tokens is one.
fn prompts(value: &RawValue) -> u64 {
    let Ok(entries) = read::<Vec<&RawValue>>(value) else { return 1 };
    let is_token = |entry: &&RawValue| entry.get().starts_with(|c: char| c == '-' || c.is_ascii_digit());
    if entries.iter().all(is_token) { 1 } else { entries.len() as u64 }
}

/// Gemini's names come with their collection.
fn plain(model: String) -> String {
    match model.strip_prefix("models/") {
        Some(name) => name.to_owned(),
        None => model,
    }
}

/// Every key of an object with its value, twice where it is there twice.
struct Pairs<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Pairs<'a> {
    /// `None`: it is not one object.
    fn of(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Those of the table, each at most once; one that only looks like one of them is a fault.
    fn known(self, table: &[&'static str]) -> Result<Vec<(&'static str, &'a RawValue)>, Fault> {
        let folds: Vec<String> = table.iter().map(|name| fold(name)).collect();
        let mut found: Vec<(&'static str, &'a RawValue)> = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        for (key, value) in self.0 {
            let folded = fold(&key);
            let Some(own) = folds.iter().find(|own| **own == folded) else { continue };
            let name = table.iter().find(|name| **name == key).ok_or(Fault::Ambiguous)?;
            if seen.contains(&own.as_str()) {
                return Err(Fault::Ambiguous);
            }
            seen.push(own);
            found.push((name, value));
        }
        Ok(found)
    }
}

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// As the most lenient servers compare keys: without regard to case (Go's JSON folds these two letters as well),
/// underscores, hyphens and spaces.
fn fold(key: &str) -> String {
    let kept = key.chars().filter(|c| !matches!(c, '_' | '-') && !c.is_whitespace());
    let same = kept.map(|c| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    });
    same.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(api: Api, body: &str) -> Result<Asked, Fault> {
        Asked::read(api, body.as_bytes())
    }

    #[test]
    fn refuses_what_two_readers_could_read_differently() {
        for body in [
            r#"{"model":"a","model":"b"}"#,
            r#"{"model":"a","mod\u0065l":"b"}"#,
            r#"{"model":"a","Model":"b"}"#,
            r#"{"MODEL":"b"}"#,
            r#"{"mode\u006c":"a","m_odel":"b"}"#,
            "{\"max_to\u{212a}ens\":1}",
            r#"{"max_tokens":1,"maxTokens":9}"#,
            r#"{"generationConfig":{"maxOutputTokens":1},"generation_config":{"maxOutputTokens":9}}"#,
            r#"{"generationConfig":{"maxOutputTokens":1,"max_output_tokens":9}}"#,
            r#"{"tools":[{"model":"a","model":"b"}]}"#,
        ] {
            assert_eq!(read(Api::Chat, body), Err(Fault::Ambiguous), "{body}");
        }
        for body in [
            "",
            "[]",
            "\"a\"",
            "{",
            "{}{}",
            "{\"model\":\"a\"} x",
            "{'model':'a'}",
            "{\"model\":\"\\ud800\"}x",
            "\u{feff}{}",
            "{\"model\":NaN}",
        ] {
            assert_eq!(read(Api::Chat, body), Err(Fault::Malformed), "{body}");
        }
        assert_eq!(Asked::read(Api::Chat, b"{\"model\":\"\xff\"}"), Err(Fault::Malformed));
        let wide: Vec<u8> = "{\"model\":\"a\"}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(Asked::read(Api::Chat, &wide), Err(Fault::Malformed));
    }

    #[test]
    fn refuses_values_of_another_kind() {
        for body in [
            r#"{"model":["a"]}"#,
            r#"{"model":{"a":1}}"#,
            r#"{"model":7}"#,
            r#"{"models":"a"}"#,
            r#"{"max_tokens":-1}"#,
            r#"{"max_tokens":1.5}"#,
            r#"{"max_tokens":"1"}"#,
            r#"{"max_tokens":99999999999999999999999}"#,
            r#"{"n":true}"#,
            r#"{"background":1}"#,
            r#"{"generationConfig":[]}"#,
            "{\"model\":\"\\ud800\"}",
        ] {
            assert_eq!(read(Api::Chat, body), Err(Fault::Kind), "{body}");
        }
    }

    #[test]
    fn reads_every_model_that_could_be_asked() {
        let models = |body: &str| read(Api::Responses, body).unwrap().models;
        assert_eq!(models(r#"{"mod\u0065l":"gpt\u002d4o"}"#), ["gpt-4o"]);
        assert_eq!(models(r#"{"model":null}"#), [""; 0]);
        assert_eq!(models(r#"{"model":"models/gemini-2"}"#), ["gemini-2"]);
        assert_eq!(models(r#"{"model":"a","models":["b","c"]}"#), ["a", "b", "c"]);
        assert_eq!(
            models(r#"{"model":"a","tools":[{"type":"image","model":"b"},{"x":{"model":"no"}}]}"#),
            ["a", "b"]
        );
        assert_eq!(models(r#"{"messages":[{"content":"{\"model\":\"x\"}"}],"model":"a"}"#), ["a"]);
        assert!(read(Api::Chat, r#"{"preset":"x"}"#).unwrap().names_preset);
        for (body, chooses) in [
            (r#"{"tools":[{"type":"openrouter:advisor","parameters":{"model":"x"}}]}"#, true),
            (r#"{"tools":[{"type":"image_generation"}]}"#, true),
            (r#"{"plugins":[{"id":"fusion"}]}"#, true),
            (r#"{"data_sources":[{"type":"azure_search"}]}"#, true),
            (r#"{"fallbacks":[{"a":["b"]}]}"#, true),
            (r#"{"context_window_fallbacks":[{"a":["b"]}]}"#, true),
            (
                r#"{"tools":[{"type":"function","function":{"name":"f"}},{"name":"g"},{"type":"web_search"}]}"#,
                false,
            ),
            (r#"{"plugins":[],"fallbacks":[{"model":"b"}]}"#, false),
        ] {
            assert_eq!(read(Api::Chat, body).unwrap().names_preset, chooses, "{body}");
        }
    }

    #[test]
    fn counts_all_that_may_be_generated() {
        for (api, body, bound) in [
            (Api::Chat, r#"{"max_tokens":5}"#, Some(5)),
            (Api::Chat, r#"{"max_tokens":5,"max_completion_tokens":7,"n":3}"#, Some(21)),
            (Api::Chat, r#"{"max_output_tokens":5}"#, None),
            (Api::Chat, r#"{"max_tokens":null}"#, None),
            (Api::Chat, r#"{"max_tokens":18446744073709551615,"n":9}"#, Some(u64::MAX)),
            (Api::Completions, r#"{"max_tokens":5,"best_of":2,"n":1,"prompt":["a","b","c"]}"#, Some(30)),
            (Api::Completions, r#"{"max_tokens":5,"prompt":[1,2,3]}"#, Some(5)),
            (Api::Completions, r#"{"max_tokens":5,"prompt":[[1],[2]]}"#, Some(10)),
            (Api::Completions, r#"{"max_completion_tokens":5}"#, None),
            (Api::Responses, r#"{"max_output_tokens":5,"prompt":{"id":"p"}}"#, Some(5)),
            (Api::Messages, r#"{"max_tokens":5,"n":9}"#, Some(5)),
            (Api::OldCompletions, r#"{"max_tokens_to_sample":6}"#, Some(6)),
            (Api::Content, r#"{"generation_config":{"max_output_tokens":5,"candidateCount":2}}"#, Some(10)),
            (Api::Content, r#"{"maxOutputTokens":5}"#, None),
        ] {
            if body.contains("\"maxOutputTokens\":5}") && !body.contains("generation") {
                assert_eq!(read(api, body), Err(Fault::Ambiguous), "{body}");
                continue;
            }
            assert_eq!(read(api, body).unwrap().bound, bound, "{body}");
        }
    }
}
