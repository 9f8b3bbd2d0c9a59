//! The vendors: which of their actions ask a model, and what their clients read the base URL from.

use super::{Asked, Reading};

/// A vendor, as `spec.provider` names it.
#[derive(Debug, PartialEq, Eq)]
pub struct Vendor {
    /// As written, and the name of its type.
    pub name: &'static str,
    /// The host and base path of its API, where it has its own.
    pub endpoint: Option<&'static str>,
    /// What follows an endpoint without a path in the base URL of its clients.
    pub suffix: &'static str,
    /// The variables in which its clients look for the base URL.
    pub env: &'static [&'static str],
    /// Whether it speaks OpenAI's API.
    pub is_compatible: bool,
    /// Where `apiVersion` goes.
    pub version: Version,
}

/// Where a vendor's API version goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// It has none outside of its paths.
    None,
    /// This header.
    Header(&'static str),
    /// This query parameter.
    Query(&'static str),
}

/// One of the APIs by which models are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's responses.
    Responses,
    /// OpenAI's older completions.
    Completions,
    /// Anthropic's messages.
    Messages,
    /// Anthropic's older completions.
    OldCompletions,
    /// Gemini's `generateContent`.
    Content,
    /// Something that generates no text: embeddings, images, speech.
    Other,
    /// Something that no vendor charges tokens for: counting them, moderation.
    Unbilled,
}

impl Api {
    /// Whether text is generated, which a bound limits.
    pub fn generates(self) -> bool {
        !matches!(self, Self::Other | Self::Unbilled)
    }

    /// Whether the request is for a stream that ends without the vendor's figures.
    pub(super) fn misses_usage(self, asked: &Asked) -> bool {
        self.hides_usage() && asked.streams && !asked.wants_usage
    }

    /// Whether a stream of it shows the vendor's figures only where that is asked for.
    fn hides_usage(self) -> bool {
        matches!(self, Self::Chat | Self::Completions)
    }

    /// The field that bounds what is generated.
    pub(super) fn bound_field(self, vendor: &Vendor) -> &'static str {
        match self {
            Self::Chat if vendor.is_any_server() => "max_tokens",
            Self::Chat => "max_completion_tokens` or `max_tokens",
            Self::Responses => "max_output_tokens",
            Self::Completions | Self::Messages | Self::Other | Self::Unbilled => "max_tokens",
            Self::OldCompletions => "max_tokens_to_sample",
            Self::Content => "generationConfig.maxOutputTokens",
        }
    }
}

const COMPATIBLE: Vendor = Vendor {
    name: "",
    endpoint: None,
    suffix: "/v1",
    env: &["OPENAI_BASE_URL"],
    is_compatible: true,
    version: Version::None,
};

/// The vendors, in the order of the docs.
pub static VENDORS: &[Vendor] = &[
    Vendor {
        name: "anthropic",
        endpoint: Some("https://api.anthropic.com"),
        suffix: "",
        env: &["ANTHROPIC_BASE_URL"],
        is_compatible: false,
        version: Version::Header("anthropic-version"),
    },
    Vendor { name: "openai", endpoint: Some("https://api.openai.com"), ..COMPATIBLE },
    Vendor {
        name: "gemini",
        endpoint: Some("https://generativelanguage.googleapis.com"),
        suffix: "",
        env: &["GOOGLE_GEMINI_BASE_URL"],
        is_compatible: false,
        ..COMPATIBLE
    },
    Vendor {
        name: "openrouter",
        endpoint: Some("https://openrouter.ai"),
        suffix: "/api/v1",
        env: &["OPENROUTER_BASE_URL"],
        ..COMPATIBLE
    },
    Vendor {
        name: "venice",
        endpoint: Some("https://api.venice.ai"),
        suffix: "/api/v1",
        env: &["VENICE_BASE_URL"],
        ..COMPATIBLE
    },
    Vendor {
        name: "pinata",
        endpoint: Some("https://agents.pinata.cloud"),
        suffix: "/v0/llm",
        env: &["PINATA_LLM_BASE_URL"],
        ..COMPATIBLE
    },
    Vendor {
        name: "azure-openai",
        suffix: "",
        env: &["AZURE_OPENAI_ENDPOINT"],
        version: Version::Query("api-version"),
        ..COMPATIBLE
    },
    Vendor { name: "vllm", ..COMPATIBLE },
    Vendor { name: "custom", ..COMPATIBLE },
];

/// Actions that run no model, whatever their body says.
const FREE: &[&str] =
    &["models:delete", "files:write", "conversations:write", "batches:delete", "videos:delete"];

/// Those whose path begins as one does that runs a model. A server of another kind may take them for it.
const FREE_OF_OPENAI: &[&str] = &["responses:delete", "chat:update", "chat:delete"];

impl Vendor {
    /// The vendor of this name.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        VENDORS.iter().find(|vendor| vendor.name == name)
    }

    /// Where a request with this action and path says which model it asks.
    pub(super) fn reading(&self, action: &str, path: &str) -> Reading {
        if FREE.contains(&action) {
            return Reading::Free;
        }
        let is_cancel = action == "responses:create" && path.ends_with("/cancel");
        if is_cancel || FREE_OF_OPENAI.contains(&action) {
            let is_openai = matches!(self.name, "openai" | "azure-openai");
            return if is_openai { Reading::Free } else { Reading::Unreadable };
        }
        let api = match action {
            "chat:create" => Api::Chat,
            "responses:create" if path.ends_with("/input_tokens") => Api::Unbilled,
            "responses:create" => Api::Responses,
            "completions:create" if self.name == "anthropic" => Api::OldCompletions,
            "completions:create" => Api::Completions,
            "messages:create" => Api::Messages,
            "content:create" => Api::Content,
            "messages:count" | "tokens:count" | "moderations:create" => Api::Unbilled,
            "embeddings:create" | "scores:create" | "images:create" | "audio:create" => Api::Other,
            _ => return Reading::Unreadable,
        };
        match self.name {
            "gemini" if !path.contains("/openai/") => gemini_model(path),
            "azure-openai" => deployment(path),
            _ => Some(None),
        }
        .map_or(Reading::Unreadable, |model| match model {
            Some(model) => Reading::Path(api, model),
            None => Reading::Body(api),
        })
    }

    /// Whether any server may stand behind its endpoint.
    pub(super) fn is_any_server(&self) -> bool {
        matches!(self.name, "vllm" | "custom")
    }

    /// Whether this is no model but something that chooses one.
    pub(super) fn is_router(&self, model: &str) -> bool {
        let model = model.to_lowercase();
        self.name == "openrouter"
            && (model.contains('@') || model.starts_with("openrouter/") || model.starts_with('~'))
    }

    /// The names under which a model may be denied: OpenRouter's aliases (`~`) and variants (`:nitro`) mean the same model.
    pub(super) fn names_of<'a>(&self, model: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
        let bare = model.strip_prefix('~').unwrap_or(model);
        let bare = bare.split_once(':').map_or(bare, |(name, _variant)| name);
        [model].into_iter().chain((self.name == "openrouter").then_some(bare))
    }
}

/// The model of `…/models/NAME:verb`; tuned models keep their prefix, so that none passes for another.
#[expect(clippy::option_option, reason = "not readable, in the body, in the path")]
fn gemini_model(path: &str) -> Option<Option<String>> {
    let mut segments = path.rsplit('/').filter(|segment| !segment.is_empty());
    let (name, _verb) = segments.next()?.split_once(':')?;
    let kind = segments.next()?;
    let model = match kind.to_ascii_lowercase().as_str() {
        "models" => name.to_owned(),
        "tunedmodels" => format!("tunedModels/{name}"),
        _ => return None,
    };
    (!name.is_empty() && !name.contains('%')).then_some(Some(model))
}

/// The deployment of `/openai/deployments/NAME/…`; other paths have it in the body.
#[expect(clippy::option_option, reason = "not readable, in the body, in the path")]
fn deployment(path: &str) -> Option<Option<String>> {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let at = segments.iter().position(|segment| segment.eq_ignore_ascii_case("deployments"));
    let Some(at) = at else { return Some(None) };
    let name = segments.get(at + 1)?;
    (!name.contains('%')).then(|| Some((*name).to_owned()))
}
