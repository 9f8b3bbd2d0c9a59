//! Client certificates of sidecars (`--client-ca`): verified against the roots of a file, which is read again when it changes, and
//! let in only as X.509-SVIDs.
//!
//! Optional: people and sidecars with a token show none. What cannot be verified, or is no SVID, ends the handshake: it never
//! becomes a connection without a certificate.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use certs::svid::Svid;
use control::registry::SpiffeId;
use control::sync::server::identify::Certified;
use parking_lot::Mutex;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

/// How often it is looked whether the file has changed.
const LOOK: Duration = Duration::from_secs(1);

/// What tells a file from the one that was there before.
type Stamp = (SystemTime, u64, u64);

/// Verifies client certificates.
#[derive(Debug)]
pub(super) struct Clients {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    verifier: Arc<dyn ClientCertVerifier>,
    stamp: Stamp,
    looked: Instant,
}

impl Clients {
    /// With the roots of this file.
    pub(super) fn new(path: &Path) -> Result<Arc<Self>, String> {
        // Before it is read: what changes in between is read again.
        let stamp = stamp(path).map_err(|why| format!("{}: {why}", path.display()))?;
        let state = State { verifier: verifier(path)?, stamp, looked: Instant::now() };
        Ok(Arc::new(Self { path: path.to_owned(), state: Mutex::new(state) }))
    }

    fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        let mut state = self.state.lock();
        if state.looked.elapsed() >= LOOK {
            state.looked = Instant::now();
            self.look(&mut state);
        }
        Arc::clone(&state.verifier)
    }

    /// What cannot be read, half written perhaps, leaves those that were there.
    fn look(&self, state: &mut State) {
        let Some(stamp) = stamp(&self.path).ok().filter(|stamp| *stamp != state.stamp) else { return };
        match verifier(&self.path) {
            Ok(fresh) => {
                tracing::info!(file = %self.path.display(), "the roots of client certificates were read again");
                (state.verifier, state.stamp) = (fresh, stamp);
            }
            Err(error) => tracing::warn!(%error, "the roots of client certificates were not read again"),
        }
    }
}

fn stamp(path: &Path) -> std::io::Result<Stamp> {
    let found = std::fs::metadata(path)?;
    Ok((found.modified()?, found.len(), found.ino()))
}

fn verifier(path: &Path) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let roots = certs::Roots::only(path).map_err(|error| error.to_string())?;
    WebPkiClientVerifier::builder_with_provider(roots.store(), certs::crypto::provider())
        .allow_unauthenticated()
        .build()
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// What a leaf whose path is verified says.
fn read(leaf: &CertificateDer<'_>) -> Result<Certified, String> {
    let Svid { uri, ends } = Svid::read(leaf).map_err(|error| error.to_string())?;
    let id: SpiffeId = uri.parse().map_err(|_| "its URI is no SPIFFE id of a workload".to_owned())?;
    Ok(Certified { id, ends })
}

/// What a certificate of a connection says, that [`Clients`] let in.
pub(super) fn certified(leaf: &CertificateDer<'_>) -> Option<Certified> {
    read(leaf).ok()
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None: a list would be of the roots that were there when the server was started.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.verifier().verify_client_cert(end_entity, intermediates, now)?;
        match read(end_entity) {
            Ok(_) => Ok(verified),
            Err(why) => {
                tracing::warn!(%why, "a client certificate is verified, and no X.509-SVID");
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier().verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier().verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier().supported_verify_schemes()
    }
}
