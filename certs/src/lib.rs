//! The private PKI of doorward: the CA that agents trust, the leaves that it signs, and the roots
//! that doorward itself trusts upstream. Journey order: CA, leaf, cache of leaves, trust.
//!
//! It imports nothing else of ours, reads no environment variable and no clock (time is an argument).

pub mod crypto;
mod authority;
mod leaf;
mod leaves;
pub mod trust;
pub mod svid;
mod pem;
mod error;

pub use authority::Authority;
pub use error::Error;
pub use leaf::Leaf;
pub use leaves::Leaves;
pub use trust::Roots;

#[cfg(test)]
mod testing;
