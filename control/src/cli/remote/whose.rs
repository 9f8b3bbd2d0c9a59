//! Whose the listener is that a token is about to be sent to in clear: on one machine anybody may take a port that is free.
//!
//! Refuses listeners on loopback, and sockets, of other users than us and root. TLS needs none of this.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The kernel's lists of sockets, of our network alone.
const LISTS: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];
/// `TCP_LISTEN`.
const LISTENING: &str = "0A";

/// Why a token is not sent there.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotOurs {
    /// Somebody else would read it.
    #[error(
        "it is served by user {0}, who is neither root nor us; use https (doorward server --self-signed), or run this as that user"
    )]
    Foreign(u32),
    /// Nobody is known to listen there.
    #[error("it cannot be told who listens there; use https (doorward server --self-signed)")]
    Unknown,
}

/// Refuses what another user serves.
pub(super) fn check_user(uid: u32) -> Result<(), NotOurs> {
    if uid == 0 || uid == rustix::process::geteuid().as_raw() { Ok(()) } else { Err(NotOurs::Foreign(uid)) }
}

/// Refuses a port on loopback on which others than us and root listen.
pub(super) fn check_listener(address: SocketAddr) -> Result<(), NotOurs> {
    let lists: Vec<String> = LISTS.iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect();
    let mut users = lists.iter().flat_map(|list| listeners(list, address)).peekable();
    if users.peek().is_none() {
        return Err(NotOurs::Unknown);
    }
    users.try_for_each(check_user)
}

/// The users of the sockets that listen on this address, or on all.
fn listeners(list: &str, address: SocketAddr) -> impl Iterator<Item = u32> + '_ {
    list.lines().skip(1).filter_map(move |line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
        let (ip, port) = local.split_once(':')?;
        let (ip, port) = (ip_of(ip)?, u16::from_str_radix(port, 16).ok()?);
        let is_it = state == LISTENING
            && port == address.port()
            && (ip.is_unspecified() || ip.to_canonical() == address.ip().to_canonical());
        // After queues, timers and retransmissions.
        is_it.then(|| fields.nth(3)?.parse().ok())?
    })
}

/// The kernel prints each 32 bits as this machine holds them.
fn ip_of(text: &str) -> Option<IpAddr> {
    let mut bytes = [0; 16];
    let word = |text: &[u8]| u32::from_str_radix(str::from_utf8(text).ok()?, 16).ok();
    let words = text.as_bytes().chunks(8).map(word).collect::<Option<Vec<_>>>()?;
    for (part, word) in bytes.chunks_mut(4).zip(&words) {
        part.copy_from_slice(&word.to_ne_bytes());
    }
    match words.as_slice() {
        [word] => Some(Ipv4Addr::from(word.to_ne_bytes()).into()),
        [_, _, _, _] => Some(Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

    #[test]
    fn refuses_listeners_of_other_users() {
        let ours = rustix::process::geteuid().as_raw();
        check_user(ours).unwrap();
        check_user(0).unwrap();
        assert!(matches!(check_user(ours + 1), Err(NotOurs::Foreign(_))));
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn finds_the_listeners_of_a_port_and_nobody_elses() {
        let line = |local: &str, state: &str, uid: u32| {
            format!(
                "   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  {uid}        0 1 1\n"
            )
        };
        let list = [
            HEAD.to_owned(),
            line("0100007F:0C3A", "0A", 1000),
            line("00000000:0C3A", "0A", 1001),
            line("00000000000000000000000001000000:0C3A", "0A", 1002),
            line("0000000000000000FFFF00000100007F:0C3A", "0A", 1003),
            // Another port, another address, no listener.
            line("0100007F:0C3B", "0A", 7),
            line("0200007F:0C3A", "0A", 7),
            line("0100007F:0C3A", "01", 7),
        ]
        .concat();
        let found = |address: &str| listeners(&list, address.parse().unwrap()).collect::<Vec<_>>();
        assert_eq!(found("127.0.0.1:3130"), [1000, 1001, 1003]);
        assert_eq!(found("[::1]:3130"), [1001, 1002]);
        assert_eq!(found("127.0.0.1:1"), [0; 0]);
    }

    #[test]
    fn takes_a_listener_of_ours_and_refuses_a_port_that_nobody_has() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        check_listener(address).unwrap();
        drop(listener);
        assert!(matches!(check_listener(address), Err(NotOurs::Unknown)));
    }
}
