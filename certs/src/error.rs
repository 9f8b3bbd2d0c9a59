//! Everything that can go wrong in this crate. Each variant is a cause that an operator can act on;
//! none carries key bytes, and `Display` never repeats what a key file holds.

use std::io;
use std::path::PathBuf;

/// Why a CA could not be used, a leaf not be signed, or a file of roots not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused a file operation.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried: "open", "create".
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A CA file is a symbolic link, directory, device or pipe.
    #[error("{} is not a regular file (symbolic links are refused)", path.display())]
    NotRegular {
        /// The refused file.
        path: PathBuf,
    },
    /// A file is larger than anything that it may hold.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The refused file.
        path: PathBuf,
        /// The bound, in bytes.
        limit: u64,
    },
    /// The CA's key can be read or written by other users.
    #[error("{} is open to other users (mode {mode:04o}); run: chmod 600", path.display())]
    KeyExposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The CA's certificate file can be changed by other users, who could add a root of their own.
    #[error("{} can be changed by other users (mode {mode:04o}); run: chmod 644", path.display())]
    CertificateWritable {
        /// The certificate file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A CA file belongs to another user.
    #[error("{} belongs to uid {owner}, doorward runs as uid {us}", path.display())]
    ForeignOwner {
        /// The refused file.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Our effective uid.
        us: u32,
    },
    /// Only one file of the CA's pair is there; nothing is overwritten.
    #[error("{} is there but {} is missing; put it back, or remove both for a new CA",
        present.display(), missing.display())]
    HalfPair {
        /// The file that exists.
        present: PathBuf,
        /// The file that does not.
        missing: PathBuf,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    Randomness,

    /// An entry of a PEM file is malformed.
    #[error("{}: certificate {entry} is not valid PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Which certificate of the file, from 1.
        entry: usize,
        /// The parser's reason.
        source: rustls_pki_types::pem::Error,
    },
    /// An entry of a PEM file is not an X.509 certificate.
    #[error("{}: certificate {entry} is not a valid X.509 certificate", path.display())]
    NotX509 {
        /// The file.
        path: PathBuf,
        /// Which certificate of the file, from 1.
        entry: usize,
    },
    /// A PEM file holds no certificate at all.
    #[error("{} holds no PEM certificate", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The key file holds no private key that we can read.
    #[error("{} holds no unencrypted PEM private key", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },

    /// The CA's key is of a kind that clients do not accept.
    #[error("the CA's key must be ECDSA (P-256, P-384, P-521) or RSA of at least 2048 bits")]
    KeyKind,
    /// The key does not belong to the certificate.
    #[error("the CA's key does not belong to its certificate")]
    KeyMismatch,
    /// A certificate of the CA's chain may not act as a CA.
    #[error("certificate {entry} cannot act as the CA: {reason}")]
    NotACa {
        /// Which certificate of `ca.crt`, from 1.
        entry: usize,
        /// What it lacks.
        reason: &'static str,
    },
    /// The chain in `ca.crt` does not reach a root, or is out of order.
    #[error("certificate {entry} is not followed by its issuer; append the chain up to the root")]
    ChainBroken {
        /// Which certificate of `ca.crt`, from 1.
        entry: usize,
    },
    /// The CA's validity has not begun.
    #[error("the CA is not valid yet; check the clock")]
    NotYetValid,
    /// The CA's validity has ended.
    #[error("the CA has expired; remove its files for a new one, or renew it")]
    Expired,
    /// A leaf of this CA is not accepted by a verifier that trusts its root.
    #[error("a certificate signed by this CA does not verify against its root")]
    Unusable {
        /// The verifier's reason.
        source: rustls::Error,
    },

    /// A host name is not in canonical form (lower case, no trailing dot).
    #[error("the host name is not canonical")]
    HostNotCanonical,
    /// The CA's name constraints, or its chain, do not allow this host.
    #[error("the CA may not sign for this host")]
    HostNotAllowed {
        /// The verifier's reason.
        source: rustls::Error,
    },
    /// The time given lies outside what a certificate can say.
    #[error("the time is outside the range of certificates; check the clock")]
    Clock,
    /// The certificate could not be built or signed.
    #[error("cannot build the certificate")]
    Sign(#[from] rcgen::Error),
    /// The TLS library refused a key or a configuration.
    #[error("cannot build the TLS configuration")]
    Tls(#[from] rustls::Error),
}
