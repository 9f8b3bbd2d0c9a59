//! Canonical host and path matching: the parts of a rule, and the map from a target to its provider.
//!
//! What is matched is what is sent: hosts and paths are parsed once into one canonical form. Deny rules read a request
//! widely, allow rules narrowly, so that no spelling of a path passes a deny or widens an allow.

mod host;
mod path;
mod glob;
mod routes;

pub use glob::{Glob, GlobError};
pub use host::{HostPattern, PatternError};
pub use path::{Path, PathError, WideForms};
pub use routes::{Overlap, Routes};

pub(crate) use glob::Wildcard;
