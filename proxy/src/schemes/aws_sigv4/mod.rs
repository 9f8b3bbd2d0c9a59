//! `aws-sigv4`: the agent's AWS signature, made with dummy keys, is taken off and the request is signed again.
//!
//! scope: names · host: service and region of a host · canonical: what is signed · key, sign: signatures · chunked,
//! rechunk, payload: streamed payloads · scheme: all of it on a request. Refuses what cannot be signed as it is. Invariant: doorward verifies nothing of the
//! agent's signature and sends nothing of it.

pub mod scope;
pub mod canonical;
pub mod key;
pub mod sign;
pub mod chunked;
pub mod rechunk;
pub mod host;
pub mod payload;
mod asked;
pub mod scheme;
#[cfg(test)]
mod vectors;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod scheme_tests;
