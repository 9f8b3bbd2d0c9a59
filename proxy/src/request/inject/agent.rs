//! What credential the agent put on the surface itself: our dummy, one of its own, or none.

use http::HeaderName;
use http::header::{AUTHORIZATION, COOKIE};
use memchr::memmem;

use crate::schemes::shared::encode::{decoded, form_decoded};
use crate::schemes::shared::surface::PlaceholderSpot;
use crate::schemes::shared::{basic_auth, cookies, parameters};
use crate::schemes::{Head, Surface};

/// What stands on a surface; both may (two copies of a header).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// A dummy of the provider.
    pub dummy: bool,
    /// Something else that stands where the credential belongs.
    pub own: bool,
}

impl Sent {
    /// What this text is.
    pub(super) fn of(text: &[u8], dummies: &[String]) -> Self {
        let dummy = holds(text, dummies);
        Self { dummy, own: !dummy && !text.trim_ascii().is_empty() }
    }

    /// Both together.
    pub(super) fn with(self, other: Self) -> Self {
        Self { dummy: self.dummy || other.dummy, own: self.own || other.own }
    }

    fn all(texts: impl Iterator<Item = Self>) -> Self {
        texts.fold(Self::default(), Self::with)
    }
}

fn holds(text: &[u8], dummies: &[String]) -> bool {
    dummies.iter().any(|dummy| memmem::find(text, dummy.as_bytes()).is_some())
}

/// What the agent sent on this surface of the head; surfaces in the body are judged when it was read.
pub fn agent_credential(head: &Head, surface: &Surface, dummies: &[String]) -> Sent {
    match surface {
        Surface::Header(name) => in_header(head, name, dummies),
        Surface::Query(name) => in_query(head, name, dummies),
        Surface::Cookie(name) => in_cookies(head, name, dummies),
        Surface::Path(shape) => match shape.find(head.target.path(), dummies) {
            Some(found) => Sent { dummy: found.is_dummy, own: !found.is_dummy },
            None => Sent::default(),
        },
        Surface::Body(_) | Surface::Connection => Sent::default(),
        Surface::Signature => in_signature(head, dummies),
        Surface::Signed { headers, param } => {
            let in_headers = headers.iter().map(|name| in_header(head, name, dummies));
            Sent::all(in_headers.chain(param.iter().map(|name| in_query(head, name, dummies))))
        }
        Surface::Placeholder(spots) => Sent::all(spots.iter().map(|spot| in_spot(head, spot, dummies))),
    }
}

fn in_spot(head: &Head, spot: &PlaceholderSpot, dummies: &[String]) -> Sent {
    match spot {
        PlaceholderSpot::Header(name) => {
            Sent::all(head.headers.get_all(name).iter().map(|value| Sent::of(value.as_bytes(), dummies)))
        }
        PlaceholderSpot::Query(name) => in_query(head, name, dummies),
        PlaceholderSpot::Basic => {
            let pairs = head
                .headers
                .get_all(AUTHORIZATION)
                .iter()
                .filter_map(|value| basic_auth::decoded(value.as_bytes()));
            Sent::all(pairs.map(|pair| Sent::of(&pair, dummies)))
        }
        PlaceholderSpot::Path => {
            let path = head.target.path().as_bytes();
            Sent { dummy: holds(path, dummies) || holds(&decoded(path), dummies), own: false }
        }
        PlaceholderSpot::Body(_) => Sent::default(),
    }
}

/// Who the agent signed as.
fn in_signature(head: &Head, dummies: &[String]) -> Sent {
    let in_params = ["X-Amz-Credential", "AWSAccessKeyId"].map(|name| in_query(head, name, dummies));
    in_params.into_iter().fold(in_header(head, &AUTHORIZATION, dummies), Sent::with)
}

/// What stands in a header, Basic credentials decoded.
pub(super) fn in_header(head: &Head, name: &HeaderName, dummies: &[String]) -> Sent {
    Sent::all(head.headers.get_all(name).iter().map(|value| {
        let plain = Sent::of(value.as_bytes(), dummies);
        let pair = if plain.dummy { None } else { basic_auth::decoded(value.as_bytes()) };
        pair.map_or(plain, |pair| Sent::of(&pair, dummies))
    }))
}

/// What stands in a query parameter.
pub(super) fn in_query(head: &Head, name: &str, dummies: &[String]) -> Sent {
    let query = head.target.query().unwrap_or_default();
    let named = parameters::parameters(query).filter(|parameter| parameter.is_named(name));
    Sent::all(named.map(|parameter| Sent::of(&form_decoded(parameter.value().as_bytes()), dummies)))
}

fn in_cookies(head: &Head, name: &str, dummies: &[String]) -> Sent {
    let all = head.headers.get_all(COOKIE).iter().flat_map(|value| cookies::cookies(value.as_bytes()));
    Sent::all(all.filter_map(|cookie| cookies::value_of(cookie, name)).map(|value| Sent::of(value, dummies)))
}
