//! Where the server listens: TCP addresses and a unix socket.
//!
//! Refuses to listen off loopback without TLS, and to take a socket that another process answers on.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tokio::net::{TcpListener, UnixListener};

/// One `--listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// `127.0.0.1:3130`.
    Tcp(SocketAddr),
    /// `unix:PATH`.
    Unix(PathBuf),
}

/// Why a `--listen` was not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a listener is an address with its port (127.0.0.1:3130, [::1]:0) or unix:PATH")]
pub struct ListenError;

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        match text.strip_prefix("unix:") {
            Some("") => Err(ListenError),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_| ListenError),
        }
    }
}

/// Why a listener could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Anybody on the way could read tokens and values.
    #[error("{0} is not on loopback: TLS is required there (--tls-cert and --tls-key, or --self-signed)")]
    Plain(SocketAddr),
    /// The system said no.
    #[error("cannot listen on {0}: {1}")]
    System(String, io::Error),
    /// Another server has it.
    #[error("cannot listen on unix:{}: another process does", .0.display())]
    InUse(PathBuf),
}

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, PathBuf),
}

/// All listeners, bound.
#[derive(Debug)]
pub struct Bound {
    pub(super) sockets: Vec<Socket>,
    is_tls: bool,
    /// Whether nobody shows a token there.
    pub(super) is_open: bool,
}

impl Bound {
    /// Binds all, or says which could not be bound. Has to be called on the runtime that serves.
    ///
    /// # Errors
    /// See [`BindError`].
    pub async fn bind(listen: &[Listen], is_tls: bool) -> Result<Self, BindError> {
        let mut bound = Self { sockets: Vec::new(), is_tls, is_open: false };
        for one in listen {
            let socket = match one {
                Listen::Tcp(address) => tcp(*address, is_tls).await?,
                Listen::Unix(path) => unix(path)?,
            };
            bound.sockets.push(socket);
        }
        Ok(bound)
    }

    /// Binds the admin port, on which nothing is told that has to be kept.
    ///
    /// # Errors
    /// See [`BindError`].
    pub async fn admin(address: SocketAddr) -> Result<Self, BindError> {
        Ok(Self { sockets: vec![tcp(address, true).await?], is_tls: false, is_open: true })
    }

    /// Each as a URL, with the ports that the kernel chose.
    pub fn urls(&self) -> Vec<String> {
        let scheme = if self.is_tls { "https" } else { "http" };
        let url = |socket: &Socket| match socket {
            Socket::Tcp(_, address) => format!("{scheme}://{address}"),
            Socket::Unix(_, path) => format!("unix:{}", path.display()),
        };
        self.sockets.iter().map(url).collect()
    }

    /// The addresses that it listens on; not those that stand for all.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let address = |socket: &Socket| match socket {
            Socket::Tcp(_, address) => Some(address.ip()).filter(|ip| !ip.is_unspecified()),
            Socket::Unix(..) => None,
        };
        self.sockets.iter().filter_map(address).collect()
    }
}

async fn tcp(address: SocketAddr, is_tls: bool) -> Result<Socket, BindError> {
    if !is_tls && !address.ip().is_loopback() {
        return Err(BindError::Plain(address));
    }
    let failed = |error| BindError::System(address.to_string(), error);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Socket::Tcp(listener, address))
}

fn unix(path: &Path) -> Result<Socket, BindError> {
    let failed = |error| BindError::System(format!("unix:{}", path.display()), error);
    if let Ok(found) = fs::symlink_metadata(path)
        && found.file_type().is_socket()
    {
        // A socket that nobody answers on was left behind.
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err(BindError::InUse(path.to_owned())),
            Err(_) => fs::remove_file(path).map_err(failed)?,
        }
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    // Until here others could connect; the peer's uid is looked at all the same.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(Socket::Unix(listener, path.to_owned()))
}

impl Drop for Bound {
    fn drop(&mut self) {
        for socket in &self.sockets {
            if let Socket::Unix(_, path) = socket
                && let Err(error) = fs::remove_file(path)
            {
                tracing::debug!(%error, "socket file not removed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_words_that_are_no_listener() {
        for text in ["", "unix:", "127.0.0.1", ":3130", "localhost:3130", "uid:127.0.0.1:1"] {
            assert_eq!(text.parse::<Listen>(), Err(ListenError), "{text}");
        }
        assert_eq!("unix:/x".parse(), Ok(Listen::Unix("/x".into())));
    }

    #[tokio::test]
    async fn refuses_to_listen_without_tls_off_loopback() {
        let listen = ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"].map(|text| text.parse::<Listen>().unwrap());
        for one in listen {
            let refused = Bound::bind(&[one], false).await.unwrap_err();
            assert!(matches!(refused, BindError::Plain(_)), "{refused}");
        }
        Bound::bind(&["127.0.0.1:0".parse().unwrap()], false).await.unwrap();
    }

    #[tokio::test]
    async fn refuses_a_socket_that_another_process_has_and_takes_one_that_was_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api");
        let listen = [Listen::Unix(path.clone())];
        let first = Bound::bind(&listen, false).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(Bound::bind(&listen, false).await, Err(BindError::InUse(_))));

        drop(first);
        assert!(!path.exists());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        Bound::bind(&listen, false).await.unwrap();
    }
}
