//! MCP (Model Context Protocol) over HTTP: what an agent's messages call, and which tools a server's answers show.
//!
//! Pure text in, judgement out; the data plane holds the bytes. Both directions are read strictly: what two parsers could
//! read in two ways (a key that stands twice, a member that JSON-RPC does not know) is refused, never guessed at.

mod json;
pub mod calls;
pub mod listing;
pub mod events;
#[cfg(test)]
mod tests;

pub use calls::{Call, Calls, Id};
pub use listing::Listing;

use http::Method;

/// The MCP server of a provider (`spec.mcp`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The canonical path of its URL.
    pub path: String,
    /// How it is spoken with.
    pub transport: Transport,
}

/// A transport of MCP over HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// One endpoint for everything (2025-03-26 and later).
    #[default]
    StreamableHttp,
    /// A stream of events, and another endpoint for messages that the server names in it (2024-11-05).
    Sse,
}

impl Server {
    /// Whether the path is one of the server's own. Over SSE the server chooses where messages go, so any path in the
    /// folder of its URL takes them.
    pub fn covers(&self, method: &Method, path: &str) -> bool {
        let bare = |path: &str| path.strip_suffix('/').unwrap_or(path).len();
        let same = path.get(..bare(path)) == self.path.get(..bare(&self.path));
        let folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let below = path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        same || (self.transport == Transport::Sse && *method == Method::POST && below)
    }
}

/// Why a message or an answer is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not one JSON value in UTF-8, or nested too deeply.
    #[error("it is not one JSON value")]
    NotJson,
    /// A key stands twice in one object.
    #[error("a key stands twice in it")]
    Duplicate,
    /// It has no reading as JSON-RPC 2.0.
    #[error("it is not a message of JSON-RPC 2.0")]
    NotRpc,
    /// `tools/call` does not name one tool in a form that can be judged.
    #[error("it does not name the tool that it calls in one plain way")]
    NoTool,
    /// `Mcp-Method` or `Mcp-Name` says something else than the message.
    #[error("its headers name another method or tool than the message")]
    Headers,
    /// More values than are read.
    #[error("it is made of too many values")]
    Large,
    /// More messages than a batch may have.
    #[error("its batch holds too many messages")]
    Many,
}
