//! The only place that dials: resolve once, judge every address, connect to an address that was judged (invariant 6).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use control::provider::Provider;
use control::refusal::{Code, Refusal};
use control::target::Target;
use ipnet::IpNet;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

use super::address::{self, Refused};
use super::resolve::{Overrides, ResolveError, Resolver};
use crate::limits::{self, Limits};

/// What the command line says of addresses, the same for every worker.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    /// `--resolve`.
    pub(crate) overrides: Overrides,
    /// `--allow-cidr`.
    pub(crate) allowed: Vec<IpNet>,
    /// Our own listeners; never dialled.
    pub(crate) own: Vec<SocketAddr>,
}

impl Addresses {
    /// Adds our own listeners once they are bound.
    pub(crate) fn with_own(self, own: Vec<SocketAddr>) -> Self {
        Self { own, ..self }
    }
}

/// One worker's dialler.
#[derive(Debug)]
pub(crate) struct Guard {
    addresses: Arc<Addresses>,
    resolver: Resolver,
    limits: Arc<Limits>,
}

impl Guard {
    pub(crate) fn new(addresses: Arc<Addresses>, limits: Arc<Limits>) -> Self {
        let resolver = Resolver::new(addresses.overrides.clone());
        Self { addresses, resolver, limits }
    }

    /// Connects to the target of a request that policy let through.
    pub(crate) async fn dial(&self, target: &Target, provider: &Provider) -> Result<TcpStream, Refusal> {
        let addresses = self.permitted(target, provider).await?;
        self.connect(&addresses).await
    }

    /// Connects to an address that the operator configured (the corporate proxy). It is no target of any agent.
    pub(crate) async fn dial_configured(&self, target: &Target) -> Result<TcpStream, Refusal> {
        let addresses = self.resolve(target).await?;
        self.connect(&addresses).await
    }

    /// What can be said of a target that another proxy will resolve: literals and `--resolve` are judged, metadata names
    /// are refused. The rest is that proxy's to judge (documented for `--upstream-proxy`).
    pub(crate) async fn judge_remote(
        &self,
        target: &Target,
        provider: &Provider,
    ) -> Result<Option<SocketAddr>, Refusal> {
        if target.host.ip().is_some() || self.resolver.overrides(target) {
            return Ok(self.permitted(target, provider).await?.first().copied());
        }
        refuse_metadata_name(target).map(|()| None)
    }

    async fn permitted(&self, target: &Target, provider: &Provider) -> Result<Vec<SocketAddr>, Refusal> {
        refuse_metadata_name(target)?;
        let own = self.addresses.own.as_slice();
        let listed = |ip: &IpAddr| {
            provider.upstream.lists(ip) || self.addresses.allowed.iter().any(|net| net.contains(ip))
        };
        let mut refused = None;
        let mut addresses = self.resolve(target).await?;
        addresses.retain(|address| {
            address::judge(*address, listed, own).map_err(|why| refused = Some(why)).is_ok()
        });
        match refused {
            Some(why) if addresses.is_empty() => Err(refuse_address(why)),
            _ => Ok(addresses),
        }
    }

    async fn resolve(&self, target: &Target) -> Result<Vec<SocketAddr>, Refusal> {
        let limit = limits::time(self.limits.upstream_dns);
        match timeout(limit, self.resolver.addresses(target)).await {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(error @ ResolveError::NotFound(_))) => {
                tracing::debug!(%target, error = ?error, "look-up failed");
                Err(Refusal::new(Code::Dw2006, "dns: the upstream's name was not found"))
            }
            Ok(Err(error @ ResolveError::Setup(_))) => {
                tracing::error!(error = ?error, "resolver not set up");
                Err(Refusal::new(Code::Dw2006, "dns: the proxy's resolver configuration could not be read"))
            }
            Err(_) => Err(late("dns", limit)),
        }
    }

    /// Tries the addresses one after the other within one deadline; each gets an even share of what is left.
    async fn connect(&self, addresses: &[SocketAddr]) -> Result<TcpStream, Refusal> {
        let limit = limits::time(self.limits.upstream_connect);
        let start = Instant::now();
        let mut failure = late("connect", limit);
        for (tried, address) in addresses.iter().enumerate() {
            let left = limit.saturating_sub(start.elapsed());
            let share = left / u32::try_from(addresses.len() - tried).unwrap_or(1);
            match timeout(share, connect(*address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => {
                    let ms = start.elapsed().as_millis();
                    failure = Refusal::new(Code::Dw2006, format!("connect: {} after {ms} ms", error.kind()));
                }
                Err(_) => failure = late("connect", start.elapsed()),
            }
        }
        Err(failure)
    }
}

async fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    let stream = socket.connect(address).await?;
    // Nagle and delayed ACK together cost 40 ms on the first answer of a connection.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A step that took too long: 504, with the step and how long it was waited for.
pub(crate) fn late(step: &'static str, waited: Duration) -> Refusal {
    Refusal::new(Code::Dw2006, format!("{step}: no answer within {} ms", waited.as_millis())).with_status(504)
}

fn refuse_metadata_name(target: &Target) -> Result<(), Refusal> {
    match target.host.name() {
        Some(name) if address::is_metadata_name(name) => Err(refuse_address(Refused::Metadata)),
        _ => Ok(()),
    }
}

fn refuse_address(why: Refused) -> Refusal {
    let detail = match why {
        Refused::Metadata => "the host is a cloud metadata service, which is never reachable",
        Refused::OwnListener => "the host leads back to the proxy itself",
        Refused::NotPublic => {
            "the host has no public address and no list of the operator's holds the one that it has"
        }
    };
    Refusal::new(Code::Dw2005, detail)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;

    const LOOPBACK: &str = "127.0.0.0/8";

    fn provider(allowed: &str) -> Arc<Provider> {
        let text = format!(
            "apiVersion: doorward.dev/v1alpha1\nkind: Provider\nmetadata: {{name: p}}\nspec: {{type: http-token, host: a.test, network: {{allowCIDRs: [{allowed}]}}}}\n"
        );
        Arc::clone(&control::provider::parse_text("p.yaml", &text, &[]).unwrap().providers[0])
    }

    fn guard(addresses: Addresses, overrides: &[String]) -> Guard {
        let mut all = Overrides::default();
        overrides.iter().for_each(|line| all.add(line).unwrap());
        let limits = Limits { upstream_connect: 1_000, ..Limits::default() };
        Guard::new(Arc::new(Addresses { overrides: all, ..addresses }), Arc::new(limits))
    }

    fn to(text: &str) -> Target {
        Target::parse_authority(text).unwrap()
    }

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn refuses_metadata_names_and_unlisted_and_own_addresses_before_it_dials() {
        let (_listener, address) = listener().await;
        let port = address.port();
        let own = Addresses::default().with_own(vec![address]);
        let lines =
            [format!("metadata.google.internal:{port}:127.0.0.1"), format!("a.test:{port}:127.0.0.1")];
        for (guard, host, allowed, why) in [
            (guard(Addresses::default(), &lines), "metadata.google.internal", LOOPBACK, "metadata"),
            (guard(Addresses::default(), &[]), "169.254.169.254", "0.0.0.0/0", "metadata"),
            (guard(Addresses::default(), &lines), "a.test", "", "no public address"),
            (guard(Addresses::default(), &[]), "127.0.0.1", "10.0.0.0/8", "no public address"),
            (guard(own, &lines), "a.test", LOOPBACK, "back to the proxy"),
        ] {
            let (target, provider) = (to(&format!("{host}:{port}")), provider(allowed));
            for refusal in [
                guard.dial(&target, &provider).await.map(drop).unwrap_err(),
                guard.judge_remote(&target, &provider).await.map(drop).unwrap_err(),
            ] {
                assert_eq!(refusal.code, Code::Dw2005, "{host}");
                assert!(refusal.detail.contains(why), "{host}: {}", refusal.detail);
            }
        }
    }

    #[tokio::test]
    async fn dials_the_listed_address_and_skips_those_that_are_refused_or_dead() {
        let (_listener, address) = listener().await;
        let (dead, gone) = listener().await;
        drop(dead);
        let port = address.port();
        let lines = ["10.0.0.1".to_owned(), gone.to_string(), "127.0.0.1".to_owned()];
        let mut lines = lines.map(|to| format!("a.test:{port}:{to}")).to_vec();
        lines.push(format!("dead.test:{port}:{gone}"));
        let by_provider = guard(Addresses::default(), &lines);
        let by_flag =
            guard(Addresses { allowed: vec![LOOPBACK.parse().unwrap()], ..Addresses::default() }, &lines);
        let target = to(&format!("a.test:{port}"));
        for (guard, allowed) in [(&by_provider, LOOPBACK), (&by_flag, "")] {
            let stream = guard.dial(&target, &provider(allowed)).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), address);
            assert!(stream.nodelay().unwrap());
        }
        let remote = async |authority: &str| {
            by_provider.judge_remote(&to(authority), &provider(LOOPBACK)).await.unwrap()
        };
        assert_eq!(remote(&address.to_string()).await, Some(address));
        assert_eq!(remote(&format!("a.test:{port}")).await, Some(gone));
        assert_eq!(remote("elsewhere.test:443").await, None);
        let none = by_provider.dial(&to(&format!("dead.test:{port}")), &provider(LOOPBACK)).await;
        let refusal = none.unwrap_err();
        assert_eq!((refusal.code, refusal.status), (Code::Dw2006, 502));
        assert!(refusal.detail.starts_with("connect: connection refused after "), "{}", refusal.detail);
        // The operator's own proxy is judged by no list.
        let configured = guard(Addresses::default(), &[format!("proxy.test:{port}:127.0.0.1")]);
        let stream = configured.dial_configured(&to(&format!("proxy.test:{port}"))).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
    }

    /// A listener whose queue is full: the kernel answers no further SYN.
    async fn silent() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        while let Ok(Ok(stream)) = timeout(Duration::from_millis(100), connect(address)).await {
            queued.push(stream);
        }
        (listener, queued, address)
    }

    #[tokio::test(start_paused = true)]
    async fn silent_addresses_share_one_deadline_evenly() {
        let (_first, _queued, one) = silent().await;
        let (_second, _also_queued, two) = silent().await;
        let guard = guard(Addresses::default(), &[format!("a.test:1:{one}"), format!("a.test:1:{two}")]);
        let start = Instant::now();
        let refusal = guard.dial_configured(&to("a.test:1")).await.unwrap_err();
        assert_eq!((refusal.code, refusal.status), (Code::Dw2006, 504));
        assert_eq!(refusal.detail, "connect: no answer within 1000 ms");
        assert_eq!(start.elapsed(), Duration::from_secs(1));
    }
}
