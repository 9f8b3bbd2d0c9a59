//! What the sidecar shows the server: its agent's token, the token of its Kubernetes ServiceAccount, or a certificate of its own.
//!
//! The last two are replaced from hour to hour by whoever made them (the kubelet, SPIRE's helper): their files are read again, and
//! what stands in them counts as soon as it is whole. A file that cannot be read changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use control::agent::read_token_file;
use control::secret::Secret;
use control::sync::token::{SidecarToken, is_jwt};
use http::HeaderValue;
use parking_lot::Mutex;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

/// How often it is looked whether a file holds something else.
const LOOK: Duration = Duration::from_secs(2);
/// The longest token of a ServiceAccount, as the server has it.
const JWT_MOST: usize = 16 * 1024;

/// What is shown.
#[derive(Debug)]
pub(crate) enum Shown {
    Token(TokenFile),
    Certificate(Arc<CertificateFiles>),
}

impl Shown {
    /// The header that the server is sent; none where TLS says it all.
    pub(super) fn authorization(&self) -> Result<Option<HeaderValue>, http::header::InvalidHeaderValue> {
        let Self::Token(file) = self else { return Ok(None) };
        let token = file.now();
        // exposed: sent to the server, which has shown whose it is
        let bearer = Zeroizing::new([&b"Bearer "[..], token.secret().expose()].concat());
        let mut authorization = HeaderValue::from_bytes(&bearer)?;
        authorization.set_sensitive(true);
        Ok(Some(authorization))
    }

    /// What the agent authenticates with here, where no file says so.
    pub(crate) fn agents_own(&self) -> Secret {
        match self {
            Self::Token(file) => match &*file.now() {
                Token::Sidecar(token) => token.agents_own(),
                Token::Account(_) => file.own.agents_own(),
            },
            Self::Certificate(files) => files.own.agents_own(),
        }
    }

    /// Reads it again; says whether it is another one now.
    pub(super) fn refresh(&self) -> bool {
        match self {
            Self::Token(file) => file.refresh(),
            Self::Certificate(files) => files.refresh(),
        }
    }

    /// Returns when there is something else to show; never for an agent's token, which is good until it is refused.
    pub(super) async fn replaced(&self) {
        let now = self.version();
        loop {
            if self.version() != now {
                return;
            }
            tokio::time::sleep(LOOK).await;
            if self.is_short_lived() {
                self.refresh();
            }
        }
    }

    fn is_short_lived(&self) -> bool {
        match self {
            Self::Token(file) => matches!(&*file.now(), Token::Account(_)),
            Self::Certificate(_) => true,
        }
    }

    /// What is kept now, to be told from what is kept later.
    fn version(&self) -> usize {
        match self {
            Self::Token(file) => file.state.lock().1,
            Self::Certificate(files) => files.state.lock().2,
        }
    }
}

/// A token, by its form.
#[derive(Debug)]
enum Token {
    Sidecar(SidecarToken),
    /// Of a Kubernetes ServiceAccount.
    Account(Secret),
}

impl Token {
    fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let text = read_token_file(path).map_err(|error| format!("{shown}: {error}"))?;
        let text = text.trim_ascii();
        if !is_jwt(text.as_bytes()) {
            let token = SidecarToken::parse(text)
                .map_err(|error| format!("{shown}: {error}; a Kubernetes ServiceAccount's is a JWT"))?;
            return Ok(Self::Sidecar(token));
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if text.len() > JWT_MOST || !text.bytes().all(is_plain) {
            return Err(format!("{shown}: the JWT is cut, or no token of a ServiceAccount"));
        }
        Ok(Self::Account(Secret::new(text.as_bytes().to_vec())))
    }

    fn secret(&self) -> &Secret {
        match self {
            Self::Sidecar(token) => token.secret(),
            Self::Account(token) => token,
        }
    }
}

/// Where the token is.
#[derive(Debug)]
pub(crate) struct TokenFile {
    path: PathBuf,
    /// The token, and how often it has been another one.
    state: Mutex<(Arc<Token>, usize)>,
    /// What the agent's own token is made from.
    own: SidecarToken,
}

impl TokenFile {
    /// Reads the token.
    pub(crate) fn open(path: PathBuf) -> Result<Self, String> {
        let state = Mutex::new((Arc::new(Token::read(&path)?), 0));
        Ok(Self { path, state, own: own()? })
    }

    fn now(&self) -> Arc<Token> {
        Arc::clone(&self.state.lock().0)
    }

    fn refresh(&self) -> bool {
        match Token::read(&self.path) {
            Ok(fresh) => {
                let mut state = self.state.lock();
                // exposed: compared in constant time, see Secret::matches
                let is_other = !state.0.secret().matches(fresh.secret().expose());
                if is_other {
                    *state = (Arc::new(fresh), state.1 + 1);
                }
                is_other
            }
            Err(error) => {
                tracing::warn!(%error, "the sidecar's token was not read again");
                false
            }
        }
    }
}

fn own() -> Result<SidecarToken, String> {
    SidecarToken::of_nobody().map_err(|_| "the system gave no random bytes".to_owned())
}

/// Where the certificate and its key are. TLS asks for them at each handshake.
#[derive(Debug)]
pub(crate) struct CertificateFiles {
    certificate: PathBuf,
    key: PathBuf,
    /// The pair, what its files were like, and how often it has been another one.
    state: Mutex<(Arc<CertifiedKey>, Stamp, usize)>,
    /// What the agent's own token is made from.
    own: SidecarToken,
}

/// What tells files from those that were there before.
type Stamp = [(SystemTime, u64); 2];

impl CertificateFiles {
    /// Reads both.
    pub(crate) fn open(certificate: PathBuf, key: PathBuf) -> Result<Arc<Self>, String> {
        // Before they are read: what changes in between is read again.
        let stamp = stamp(&certificate, &key)?;
        let pair = pair(&certificate, &key)?;
        Ok(Arc::new(Self { certificate, key, state: Mutex::new((Arc::new(pair), stamp, 0)), own: own()? }))
    }

    fn refresh(&self) -> bool {
        let before = self.state.lock().1;
        let read = stamp(&self.certificate, &self.key).and_then(|stamp| {
            if stamp == before {
                Ok(None)
            } else {
                pair(&self.certificate, &self.key).map(|pair| Some((pair, stamp)))
            }
        });
        match read {
            Ok(None) => false,
            Ok(Some((pair, stamp))) => {
                let mut state = self.state.lock();
                let is_other = state.0.cert != pair.cert;
                *state = (Arc::new(pair), stamp, state.2 + usize::from(is_other));
                is_other
            }
            // One of the two is new and the other not yet, perhaps.
            Err(error) => {
                tracing::warn!(%error, "the sidecar's certificate was not read again");
                false
            }
        }
    }
}

fn stamp(certificate: &Path, key: &Path) -> Result<Stamp, String> {
    let of = |path: &Path| {
        let found = std::fs::metadata(path).and_then(|found| Ok((found.modified()?, found.len())));
        found.map_err(|error| format!("{}: {error}", path.display()))
    };
    Ok([of(certificate)?, of(key)?])
}

fn pair(certificate: &Path, key: &Path) -> Result<CertifiedKey, String> {
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| format!("{}: {error}", certificate.display()))?;
    if chain.is_empty() {
        return Err(format!("{}: holds no certificate", certificate.display()));
    }
    // The parser's reason is dropped: it may repeat a line of the key.
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|_| format!("{}: cannot be read, or holds no private key", key.display()))?;
    CertifiedKey::from_der(chain, private, &certs::crypto::provider())
        .map_err(|error| format!("{} and {}: {error}", certificate.display(), key.display()))
}

impl ResolvesClientCert for CertificateFiles {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.state.lock().0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
