//! How sidecars follow the server: what goes over the wire, how values are sealed on the way, and the source that a sidecar
//! opens them from.
//!
//! A stream is NDJSON, one [`wire::Message`] a line. Values travel only to the sidecar of an agent that they are attached to,
//! sealed to a key that this sidecar made for this connection ([`seal`]): who reads the stream behind the TLS learns names
//! and nothing else. Where a secret may go is authenticated with its value (invariant 4). The sidecar keeps values sealed
//! until a permit opens them (invariant 3), and opens nothing once the server has been silent for too long ([`lease`]).

pub mod lease;
pub mod seal;
pub mod asks;
pub mod server;
pub mod source;
pub mod token;
pub mod wire;

/// The header by which a sidecar gives the key that values are sealed to (base64url, 32 bytes).
pub const SEAL_KEY_HEADER: &str = "doorward-seal-key";
/// The header by which a sidecar's process is known again on its next connection (base64url, 16 random bytes).
pub const SIDECAR_HEADER: &str = "doorward-sidecar";
/// Where a sidecar gets its stream.
pub const STREAM_PATH: &str = "/v1/sync";
/// Where it says what it serves.
pub const ACK_PATH: &str = "/v1/sync/ack";
/// Where it leaves its audit lines.
pub const AUDIT_PATH: &str = "/v1/sync/audit";
/// Where it asks for requests that need a person's approval.
pub const ASKS_PATH: &str = "/v1/sync/asks";
/// What a stream is.
pub const STREAM_TYPE: &str = "application/x-ndjson";
