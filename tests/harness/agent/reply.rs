//! An answer as an agent sees it, parsed with as little as is needed.

use serde_json::Value;

/// Status, headers in order, body with its framing removed.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: u16,
    pub reason: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// Interim answers before the final one.
    pub interim: Vec<u16>,
    /// The body ended as its framing says.
    pub complete: bool,
}

impl Reply {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub fn headers_named(&self, name: &str) -> Vec<&str> {
        let all = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        all.map(|(_, value)| value.as_str()).collect()
    }

    pub fn trailer(&self, name: &str) -> Option<&str> {
        find(&self.trailers, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// The `code` of a refusal's body.
    pub fn code(&self) -> Option<String> {
        serde_json::from_slice::<Value>(&self.body).ok()?["code"].as_str().map(str::to_owned)
    }

    /// The code wherever it stands: body, reason phrase, text, or gRPC's message.
    pub fn any_code(&self) -> Option<String> {
        let grpc = || self.header("grpc-message").and_then(find_code);
        self.code().or_else(|| find_code(&self.reason)).or_else(|| find_code(&self.text())).or_else(grpc)
    }

    /// Panics unless this is the refusal asked for.
    #[track_caller]
    pub fn assert_refused(&self, status: u16, code: &str) {
        let seen = (self.status, self.any_code());
        assert_eq!(seen, (status, Some(code.to_owned())), "{self:?}\n{}", self.text());
    }

    #[track_caller]
    pub fn assert_ok(&self) -> &Self {
        assert_eq!(self.status, 200, "{self:?}\n{}", self.text());
        self
    }

    /// Head and body from a connection that was read to its end.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let Some((mut reply, used)) = parse_head(bytes) else {
            return Self { body: bytes.to_vec(), ..Self::default() };
        };
        let rest = &bytes[used..];
        if reply.header("transfer-encoding").is_some() {
            let (body, trailers, end) = dechunk(rest);
            (reply.body, reply.trailers, reply.complete) = (body, trailers, end.is_some());
        } else {
            reply.body = rest.to_vec();
            reply.complete = true;
        }
        reply
    }
}

fn find<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// The first `DWnnnn` in a text.
pub fn find_code(text: &str) -> Option<String> {
    let mut places = text.match_indices("DW").map(|(at, _)| &text[at..]);
    let code = places.find(|rest| rest.len() >= 6 && rest.as_bytes()[2..6].iter().all(u8::is_ascii_digit))?;
    Some(code[..6].to_owned())
}

/// The head at the start of `bytes` and its length, if it is whole.
pub fn parse_head(bytes: &[u8]) -> Option<(Reply, usize)> {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut status_line = lines.next()?.splitn(3, ' ');
    let status = status_line.nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let reason = status_line.next().unwrap_or_default().to_owned();
    Some((Reply { status, reason, headers: lines.map(pair).collect(), ..Reply::default() }, end + 4))
}

fn pair(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    (name.to_owned(), value.trim().to_owned())
}

/// Chunked framing removed: body, trailers, and the length used if the last chunk is there.
pub fn dechunk(mut bytes: &[u8]) -> (Vec<u8>, Vec<(String, String)>, Option<usize>) {
    let whole = bytes.len();
    let mut body = Vec::new();
    loop {
        let Some(line) = memchr::memmem::find(bytes, b"\r\n") else { return (body, vec![], None) };
        let size = std::str::from_utf8(&bytes[..line]).ok().and_then(|text| text.split(';').next());
        let Some(size) = size.and_then(|text| usize::from_str_radix(text.trim(), 16).ok()) else {
            return (body, vec![], None);
        };
        bytes = &bytes[line + 2..];
        if size == 0 {
            break;
        }
        body.extend_from_slice(&bytes[..size.min(bytes.len())]);
        if bytes.len() < size + 2 {
            return (body, vec![], None);
        }
        bytes = &bytes[size + 2..];
    }
    let mut trailers = Vec::new();
    loop {
        let Some(line) = memchr::memmem::find(bytes, b"\r\n") else { return (body, trailers, None) };
        let text = String::from_utf8_lossy(&bytes[..line]).into_owned();
        bytes = &bytes[line + 2..];
        if text.is_empty() {
            return (body, trailers, Some(whole - bytes.len()));
        }
        trailers.push(pair(&text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_and_trailers_are_read_and_a_cut_is_seen() {
        let wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n";
        let reply = Reply::from_bytes(wire);
        assert_eq!((reply.text().as_str(), reply.trailer("t"), reply.complete), ("abcde", Some("1"), true));
        let cut = Reply::from_bytes(&wire[..wire.len() - 12]);
        assert_eq!((cut.text().as_str(), cut.complete), ("abcde", false));
    }

    #[test]
    fn a_code_is_found_in_a_reason_phrase() {
        assert_eq!(find_code("Forbidden DW, DW1001 no rule").as_deref(), Some("DW1001"));
        assert_eq!(find_code("DW10"), None);
    }
}
