//! What a request's JSON body asks: models, and how much may be generated.
//!
//! Refuses what two readers could read differently: a key that is there twice or in another spelling, trailing bytes,
//! text that is not UTF-8, numbers that are none. Nothing of the body is in an error.

mod pairs;
mod references;

use std::sync::LazyLock;

use serde::de::Deserialize;
use serde_json::value::RawValue;

use super::{Api, Vendor};
use pairs::{Reader, Table};

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
    /// It is made of more parts than are read.
    #[error("the body has too many members, tools or values to be judged")]
    Large,
}

/// What a request asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Every model that it names.
    pub models: Vec<String>,
    /// The most tokens that may be generated, in all answers together; `None`: it sets no limit.
    pub bound: Option<u64>,
    /// How many answers it asks for.
    pub answers: u64,
    /// It has the answer come as a stream, where that is said in the body.
    pub streams: bool,
    /// It has a stream of chat or completions end with the vendor's figures.
    pub wants_usage: bool,
    /// It has the model read what is not in the body.
    pub by_reference: bool,
    /// A fallback in it has settings of its own.
    pub overrides: bool,
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
    pub fn read(vendor: &Vendor, api: Api, body: &[u8]) -> Result<Self, Fault> {
        let text = std::str::from_utf8(body).map_err(|_| Fault::Malformed)?;
        let mut top = Top::default();
        let known = top.reader.known(text, &TABLES.top)?.ok_or(Fault::Malformed)?;
        for (key, value) in known.pairs {
            top.take(key, value)?;
        }
        Ok(top.asked(vendor, api))
    }

    /// Looks for what the model is to read that is not in the body, which was read as JSON before.
    ///
    /// # Errors
    /// [`Fault::Large`] for a body of too many values.
    pub fn look_for_references(&mut self, body: &[u8]) -> Result<(), Fault> {
        let text = std::str::from_utf8(body).map_err(|_| Fault::Malformed)?;
        self.by_reference |= references::any(text)?;
        Ok(())
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
    "max_new_tokens",
    "n_predict",
    "stream",
    "stream_options",
    "n",
    "best_of",
    "prompt",
    "generationConfig",
    "generation_config",
];

/// The keys of Gemini's `generationConfig`: protobuf's JSON takes either spelling.
const GENERATION: &[&str] = &["maxOutputTokens", "max_output_tokens", "candidateCount", "candidate_count"];

/// The tables, folded once.
struct Tables {
    top: Table,
    generation: Table,
    entry: Table,
    stream: Table,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| Tables {
    top: Table::new(KEYS),
    generation: Table::new(GENERATION),
    entry: Table::new(&["model", "type"]),
    stream: Table::new(&["include_usage"]),
});

#[derive(Debug, Default)]
struct Top {
    reader: Reader,
    models: Vec<String>,
    streams: bool,
    wants_usage: bool,
    by_reference: bool,
    overrides: bool,
    names_preset: bool,
    in_background: bool,
    /// `max_tokens` and `max_completion_tokens`: of both the larger.
    chat: Option<u64>,
    max_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
    max_tokens_to_sample: Option<u64>,
    /// What servers of other kinds call it.
    other_bound: Option<u64>,
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
                Err(_) => self.fallbacks(value)?,
            },
            "requests" => drop(self.nested(value)?),
            "tools" => self.tools(value)?,
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
            "max_new_tokens" | "n_predict" => self.other_bound = self.other_bound.max(count(value)?),
            "stream" => self.streams = read::<Option<bool>>(value)?.unwrap_or(false),
            "stream_options" => self.take_stream_options(value)?,
            "n" => self.n = count(value)?,
            "best_of" => self.best_of = count(value)?,
            "prompt" => {
                self.prompts = prompts(value);
                // A prompt that is stored with the vendor (responses).
                self.by_reference |= value.get().starts_with('{');
            }
            _ => self.take_generation(value)?,
        }
        Ok(())
    }

    /// What the entries of a list name: the model, the type, and whether there is more. Their models are asked.
    fn nested(&mut self, value: &RawValue) -> Result<Vec<Entry>, Fault> {
        let values: Option<Vec<&RawValue>> = read(value)?;
        let values = values.unwrap_or_default();
        if values.len() > ENTRIES_MOST {
            return Err(Fault::Large);
        }
        let mut entries = Vec::with_capacity(values.len());
        for value in values {
            let mut entry = Entry::default();
            // What is no object names nothing.
            let known = self.reader.known(value.get(), &TABLES.entry)?.unwrap_or_default();
            entry.has_others = known.has_others;
            for (key, value) in known.pairs {
                match key {
                    "model" => entry.model = name(value)?,
                    _ => entry.kind = read::<Option<String>>(value)?,
                }
            }
            self.models.extend(entry.model.clone());
            entries.push(entry);
        }
        Ok(entries)
    }

    fn fallbacks(&mut self, value: &RawValue) -> Result<(), Fault> {
        let entries = self.nested(value)?;
        self.names_preset |= entries.iter().any(|entry| entry.model.is_none());
        self.overrides |= entries.iter().any(|entry| entry.has_others || entry.kind.is_some());
        Ok(())
    }

    fn tools(&mut self, value: &RawValue) -> Result<(), Fault> {
        for kind in self.nested(value)?.iter().filter_map(|entry| entry.kind.as_deref()) {
            // A tool that the vendor runs may ask a model of its own choice, wherever that is named.
            self.names_preset |= !begins(kind, RUNS_NO_MODEL);
            self.by_reference |= !begins(kind, RUN_BY_AGENT);
        }
        Ok(())
    }

    fn take_stream_options(&mut self, value: &RawValue) -> Result<(), Fault> {
        if value.get() == "null" {
            return Ok(());
        }
        let known = self.reader.known(value.get(), &TABLES.stream)?.ok_or(Fault::Kind)?;
        for (_, value) in known.pairs {
            self.wants_usage = read::<Option<bool>>(value)?.unwrap_or(false);
        }
        Ok(())
    }

    fn take_generation(&mut self, value: &RawValue) -> Result<(), Fault> {
        if value.get() == "null" {
            return Ok(());
        }
        let known = self.reader.known(value.get(), &TABLES.generation)?.ok_or(Fault::Kind)?;
        for (key, value) in known.pairs {
            match key {
                "maxOutputTokens" | "max_output_tokens" => self.generation = count(value)?,
                _ => self.candidates = count(value)?,
            }
        }
        Ok(())
    }

    fn asked(self, vendor: &Vendor, api: Api) -> Asked {
        let one = match api {
            // Servers of any kind know the one of old; not all of them the newer one.
            Api::Chat if vendor.is_any_server() => self.max_tokens.and(self.chat),
            Api::Chat => self.chat,
            Api::Responses => self.max_output_tokens,
            Api::Completions | Api::Messages => self.max_tokens,
            Api::OldCompletions => self.max_tokens_to_sample,
            Api::Content => self.generation,
            Api::Other | Api::Unbilled => None,
        };
        let one = one.map(|one| one.max(self.other_bound.unwrap_or_default()));
        let answers = match api {
            Api::Chat => self.n.unwrap_or(1),
            Api::Completions => self.n.max(self.best_of).unwrap_or(1).saturating_mul(self.prompts.max(1)),
            Api::Content => self.candidates.unwrap_or(1),
            Api::Responses | Api::Messages | Api::OldCompletions | Api::Other | Api::Unbilled => 1,
        };
        let answers = answers.max(1);
        Asked {
            models: self.models,
            bound: one.map(|one| one.saturating_mul(answers)),
            answers,
            streams: self.streams,
            wants_usage: self.wants_usage,
            by_reference: self.by_reference,
            overrides: self.overrides,
            in_background: self.in_background,
            names_preset: self.names_preset,
        }
    }
}

/// An entry of a list of fallbacks, tools or requests.
#[derive(Debug, Default)]
struct Entry {
    model: Option<String>,
    kind: Option<String>,
    has_others: bool,
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

/// Of these, what the agent runs itself: nothing but its own next request brings their results to the model.
const RUN_BY_AGENT: &[&str] = &[
    "function",
    "custom",
    "bash_",
    "text_editor_",
    "computer",
    "memory_",
    "local_shell",
    "shell",
    "apply_patch",
];

fn begins(kind: &str, with: &[&str]) -> bool {
    with.iter().any(|own| kind.starts_with(own))
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

#[cfg(test)]
mod tests;
