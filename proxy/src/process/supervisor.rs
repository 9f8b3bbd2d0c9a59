//! What whoever supervises the process is told: systemd, or something that speaks as it does (sd_notify(3)).
//!
//! By our own few lines: the library for it (sd-notify 0.5) reaches sockets that are files alone, and not those without one
//! (`@NAME`), which systemd's own containers and other supervisors have.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use control::cli::Env;

/// How long one who does not listen is waited for: nobody keeps us from serving.
const LATE: Duration = Duration::from_secs(2);

/// Who is told, if anybody asked for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Supervisor(Option<String>);

impl Supervisor {
    /// Whom the environment names.
    pub(crate) fn of(env: &Env) -> Self {
        Self(env.var("NOTIFY_SOCKET").map(str::to_owned))
    }

    /// Everything serves: what is started after us may come.
    pub(crate) fn ready(&self) {
        self.tell("READY=1");
    }

    /// Nothing new is taken any more, and what is in flight ends.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, state: &str) {
        let Some(name) = &self.0 else { return };
        if let Err(error) = send(name, state) {
            tracing::warn!(%error, "the supervisor (NOTIFY_SOCKET) was not told");
        }
    }
}

fn send(name: &str, state: &str) -> io::Result<()> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(LATE))?;
    // One datagram: it goes whole or not at all.
    socket.send_to_addr(state.as_bytes(), &address).map(drop)
}
