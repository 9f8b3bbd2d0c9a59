//! One thing that was looked at.

use std::fmt;

use control::refusal::Code;
use serde_json::{Value, json};

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// As it should be.
    Good,
    /// Worth knowing.
    Note,
    /// Something will not work, or protects less than it should.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) name: String,
    pub(super) state: State,
    pub(super) code: Option<Code>,
    pub(super) detail: String,
}

impl Finding {
    pub(super) fn good(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { name: name.into(), state: State::Good, code: None, detail: detail.into() }
    }

    pub(super) fn note(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { state: State::Note, ..Self::good(name, detail) }
    }

    pub(super) fn with_code(self, code: Code) -> Self {
        Self { code: Some(code), ..self }
    }

    pub(super) fn bad(
        name: impl Into<String>,
        code: impl Into<Option<Code>>,
        detail: impl Into<String>,
    ) -> Self {
        Self { state: State::Bad, code: code.into(), ..Self::good(name, detail) }
    }

    pub(super) fn json(&self) -> Value {
        let state = match self.state {
            State::Good => "ok",
            State::Note => "note",
            State::Bad => "bad",
        };
        let hint = self.code.map(|code| code.entry().hint);
        json!({"name": self.name, "state": state, "code": self.code.map(Code::name), "detail": self.detail, "hint": hint})
    }
}

/// `[-] NO_PROXY: goes around the proxy: github.com (DW4001: what to do)`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.state {
            State::Good => '+',
            State::Note => '~',
            State::Bad => '-',
        };
        write!(f, "[{sign}] {}: {}", self.name, self.detail)?;
        match self.code {
            Some(code) => write!(f, " ({}: {})", code.name(), code.entry().hint),
            None => Ok(()),
        }
    }
}
