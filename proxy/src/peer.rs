//! Whose process is at the other end of a loopback connection: its uid, from the kernel's table of TCP sockets.
//!
//! For clients that can send no token (Java) and speak no unix sockets. Only a clear answer counts: no table, no row, a socket
//! that no process holds any more, a uid that our user namespace does not map are all `None`, and `None` is refused.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpStream;

/// One table for each family. An IPv6 socket that talks IPv4, as Java's do, is in the second.
const TABLES: [&str; 2] = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
/// The most that is read of a table: some 200 000 sockets. The peer of a larger one is not found.
const MOST: u64 = 32 << 20;
/// The kernel may pass over a row when others go while it lists them.
const LOOKS: usize = 2;
/// ESTABLISHED, as the table writes it. In other states the kernel may show uid 0 for a socket that was anybody's.
const ESTABLISHED: &str = "01";
/// What the kernel shows for every uid that our user namespace does not map.
const UNMAPPED: u32 = 65_534;

/// The uid of the process that holds the other end.
pub(crate) async fn uid(stream: &TcpStream) -> Option<u32> {
    let (ours, theirs) = (stream.local_addr().ok()?, stream.peer_addr().ok()?);
    // The table may be long, and it is read from the kernel with its locks taken: not on the worker's own thread.
    let found = tokio::task::spawn_blocking(move || look_up(ours, theirs)).await.ok()??;
    // Connected from first to last, so the row was that of this connection. A peer that resets it behind its request
    // could otherwise be taken for the next process that gets the same port.
    (stream.peer_addr().ok()? == theirs).then_some(found)
}

fn look_up(ours: SocketAddr, theirs: SocketAddr) -> Option<u32> {
    let mut tables = TABLES.iter().cycle().take(TABLES.len() * LOOKS);
    tables.find_map(|table| holder(BufReader::new(File::open(table).ok()?.take(MOST)), ours, theirs))
}

/// Who holds the socket from `theirs` to `ours`.
fn holder(table: impl BufRead, ours: SocketAddr, theirs: SocketAddr) -> Option<u32> {
    let mut rows = table.lines().map_while(Result::ok);
    let uid = rows.find_map(|line| {
        let mut fields = line.split_whitespace();
        let (local, remote) = (address(fields.nth(1)?)?, address(fields.next()?)?);
        (local == canonical(theirs) && remote == canonical(ours)).then_some(())?;
        let (state, uid, inode) = (fields.next()?, fields.nth(3)?, fields.nth(1)?);
        (state == ESTABLISHED && inode != "0").then(|| uid.parse().ok()).flatten()
    });
    uid.filter(|uid| *uid != UNMAPPED)
}

/// `0100007F:1F90`: words in this machine's byte order, the port as a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let word = |at: usize| {
        let digits = address.get(at..at + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    let ip = match address.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(words.concat()).ok()?))
        }
        _ => return None,
    };
    Some(canonical(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?)))
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

    /// As this machine's kernel writes it.
    fn word(bytes: [u8; 4]) -> String {
        format!("{:08X}", u32::from_ne_bytes(bytes))
    }

    /// An address of IPv6 with this end.
    fn long(third: [u8; 4], last: [u8; 4]) -> String {
        [word([0; 4]), word([0; 4]), word(third), word(last)].concat()
    }

    fn row(state: &str, uid: u32, inode: u32) -> String {
        let host = word([127, 0, 0, 1]);
        format!(
            "{HEAD}   0: {host}:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     7        0 11 1 0 100 0 0 10 0\n   \
             1: {host}:9C40 {host}:1F90 {state} 00000000:00000000 00:00000000 00000000 {uid:5}        0 {inode} 1 0 20 4 0 10 -1\n"
        )
    }

    fn found(table: &str) -> Option<u32> {
        holder(table.as_bytes(), "127.0.0.1:8080".parse().unwrap(), "127.0.0.1:40000".parse().unwrap())
    }

    #[test]
    fn refuses_rows_that_prove_nothing() {
        for (table, why) in [
            (row("06", 0, 0), "a socket in TIME_WAIT is anybody's"),
            (row("01", 0, 0), "nobody holds it any more"),
            (row("04", 1000, 5), "it is closing"),
            (row("01", UNMAPPED, 5), "a uid of another namespace"),
            (row("01", 1000, 5).replace("9C40", "9C41"), "another connection"),
            (
                row("01", 1000, 5)
                    .replace(":9C40", ":0")
                    .replace(":1F90 01", ":9C40 01")
                    .replace(":0 ", ":1F90 "),
                "our own end",
            ),
            (HEAD.to_owned(), "no row"),
            ("garbage\n".to_owned(), "no table"),
            (row("01", 1000, 5).replace(" 1000 ", " -100 "), "no uid"),
        ] {
            assert_eq!(found(&table), None, "{why}");
        }
    }

    #[test]
    fn finds_the_holder_whichever_family_its_socket_is_of() {
        assert_eq!(found(&row("01", 1000, 5)), Some(1000));
        let (short, mapped) = (word([127, 0, 0, 1]), long([0, 0, 0xff, 0xff], [127, 0, 0, 1]));
        assert_eq!(found(&row("01", 1000, 5).replace(&short, &mapped)), Some(1000));
        let six = long([0; 4], [0, 0, 0, 1]);
        assert_eq!(address(&format!("{six}:01BB")), Some("[::1]:443".parse().unwrap()));
    }

    #[tokio::test]
    async fn knows_a_real_peer_and_forgets_one_that_has_gone() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let listener = tokio::net::TcpListener::bind(any).await.unwrap();
            let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            assert_eq!(uid(&stream).await, Some(rustix::process::geteuid().as_raw()));
            drop(client);
            assert_eq!(uid(&stream).await, None);
        }
    }
}
