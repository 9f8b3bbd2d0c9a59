//! Absolute-form requests on the listener: `http://` for plain clients, `https://` for those of Node.
//!
//! hyper gets the connection with its bytes unread. Each request names its own target and is decided like any other; plain
//! http is refused unless its provider says `tls.mode: plain` (DW1010).

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use control::provider::Mode;
use control::refusal::{Code, Refusal};
use control::target::Target;
use http::uri::Authority;
use http::{HeaderValue, Uri};

use super::accept::Head;
use super::identify::Caller;
use super::lead::Leads;
use super::life::Registered;
use super::wire::{Stream, Wire};
use super::{Conn, Door, http as serving};
use crate::plan::{Plan, Served};
use crate::worker::{Owner, Seat, Worker};

/// Serves a connection that began with an absolute-form request.
pub(crate) fn serve(
    worker: Arc<Worker>,
    stream: Stream,
    head: &Head,
    caller: Caller,
    leads: Arc<Leads>,
    place: (Registered<Owner>, Seat),
) {
    let wire = Wire::new(stream, rewound(head), &place.0.life);
    let conn = Conn::new(worker, caller, Door::Plain(leads), place);
    serving::serve(Arc::new(conn), wire, false);
}

fn rewound(head: &Head) -> Bytes {
    let mut bytes = BytesMut::with_capacity(head.raw.len() + head.rest.len());
    bytes.extend_from_slice(&head.raw);
    bytes.extend_from_slice(&head.rest);
    bytes.freeze()
}

/// The target of a request, in the forms in which it is sent, and whether it is plain http.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) target: Target,
    /// The target as `:authority`.
    pub(crate) authority: Authority,
    /// The target as `Host`.
    pub(crate) host: HeaderValue,
    pub(crate) default_port: u16,
}

/// Reads the target from the request's URI.
pub(crate) fn named(uri: &Uri) -> Result<Named, Refusal> {
    let default_port = match uri.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        Some(_) => return Err(Refusal::new(Code::Dw2008, "the scheme is neither http nor https")),
        None => return Err(Refusal::new(Code::Dw2008, "this is a proxy: the request has to name its host")),
    };
    let authority = uri.authority().map(Authority::as_str).unwrap_or_default();
    let target = Target::parse_host(authority, default_port)
        .map_err(|error| Refusal::new(Code::Dw2008, error.to_string()))?;
    Named::new(target, default_port).ok_or_else(|| Refusal::new(Code::Dw2008, "the host is malformed"))
}

impl Named {
    /// `None`: the target cannot be written as an authority, which none is that was parsed.
    pub(crate) fn new(target: Target, default_port: u16) -> Option<Self> {
        let text = target.authority(default_port);
        let host = HeaderValue::from_str(&text).ok()?;
        Some(Self { authority: Authority::try_from(text).ok()?, host, target, default_port })
    }

    /// A host that a provider covers by TLS only is refused as plain http, not as unknown.
    pub(crate) fn refuse_unrouted_plain_http(&self, plan: &Plan, caller: &Caller) -> Result<(), Refusal> {
        if self.default_port != 80 || plan.route(&self.target, &caller.name).is_some() {
            return Ok(());
        }
        let by_tls = Target { port: 443, ..self.target.clone() };
        match plan.route(&by_tls, &caller.name) {
            Some(served) => Err(plain_http(served)),
            None => Ok(()),
        }
    }

    /// Plain http reaches only providers that say so, and those only plain http (DW1010).
    pub(crate) fn refuse_plain_http(&self, served: &Served) -> Result<(), Refusal> {
        let is_plain = self.default_port == 80;
        match (is_plain, served.provider.mode) {
            (true, Mode::Plain) | (false, Mode::Intercept) => Ok(()),
            (true, _) => Err(plain_http(served)),
            (false, Mode::Plain) => {
                Err(Refusal::new(Code::Dw2003, "the provider speaks plain http, not TLS"))
            }
            (false, Mode::Passthrough) => {
                Err(Refusal::new(Code::Dw1002, "the provider only passes TLS through"))
            }
        }
    }
}

fn plain_http(served: &Served) -> Refusal {
    Refusal::new(Code::Dw1010, "the provider does not allow plain http for this host")
        .of_provider(&served.provider.name)
}
