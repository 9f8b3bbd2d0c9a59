//! `mtls`: a client certificate is all of the credential. It belongs to the connection ([`crate::upstream::identity`]), so
//! nothing is put on requests and no answer can hold any of it: the key never leaves the TLS that signs with it.

use control::catalog::{Fields, SchemeSpec};
use control::refusal::Refusal;

use super::shared::surface::Surface;
use super::{ArmFault, Armed, BuildError, Outgoing, Rendered, Scheme, Values};

/// The scheme as data.
pub(crate) static SPEC: SchemeSpec = SchemeSpec {
    name: "mtls",
    auth_types: &["mtls"],
    inject_key: None,
    summary: "Shows a client certificate to the upstream (keys `tls.crt` and `tls.key`, PEM) and puts nothing on requests. For one beside another auth type see `tls.clientCert`.",
    auth_fields: &[],
    inject_fields: &[],
    default_keys: &["tls.crt"],
};

pub(super) fn build(_fields: &Fields) -> Result<Box<dyn Scheme>, BuildError> {
    Ok(Box::new(Mtls))
}

#[derive(Debug)]
struct Mtls;

impl Scheme for Mtls {
    fn surface(&self) -> &Surface {
        &Surface::Connection
    }

    fn arm(&self, _values: &Values<'_>) -> Result<Rendered, ArmFault> {
        Ok(Rendered { armed: Box::new(Self), echoes: Vec::new() })
    }
}

impl Armed for Mtls {
    fn place(&self, _out: &mut Outgoing<'_>) -> Result<(), Refusal> {
        Ok(())
    }
}
