//! Stage 1: the first head of a connection, read by us.
//!
//! hyper never sees CONNECT on the listener: what follows an accepted CONNECT belongs to TLS, and a refused one closes.
//! An absolute-form request is read only far enough to know who sends it, then handed to hyper with its bytes unread.

use bytes::{Bytes, BytesMut};
use control::refusal::{Code, Refusal};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

use crate::limits::{self, Limits};

/// The first head of a connection.
#[derive(Debug)]
pub(crate) struct Head {
    /// The method as sent.
    pub(crate) method: String,
    /// The request target as sent.
    pub(crate) target: String,
    /// The fields that identify the agent and frame the request.
    pub(crate) headers: HeaderMap,
    /// The bytes of the head itself.
    pub(crate) raw: Bytes,
    /// The bytes that came behind it.
    pub(crate) rest: Bytes,
}

/// Why there is no head.
#[derive(Debug)]
pub(crate) enum NoHead {
    /// The client closed, or the connection broke, before one was complete.
    Closed,
    /// It took too long.
    Late,
    /// It is not one.
    Refused(Refusal),
}

/// Reads one head; `buffer` holds what was read ahead and afterwards is empty.
pub(crate) async fn head<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut BytesMut,
    limits: &Limits,
) -> Result<Head, NoHead> {
    let deadline = Instant::now() + limits::time(limits.connect_head);
    // What is no HTTP is refused at the first read. After that nothing is parsed before a head can be complete: a client
    // that sends byte by byte would otherwise make us parse all of it each time.
    let mut looked = 0;
    loop {
        let may_be_whole =
            looked == 0 || ends_within(buffer, looked) || buffer.len() >= limits::count(limits.header_bytes);
        if may_be_whole && let Some(head) = parse(buffer, limits).map_err(NoHead::Refused)? {
            return Ok(head);
        }
        looked = buffer.len();
        match timeout_at(deadline, stream.read_buf(buffer)).await {
            Err(_) => return Err(NoHead::Late),
            Ok(Err(_) | Ok(0)) => return Err(NoHead::Closed),
            Ok(Ok(_)) => {}
        }
    }
}

/// Whether an empty line, the end of a head, lies in what came since `looked` bytes were there.
fn ends_within(buffer: &[u8], looked: usize) -> bool {
    let new = buffer.get(looked.saturating_sub(3)..).unwrap_or_default();
    memchr::memmem::find(new, b"\n\r\n").is_some() || memchr::memmem::find(new, b"\n\n").is_some()
}

fn parse(buffer: &mut BytesMut, limits: &Limits) -> Result<Option<Head>, Refusal> {
    let mut fields = vec![httparse::EMPTY_HEADER; limits::count(limits.header_fields)];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(buffer) {
        Ok(httparse::Status::Complete(length)) if length <= limits::count(limits.header_bytes) => length,
        Ok(httparse::Status::Partial) if buffer.len() < limits::count(limits.header_bytes) => {
            return Ok(None);
        }
        Ok(_) => return Err(malformed("the head is too long").with_status(431)),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(malformed("the head has too many fields").with_status(431));
        }
        Err(_) => return Err(malformed("the head is not HTTP/1.1")),
    };
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(malformed("the head is not HTTP/1.1"));
    };
    if target.len() > limits::count(limits.url_bytes) {
        return Err(malformed("the request target is too long").with_status(431));
    }
    let (method, target) = (method.to_owned(), target.to_owned());
    let headers = headers(request.headers)?;
    refuse_ambiguous(&headers, version)?;
    let raw = buffer.split_to(length).freeze();
    Ok(Some(Head { method, target, headers, raw, rest: buffer.split().freeze() }))
}

fn headers(fields: &[httparse::Header<'_>]) -> Result<HeaderMap, Refusal> {
    let mut headers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes())
            .map_err(|_| malformed("a field name is malformed"))?;
        let value =
            HeaderValue::from_bytes(field.value).map_err(|_| malformed("a field value is malformed"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// What another proxy in the path might read otherwise (RFC 9112 sections 3.2 and 6.3).
fn refuse_ambiguous(headers: &HeaderMap, version: u8) -> Result<(), Refusal> {
    let count = |name: HeaderName| headers.get_all(name).iter().count();
    let lengths = count(http::header::CONTENT_LENGTH);
    let codings = count(http::header::TRANSFER_ENCODING);
    match () {
        () if count(http::header::HOST) > 1 => Err(malformed("there are several Host fields")),
        () if count(http::header::PROXY_AUTHORIZATION) > 1 => {
            Err(malformed("there are several Proxy-Authorization fields"))
        }
        () if lengths > 1 || codings > 1 || (lengths > 0 && codings > 0) => {
            Err(malformed("the body's length is ambiguous"))
        }
        () if version == 0 && codings > 0 => Err(malformed("HTTP/1.0 has no Transfer-Encoding")),
        () => Ok(()),
    }
}

fn malformed(detail: &'static str) -> Refusal {
    Refusal::new(Code::Dw2008, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<Option<Head>, Refusal> {
        parse(&mut BytesMut::from(text), &Limits::default())
    }

    #[test]
    fn refuses_heads_that_two_parsers_could_read_differently() {
        for (text, status) in [
            (&b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"[..], 400),
            (b"POST http://a/ HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            (b"POST http://a/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
            (b"POST http://a/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            (b"CONNECT a:443 HTTP/1.1\r\nA: b\r\n c\r\n\r\n", 400),
            (b"CONNECT a:443 HTTP/1.1\r\nA : b\r\n\r\n", 400),
            (b"CONNECT a:443 HTTP/1.1\r\nA: b\0c\r\n\r\n", 400),
            (b"CONNECT a:443 HTTP/2.0\r\n\r\n", 400),
            (b"\x16\x03\x01\x02\x00", 400),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        ] {
            let refusal = read(text).unwrap_err();
            assert_eq!(
                (refusal.code, refusal.status),
                (Code::Dw2008, status),
                "{:?}",
                String::from_utf8_lossy(text)
            );
        }
        let fields = "a: b\r\n".repeat(101);
        assert_eq!(
            read(format!("GET http://a/ HTTP/1.1\r\n{fields}\r\n").as_bytes()).unwrap_err().status,
            431
        );
        let long = "a".repeat(70_000);
        assert_eq!(read(format!("GET http://a/{long}").as_bytes()).unwrap_err().status, 431);
        assert_eq!(
            read(format!("GET http://a/{} HTTP/1.1\r\n\r\n", "a".repeat(17_000)).as_bytes())
                .unwrap_err()
                .status,
            431
        );
    }

    #[test]
    fn keeps_what_follows_the_head() {
        let head = read(b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n\x16\x03").unwrap().unwrap();
        assert_eq!((head.method.as_str(), head.target.as_str()), ("CONNECT", "a:443"));
        assert_eq!(head.rest, &b"\x16\x03"[..]);
        assert!(read(b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n").unwrap().is_none());
    }
}
