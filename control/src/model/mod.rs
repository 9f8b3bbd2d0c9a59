//! What a ModelProvider adds to a provider: which models may be asked for how many tokens, and how the requests of each
//! vendor say so.
//!
//! Where a rule limits models or tokens, a request whose model cannot be read is refused: one that a lenient server could
//! take for another, a WebSocket, a job that runs later. What was read is what is sent: bodies are never rewritten.

mod asked;
mod vendor;

use std::sync::Arc;
use std::time::Duration;

use http::Method;

use crate::policy::{self, Facts};
use crate::refusal::{Code, Refusal};
use crate::rule::Wildcard;
use crate::target::Target;
use crate::types::{Ask, TypeSpec};

pub use asked::{Asked, Fault};
pub use vendor::{Api, VENDORS, Vendor, Version};

/// What a ModelProvider says beyond a provider.
#[derive(Debug)]
pub struct ModelRules {
    /// Whose API it is.
    pub vendor: &'static Vendor,
    /// The models that may be asked; `None`: any.
    pub(crate) allowed: Option<Vec<ModelGlob>>,
    /// The models that may not.
    pub(crate) denied: Vec<ModelGlob>,
    /// All tokens of a day (00:00 UTC), in and out, of all agents together.
    pub tokens_per_day: Option<u64>,
    /// The most that a request may ask to be generated.
    pub tokens_per_request: Option<u64>,
    /// Asked again where nothing was answered.
    pub retry: Option<Retry>,
    /// Model providers of the same project that are asked next in base-URL mode.
    pub fallbacks: Vec<Arc<str>>,
    /// Where requests in base-URL mode go.
    pub endpoint: Endpoint,
    /// `apiVersion`, where the vendor has one: added to requests that name none.
    pub api_version: Option<Arc<str>>,
    /// Where each rule stands, for refusals.
    pub(crate) places: Places,
}

/// Where the rules stand: `allowedModels (openai.yaml:7)`.
#[derive(Debug, Default)]
pub(crate) struct Places {
    pub(crate) allowed: Arc<str>,
    pub(crate) denied: Arc<str>,
    pub(crate) day: Arc<str>,
    pub(crate) request: Arc<str>,
    /// The document's `spec`.
    pub(crate) spec: Arc<str>,
}

/// Where a base URL leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The host.
    pub target: Target,
    /// `https`, or `http` where the file says so.
    pub plain: bool,
    /// The path in front of every request's, without a slash at its end; empty: none.
    pub base: Arc<str>,
}

/// When to ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all, from 1.
    pub attempts: u32,
    /// Before the second one; doubled for each after it.
    pub initial: Duration,
    /// The longest wait.
    pub most: Duration,
}

/// A pattern of model names.
#[derive(Debug)]
pub(crate) struct ModelGlob {
    text: Box<str>,
    wildcard: Wildcard,
    folded: Wildcard,
    is_star: bool,
}

impl ModelGlob {
    pub(crate) fn new(text: &str) -> Self {
        let folded = text.to_lowercase();
        Self {
            text: text.into(),
            wildcard: Wildcard::new(text),
            folded: Wildcard::new(&folded),
            is_star: text == "*",
        }
    }

    /// Allow reads narrowly.
    fn allows(&self, model: &str) -> bool {
        self.wildcard.matches(model.as_bytes())
    }

    /// Deny reads widely: without regard to case.
    fn denies(&self, model: &str) -> bool {
        self.folded.matches(model.to_lowercase().as_bytes())
    }
}

/// Where a request says which model it asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// It asks none.
    Free,
    /// In its JSON body.
    Body(Api),
    /// In its path, and what else there is in its JSON body.
    Path(Api, String),
    /// It cannot be told.
    Unreadable,
}

/// Where the request says which model it asks. Forms of the path that a lenient server could read otherwise have to come
/// to the same.
pub fn reading(facts: &Facts<'_>, vendor: &Vendor) -> Reading {
    let kind = facts.provider.kind;
    let read = |path: &str| one(kind, vendor, &Ask { path, ..policy::ask(facts) });
    let own = read(facts.path.as_str());
    let wide = facts.path.wide_forms();
    let same = wide.iter().all(|form| read(&String::from_utf8_lossy(form)) == own);
    if same && !facts.method.as_str().bytes().any(|b| b.is_ascii_lowercase()) {
        own
    } else {
        Reading::Unreadable
    }
}

fn one(kind: &TypeSpec, vendor: &Vendor, ask: &Ask<'_>) -> Reading {
    let resolved = (kind.resolve)(ask);
    if matches!(*ask.method, Method::GET | Method::HEAD) && resolved.action.ends_with(":read") {
        return Reading::Free;
    }
    vendor.reading(&resolved.action, ask.path)
}

impl ModelRules {
    /// Whether anything limits what may be asked, so that requests have to be read.
    pub fn limits(&self) -> bool {
        self.limits_models() || self.tokens_per_day.is_some() || self.tokens_per_request.is_some()
    }

    /// `allowedModels` as written.
    pub fn allowed_models(&self) -> Option<Vec<&str>> {
        self.allowed.as_ref().map(|globs| globs.iter().map(|glob| &*glob.text).collect())
    }

    /// `deniedModels` as written.
    pub fn denied_models(&self) -> Vec<&str> {
        self.denied.iter().map(|glob| &*glob.text).collect()
    }

    fn limits_models(&self) -> bool {
        self.allowed.is_some() || !self.denied.is_empty()
    }

    /// Judges what a request asks.
    ///
    /// # Errors
    /// DW1002 with the rule that denies.
    pub fn judge(&self, api: Api, asked: &Asked) -> Result<(), Refusal> {
        self.judge_models(asked)?;
        if asked.overrides {
            return Err(self.refuse(
                "a fallback in the request has settings beside its `model`, which could lift what this provider limits: leave them out",
                &self.places.spec,
            ));
        }
        if self.tokens_per_day.is_some() {
            self.judge_countable(api, asked)?;
        }
        match self.tokens_per_request {
            Some(most) if api.generates() => self.judge_bound(api, asked, most),
            Some(_) | None => Ok(()),
        }
    }

    /// What the vendor's figures would be missing for is not let through where they have to be counted.
    fn judge_countable(&self, api: Api, asked: &Asked) -> Result<(), Refusal> {
        let detail = if asked.in_background {
            "a request in the background (`background: true`) is answered without its tokens, which maxTokensPerDay has to count: leave it out"
        } else if api.misses_usage(asked) {
            "a stream without the vendor's figures cannot be counted, which maxTokensPerDay has to: set `stream_options` to `{\"include_usage\": true}`"
        } else {
            return Ok(());
        };
        // Not over the budget, but nothing that it could be held against: the request has to change, not to wait.
        Err(Refusal::new(Code::Dw1009, detail).with_status(400).by_rule(Arc::clone(&self.places.day)))
    }

    /// Judges the models alone.
    pub(crate) fn judge_models(&self, asked: &Asked) -> Result<(), Refusal> {
        if !self.limits_models() {
            return Ok(());
        }
        if asked.models.is_empty() {
            return Err(self
                .refuse("the request names no model, and this provider limits them", &self.places.allowed));
        }
        if asked.names_preset {
            return Err(self.refuse(
                "a preset, plugin, fallback or tool of the vendor could choose any model, and this provider limits them",
                &self.places.allowed,
            ));
        }
        for model in &asked.models {
            // No vendor has such a name; one that trims or folds it would take it for another.
            if !model.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(self.refuse("the request names a model in an odd spelling", &self.places.allowed));
            }
            if self.denied.iter().any(|glob| self.vendor.names_of(model).any(|name| glob.denies(name))) {
                return Err(self.refuse("the model that the request names is denied", &self.places.denied));
            }
            if !self.is_allowed(model) {
                return Err(
                    self.refuse("the model that the request names is not allowed", &self.places.allowed)
                );
            }
        }
        Ok(())
    }

    fn is_allowed(&self, model: &str) -> bool {
        // A router or a preset chooses the model itself: only an entry that means it lets it through.
        let chooses = self.vendor.is_router(model);
        match &self.allowed {
            Some(allowed) => allowed.iter().any(|glob| glob.allows(model) && !(chooses && glob.is_star)),
            None => !chooses,
        }
    }

    fn judge_bound(&self, api: Api, asked: &Asked, most: u64) -> Result<(), Refusal> {
        match asked.bound {
            Some(bound) if bound <= most => Ok(()),
            Some(_) => Err(self.refuse(
                format!("the request may generate more than the {most} tokens that a request may"),
                &self.places.request,
            )),
            None => Err(self.refuse(
                format!(
                    "a request may generate at most {most} tokens, and this one sets no limit: set `{}`",
                    api.bound_field(self.vendor)
                ),
                &self.places.request,
            )),
        }
    }

    /// A request whose model cannot be told.
    pub fn unreadable(&self) -> Refusal {
        self.refuse(
            "what this request asks of which model cannot be read, and this provider limits models or tokens",
            &self.places.spec,
        )
    }

    /// The budget of the day is used up, or all that is left is reserved; `wait` says when to try again.
    pub fn over_budget(&self, detail: &'static str, wait: Duration) -> Refusal {
        Refusal::new(Code::Dw1009, detail).by_rule(Arc::clone(&self.places.day)).retry_after(wait)
    }

    fn refuse(&self, detail: impl Into<std::borrow::Cow<'static, str>>, rule: &Arc<str>) -> Refusal {
        Refusal::new(Code::Dw1002, detail).by_rule(Arc::clone(rule))
    }
}

#[cfg(test)]
mod tests;
