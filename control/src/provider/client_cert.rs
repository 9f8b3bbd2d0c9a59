//! The client certificate that an upstream is shown: `tls.clientCert`, or `auth.type: mtls` of http-token.
//!
//! Refuses two of them, one where there is no TLS of ours, and settings that could not have an effect: the certificate
//! belongs to the connection, so it is shown whatever an agent sends.

use super::build::Ids;
use super::report::Report;
use super::tree::Node;
use super::{Auth, Injection, Mode, OnAgentCredential, auth};
use crate::catalog::{Fields, SchemeSpec};
use crate::secret::SecretRef;
use crate::vault::certificate;

/// The auth type, and the scheme, that puts nothing on requests.
pub(super) const MTLS: &str = "mtls";

/// Fields of `auth` that are about what requests carry.
const OF_REQUESTS: &[&str] =
    &["secretKey", "placeholder", "agentEnvVar", "agentEnv", "onAgentCredential", "inject"];

/// What would do nothing beside `auth.type: mtls`.
pub(super) fn refuse_unread(auth: &Node, report: &mut Report<'_>) {
    for entry in auth.entries().iter().filter(|entry| OF_REQUESTS.contains(&entry.key.as_str())) {
        let what = format!("`{}` does nothing with `type: mtls`, which puts nothing on requests", entry.key);
        report.mistake(entry.at, format!("{what}; for both write `tls.clientCert` beside another auth type"));
    }
}

/// Reads `tls.clientCert`.
pub(super) fn read(spec: &Node, ids: &Ids, mode: Mode, report: &mut Report<'_>) -> Option<SecretRef> {
    let auth = spec.field("auth");
    let is_mtls = auth.and_then(|auth| auth.text_of("type")) == Some(MTLS);
    let node = spec.field("tls").and_then(|tls| tls.field("clientCert"));
    let at = node.or(auth.filter(|_| is_mtls))?.at;
    match mode {
        Mode::Intercept => {}
        Mode::Plain => report.mistake(at, "there is no TLS with `tls.mode: plain`, so no client certificate"),
        Mode::Passthrough => report.mistake(
            at,
            "with `tls.mode: passthrough` the TLS is the agent's own, so no client certificate can be shown",
        ),
    }
    let node = node?;
    if is_mtls {
        report.mistake(node.at, "`clientCert` stands beside `auth.type: mtls`, which is one already");
    }
    let reaction = auth.and_then(|auth| auth.field("onAgentCredential"));
    if let Some(reaction) = reaction.filter(|node| node.text() == Some("placeholder-only")) {
        report.mistake(reaction.at, "`placeholder-only` cannot stand beside `tls.clientCert`, which is shown whatever the agent sends");
    }
    auth::secret(node, ids, report)
}

/// The credential of a provider whose certificate is all that it has.
pub(super) fn alone(secret: &SecretRef, schemes: &[&SchemeSpec]) -> Option<Auth> {
    let scheme = schemes.iter().find(|scheme| scheme.auth_types.contains(&MTLS))?.name;
    Some(Auth {
        auth_type: MTLS.into(),
        secret: secret.clone(),
        keys: vec![certificate::CERTIFICATE.to_owned()],
        injections: vec![Injection { hosts: Vec::new(), scheme, fields: Fields::default() }],
        token_urls: Vec::new(),
        on_agent_credential: OnAgentCredential::Replace,
        dummies: Vec::new(),
        remove_headers: Vec::new(),
        remove_params: &[],
        public_prefixes: &[],
    })
}
