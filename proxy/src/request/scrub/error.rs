//! Why a response cannot go on. What is refused before its head is sent is DW2009, as is what is cut later.

use super::coded::CodedError;

/// A boxed cause.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a response is refused or cut.
#[derive(Debug, thiserror::Error)]
pub enum ScrubError {
    /// A part of a value was held for as long as allowed and the rest did not come.
    #[error("the response stopped inside what may be a credential")]
    Held,
    /// More beginnings of a value than can be followed.
    #[error("the response holds too many beginnings of a credential")]
    Tangled,
    /// A value stands in a body that cannot be rewritten.
    #[error("the compressed response holds a credential")]
    Echoed,
    /// The content coding is not one that we read.
    #[error("the response has a content coding that cannot be read")]
    UnknownCoding,
    /// The coded body cannot be read.
    #[error("the compressed response cannot be read")]
    Coded(#[source] CodedError),
    /// The upstream's body failed.
    #[error("the response body failed")]
    Upstream(#[source] BoxError),
}
