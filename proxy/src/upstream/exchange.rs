//! One request to a token endpoint: the same guard, the same verified TLS, nothing followed, everything bounded.
//!
//! Refuses plain http whatever the provider's own hosts speak, interim floods, and answers over 64 KiB. The connection is
//! used once: no token endpoint shares one with an agent's request.

use std::time::Duration;

use bytes::Bytes;
use control::agent::AgentName;
use control::provider::Provider;
use control::refusal::{Code, Refusal};
use http::header::{CONTENT_LENGTH, HOST, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Request, Response, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;
use zeroize::Zeroizing;

use super::Upstream;
use super::tls::{Offer, UpstreamTls};
use crate::schemes::shared::issuer::{Ask, Reply};

/// The longest answer.
const ANSWER_MOST: usize = 64 << 10;

/// For whom a token is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client<'a> {
    pub(crate) agent: &'a AgentName,
    pub(crate) provider: &'a Provider,
    pub(crate) tls: &'a UpstreamTls,
}

/// Sends the request and reads the answer whole. The caller has the deadline.
pub(crate) async fn exchange(upstream: &Upstream, client: Client<'_>, ask: Ask) -> Result<Reply, Refusal> {
    let asked = at_endpoint(upstream, client, ask).await;
    asked.map_err(|refusal| Refusal {
        detail: format!("token endpoint: {}", refusal.detail).into(),
        ..refusal
    })
}

async fn at_endpoint(upstream: &Upstream, client: Client<'_>, ask: Ask) -> Result<Reply, Refusal> {
    let Client { agent, provider, tls } = client;
    let stream = upstream.tunnel(&ask.target, provider).await?;
    let stream = tls.handshake(stream, &ask.target, agent, Offer::Http1, &upstream.limits).await?;
    let mut settings = http1::Builder::new();
    settings.max_headers(100).max_buf_size(ANSWER_MOST);
    let (mut sender, conn) = settings.handshake(TokioIo::new(stream)).await.map_err(|_| broken())?;
    let _conn = Aborted(tokio::spawn(async move { drop(conn.await) }).abort_handle());
    let answer = sender.send_request(request(ask)?).await.map_err(|error| failed(&error))?;
    reply(answer).await
}

/// The connection ends with its one exchange.
struct Aborted(AbortHandle);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn request(ask: Ask) -> Result<Request<Full<Bytes>>, Refusal> {
    let unfit = || Refusal::new(Code::Dw1005, "the request cannot be written");
    let host = HeaderValue::try_from(ask.target.authority(443)).map_err(|_| unfit())?;
    let mut request = Request::new(Full::new(ask.body.clone()));
    *request.method_mut() = ask.method;
    *request.uri_mut() = ask.path.parse().map_err(|_| unfit())?;
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = ask.headers;
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(ask.body.len()));
    headers.insert(USER_AGENT, HeaderValue::from_static("doorward"));
    Ok(request)
}

async fn reply(answer: Response<Incoming>) -> Result<Reply, Refusal> {
    let status = answer.status();
    let retry_after = answer.headers().get(RETRY_AFTER).and_then(seconds);
    let mut incoming = answer.into_body();
    // All of the room at once: growing would leave unwiped copies behind.
    let mut body = Zeroizing::new(Vec::with_capacity(ANSWER_MOST));
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| failed(&error))?;
        let Some(data) = frame.data_ref() else { continue };
        if body.len() + data.len() > ANSWER_MOST {
            return Err(Refusal::new(Code::Dw2010, format!("the answer is over {ANSWER_MOST} bytes")));
        }
        body.extend_from_slice(data);
    }
    Ok(Reply { status, retry_after, body })
}

/// Only the form in seconds; dates are left to the back-off.
fn seconds(value: &HeaderValue) -> Option<Duration> {
    let seconds: u32 = value.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds.into()))
}

fn failed(error: &hyper::Error) -> Refusal {
    if error.is_parse() || error.is_parse_status() || error.is_parse_too_large() {
        return Refusal::new(Code::Dw2010, "the answer is malformed");
    }
    broken()
}

fn broken() -> Refusal {
    Refusal::new(Code::Dw2006, "first byte: the connection broke before an answer")
}
