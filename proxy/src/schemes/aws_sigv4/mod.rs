//! `aws-sigv4`: the agent's AWS signature, made with dummy keys, is taken off and the request is signed again.
//!
//! scope: names · host: service and region of a host · canonical: what is signed · key, sign: signatures · chunked,
//! rechunk, payload: streamed payloads · role, sts_answer: keys of an assumed role · scheme: all of it on a request. Refuses what cannot be signed as it is. Invariant: doorward verifies nothing of the
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
mod role;
pub mod scheme;
#[cfg(test)]
mod vectors;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod scheme_tests;

pub use control::aws::sts_answer;
