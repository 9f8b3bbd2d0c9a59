//! Removes echoes of the injected values from responses.
//!
//! For: the step between the upstream's answer and the agent. Heads, bodies, trailers and WebSocket payloads pass
//! through here; SECURITY.md, "What is scrubbed", lists the spellings.
//! Refuses (DW2009): what it cannot read.
//! Invariant: an agent that makes an upstream echo its credential does not get it, and learns at most seven bytes
//! beyond the public prefix and what two events in an hour tell.

pub mod requested;
pub mod headers;
pub mod body;
pub mod frames;
pub mod incidents;
pub mod coded;
mod masker;
mod scanner;
mod thread;
mod filter;
mod beginnings;
mod forms;
mod escapes;
mod error;

pub use body::{Scrubbed, Search, response};
pub use error::{BoxError, ScrubError};
pub use forms::{LONGEST, Needle, SHORTEST};
pub use incidents::{Incidents, Standing, Use};
pub use masker::{Extent, HOLD, Masker, Watch};
pub use scanner::{CompileError, Scanner};

#[cfg(test)]
mod tests;
