//! What came of each measure, for the log, `doctor`, `/readyz?verbose` and metrics.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

/// Whether a measure holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It holds.
    On,
    /// It does not.
    Off,
    /// The kernel does not have it.
    Unsupported,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Unsupported => "unsupported",
        })
    }
}

/// One measure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Measure {
    /// Its name, one of the constants of [`SelfCheck`].
    pub name: &'static str,
    /// Whether it holds.
    pub state: State,
    /// How far, or why not; may be empty.
    pub detail: Cow<'static, str>,
}

impl Measure {
    pub(super) fn on(name: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { name, state: State::On, detail: detail.into() }
    }

    pub(super) fn off(name: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { name, state: State::Off, detail: detail.into() }
    }

    pub(super) fn unsupported(name: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { name, state: State::Unsupported, detail: detail.into() }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.state)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, " ({})", self.detail) }
    }
}

/// All measures, in the order in which they were taken. Serializes as a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SelfCheck {
    measures: Vec<Measure>,
}

impl SelfCheck {
    /// No core, no ptrace by the same user.
    pub const NOT_DUMPABLE: &str = "not_dumpable";
    /// The size of a core is limited to 0.
    pub const NO_CORE: &str = "no_core";
    /// No setuid program gives privileges.
    pub const NO_NEW_PRIVS: &str = "no_new_privs";
    /// Pages of secrets are locked.
    pub const MEMORY_LOCK: &str = "memory_lock";
    /// Files are confined.
    pub const LANDLOCK: &str = "landlock";
    /// System calls are confined.
    pub const SECCOMP: &str = "seccomp";

    /// All measures.
    pub fn measures(&self) -> &[Measure] {
        &self.measures
    }

    /// One measure.
    pub fn measure(&self, name: &str) -> Option<&Measure> {
        self.measures.iter().find(|measure| measure.name == name)
    }

    /// Whether all hold.
    pub fn is_complete(&self) -> bool {
        self.measures.iter().all(|measure| measure.state == State::On)
    }

    pub(super) fn put(&mut self, measure: Measure) {
        match self.measures.iter_mut().find(|known| known.name == measure.name) {
            Some(known) => *known = measure,
            None => self.measures.push(measure),
        }
    }
}

/// One line for the log.
impl fmt::Display for SelfCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, measure) in self.measures.iter().enumerate() {
            write!(f, "{}{measure}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
