//! Where on a request a credential goes.

use control::catalog::Spot;
use http::HeaderName;

use super::pathshape::PathShape;
use super::pointer::Pointer;

/// The one place of a request that a scheme writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Surface {
    /// The whole value of this header.
    Header(HeaderName),
    /// The whole value of this query parameter (decoded name).
    Query(String),
    /// The part of the path that has this shape.
    Path(PathShape),
    /// The value of this cookie.
    Cookie(String),
    /// The string at this pointer of a JSON body.
    Body(Pointer),
    /// AWS' signing headers, or its signing parameters in the query.
    Signature,
    /// The headers, and the query parameter, in which a signature is sent.
    Signed {
        /// The headers.
        headers: Vec<HeaderName>,
        /// The parameter (decoded name).
        param: Option<String>,
    },
    /// Nothing of a request: the connection is what is authenticated.
    Connection,
    /// Wherever the provider's dummy stands in these spots.
    Placeholder(Vec<PlaceholderSpot>),
}

/// A validated [`Spot`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaceholderSpot {
    /// The values of this header.
    Header(HeaderName),
    /// The values of this query parameter (decoded name).
    Query(String),
    /// Anywhere in a path segment.
    Path,
    /// User or password of Basic credentials.
    Basic,
    /// The string at this pointer of a JSON body.
    Body(Pointer),
}

impl Surface {
    /// The pointers into the body, if the surface has any: then the body has to be held in memory.
    pub fn pointers(&self) -> impl Iterator<Item = &Pointer> {
        let (own, spots): (Option<&Pointer>, &[PlaceholderSpot]) = match self {
            Self::Body(pointer) => (Some(pointer), &[]),
            Self::Placeholder(spots) => (None, spots),
            Self::Header(_)
            | Self::Query(_)
            | Self::Path(_)
            | Self::Cookie(_)
            | Self::Signature
            | Self::Signed { .. }
            | Self::Connection => (None, &[]),
        };
        own.into_iter().chain(spots.iter().filter_map(PlaceholderSpot::pointer))
    }
}

impl PlaceholderSpot {
    fn pointer(&self) -> Option<&Pointer> {
        match self {
            Self::Body(pointer) => Some(pointer),
            Self::Header(_) | Self::Query(_) | Self::Path | Self::Basic => None,
        }
    }

    /// Validates a spot of the catalogue; `None` where the header may not carry a credential.
    pub(crate) fn new(spot: &Spot) -> Option<Self> {
        Some(match spot {
            Spot::Header(name) => Self::Header(super::names::injectable(name)?),
            Spot::Query(name) => Self::Query(name.clone()),
            Spot::Path => Self::Path,
            Spot::Basic => Self::Basic,
            Spot::Body(pointer) => Self::Body(Pointer::parse(pointer).ok()?),
        })
    }
}
