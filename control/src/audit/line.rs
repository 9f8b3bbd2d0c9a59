//! One entry, one line: canonical JSON with every field of [`super::fields::FIELDS`], chained by SHA-256.
//!
//! `hash` is the SHA-256 of the line's bytes from its `{` up to, not including, `,"hash":`; they hold `seq` and `prev`, the
//! hash of the line before. The first line of a chain has `seq` 1 and a `prev` of zeros. Text is escaped so that a line is
//! one line in every reader and moves no cursor of a terminal: control, format and line-separating characters never
//! appear raw. Long texts are cut with a marker.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::fields::{Entry, Verdict};

/// The most bytes of a path that a line shows.
const MAX_PATH: usize = 2048;
/// The most bytes of any other text.
const MAX_TEXT: usize = 512;
/// The longest line: every text at its limit, each byte as `\u00XX`, and the fixed parts.
pub(crate) const MAX_LINE: usize = 6 * (MAX_PATH + 12 * MAX_TEXT) + 2048;
/// Before a line's hash; what comes after has a fixed length.
pub(super) const HASH_KEY: &str = ",\"hash\":\"";
/// `,"hash":"`, 64 hex digits, `"}`.
pub(super) const TAIL: usize = HASH_KEY.len() + 64 + 2;

/// What a usual line takes; a longer one grows.
const USUAL: usize = 512;
/// What its links add to a line: `,"seq":`, twenty digits, and two hashes with their keys.
const LINKS: usize = 7 + 20 + 2 * TAIL + 1;

/// A key as it stands in a line.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":").as_bytes()
    };
}

/// A SHA-256 as part of the chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 64];
        match hex::encode_to_slice(self.0, &mut text) {
            Ok(()) => f.write_str(str::from_utf8(&text).unwrap_or_default()),
            Err(_) => Err(fmt::Error),
        }
    }
}

impl Hash {
    /// Reads 64 lower-case hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let canonical = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
        (canonical && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(Self(bytes))
    }
}

/// Where a chain stands: the number and hash of its last line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// The last line's `seq`; 0 before the first.
    pub seq: u64,
    /// The last line's `hash`; zeros before the first.
    pub hash: Hash,
}

/// Links lines into the chain.
#[derive(Debug, Default)]
pub(super) struct Links {
    chain: Chain,
}

impl Links {
    pub(super) fn new(chain: Chain) -> Self {
        Self { chain }
    }

    /// Appends a line that [`Lines`] wrote (without its newline) to `out`, with its links.
    pub(super) fn append(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        // The time comes first and holds no comma.
        let (time, rest) = line.split_at(memchr::memchr(b',', line).unwrap_or(line.len()));
        self.chain.seq += 1;
        out.reserve(line.len() + LINKS);
        out.extend_from_slice(time);
        number(out, key!("seq"), self.chain.seq);
        hash(out, key!("prev"), &self.chain.hash);
        out.extend_from_slice(rest);
        self.chain.hash = Hash(Sha256::digest(out.get(start..).unwrap_or_default()).into());
        hash(out, key!("hash"), &self.chain.hash);
        out.extend_from_slice(b"}\n");
    }
}

/// The entry's line with its links behind a chain, without newline, and where the chain then stands.
pub(crate) fn linked_line(entry: &Entry, after: Chain) -> (String, Chain) {
    let mut bare = Vec::new();
    Lines::default().append(entry, &mut bare);
    bare.pop();
    let (mut links, mut line) = (Links::new(after), Vec::new());
    links.append(&bare, &mut line);
    line.pop();
    // Lines are made of texts and ASCII.
    (String::from_utf8(line).unwrap_or_default(), links.chain)
}

/// Writes lines that lack only their links (`seq`, `prev`, `hash`), which the writer's thread knows; keeps the text of the
/// current second.
#[derive(Debug, Default)]
pub(super) struct Lines {
    second: u64,
    second_text: String,
}

impl Lines {
    /// Appends the entry's line and a newline to `out`.
    pub(super) fn append(&mut self, entry: &Entry, out: &mut Vec<u8>) {
        out.reserve(USUAL);
        self.time(entry.at, out);
        fields(entry, out);
        out.push(b'\n');
    }

    fn time(&mut self, at: SystemTime, out: &mut Vec<u8>) {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second_text.is_empty() || since.as_secs() != self.second {
            self.second = since.as_secs();
            self.second_text = second(since);
        }
        out.extend_from_slice(b"{\"ts\":\"");
        out.extend_from_slice(self.second_text.as_bytes());
        // Seven digits, of which the first gives way to the point.
        let at = out.len();
        digits(out, u64::from(1_000_000 + since.subsec_micros()));
        if let Some(first) = out.get_mut(at) {
            *first = b'.';
        }
        out.extend_from_slice(b"Z\"");
    }
}

fn second(since: Duration) -> String {
    let secs = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    // Years over 9999 do not fit RFC 3339; such a clock is shown as its beginning.
    let date = OffsetDateTime::from_unix_timestamp(secs).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let mut text = String::with_capacity(19);
    let (y, mo, d, h, mi, s) =
        (date.year(), u8::from(date.month()), date.day(), date.hour(), date.minute(), date.second());
    match write!(text, "{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}") {
        Ok(()) | Err(fmt::Error) => text,
    }
}

fn fields(entry: &Entry, out: &mut Vec<u8>) {
    raw(out, key!("kind"), entry.kind.name());
    match &entry.id {
        Some(id) => {
            out.extend_from_slice(key!("conn"));
            out.push(b'"');
            conn(out, id.conn);
            out.extend_from_slice(b"\",\"req\":\"");
            conn(out, id.conn);
            out.push(b'-');
            digits(out, u64::from(id.number));
            out.push(b'"');
        }
        None => {
            null(out, key!("conn"));
            null(out, key!("req"));
        }
    }
    text(out, key!("agent"), entry.agent.as_deref(), MAX_TEXT);
    if let Some(id) = &entry.token {
        text(out, key!("token"), Some(id), MAX_TEXT);
    }
    text(out, key!("provider"), entry.provider.as_deref(), MAX_TEXT);
    text(out, key!("rule"), entry.rule.as_deref(), MAX_TEXT);
    text(out, key!("scheme"), entry.scheme, MAX_TEXT);
    text(out, key!("secret"), entry.secret.as_ref().map(|name| name.as_str()), MAX_TEXT);
    if let Some(name) = &entry.client_cert {
        text(out, key!("client_cert"), Some(name.as_str()), MAX_TEXT);
    }
    if let Some(part) = &entry.part {
        text(out, key!("part"), Some(part), MAX_TEXT);
    }
    text(out, key!("method"), entry.method.as_ref().map(http::Method::as_str), MAX_TEXT);
    match &entry.target {
        // A canonical host holds nothing that has to be escaped.
        Some(target) => {
            match target.host.name() {
                Some(name) => raw(out, key!("host"), name),
                None => raw(out, key!("host"), &target.host.to_string()),
            }
            number(out, key!("port"), u64::from(target.port));
        }
        None => {
            null(out, key!("host"));
            null(out, key!("port"));
        }
    }
    text(out, key!("path"), entry.path.as_deref(), MAX_PATH);
    text(out, key!("verdict"), entry.verdict.map(Verdict::name), MAX_TEXT);
    text(out, key!("code"), entry.code.map(|code| code.name()), MAX_TEXT);
    text(out, key!("reason"), Some(&*entry.reason).filter(|reason| !reason.is_empty()), MAX_TEXT);
    match entry.status {
        0 => null(out, key!("status")),
        status => number(out, key!("status"), u64::from(status)),
    }
    number(out, key!("bytes_in"), entry.bytes_in);
    number(out, key!("bytes_out"), entry.bytes_out);
    number(out, key!("elapsed_us"), u64::try_from(entry.elapsed.as_micros()).unwrap_or(u64::MAX));
    if let Some(used) = &entry.model {
        text(out, key!("model"), used.model.as_deref(), MAX_TEXT);
        number(out, key!("tokens_in"), used.tokens_in);
        number(out, key!("tokens_out"), used.tokens_out);
        match used.cost_micros {
            Some(cost) => number(out, key!("cost_micros"), cost),
            None => null(out, key!("cost_micros")),
        }
    }
    if let Some(asked) = &entry.mcp {
        text(out, key!("mcp_method"), Some(&*asked.methods), MAX_TEXT);
        text(out, key!("mcp_tool"), asked.tools.as_deref(), MAX_TEXT);
    }
    if let Some(id) = &entry.approval {
        text(out, key!("approval"), Some(&**id), MAX_TEXT);
    }
    match entry.revision {
        Some(revision) => number(out, key!("revision"), revision),
        None => null(out, key!("revision")),
    }
}

fn null(out: &mut Vec<u8>, key: &[u8]) {
    out.extend_from_slice(key);
    out.extend_from_slice(b"null");
}

fn number(out: &mut Vec<u8>, key: &[u8], value: u64) {
    out.extend_from_slice(key);
    digits(out, value);
}

fn digits(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// A connection's id: sixteen hex digits.
fn conn(out: &mut Vec<u8>, id: u64) {
    hex_digits::<16>(out, &id.to_be_bytes());
}

fn hash(out: &mut Vec<u8>, key: &[u8], value: &Hash) {
    out.extend_from_slice(key);
    out.push(b'"');
    hex_digits::<64>(out, &value.0);
    out.push(b'"');
}

/// `N` digits for half as many bytes.
fn hex_digits<const N: usize>(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut text = [0; N];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 15)]);
    }
    out.extend_from_slice(&text);
}

fn hex_digit(half: u8) -> u8 {
    half + if half < 10 { b'0' } else { b'a' - 10 }
}

/// A string that needs no escapes.
fn raw(out: &mut Vec<u8>, key: &[u8], value: &str) {
    out.extend_from_slice(key);
    out.push(b'"');
    out.extend_from_slice(value.as_bytes());
    out.push(b'"');
}

fn text(out: &mut Vec<u8>, key: &[u8], value: Option<&str>, max: usize) {
    let Some(value) = value else { return null(out, key) };
    out.extend_from_slice(key);
    out.push(b'"');
    let shown = value.get(..value.floor_char_boundary(max)).unwrap_or_default();
    escape(out, shown);
    if shown.len() < value.len() {
        print(out, format_args!("[+{} bytes]", value.len() - shown.len()));
    }
    out.push(b'"');
}

fn escape(out: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let mut units = [0; 2];
    for c in text.chars() {
        if matches!(c, '"' | '\\') || c.is_control() || is_format(c) {
            for unit in c.encode_utf16(&mut units) {
                print(out, format_args!("\\u{unit:04x}"));
            }
        } else {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

/// Characters that end lines or reorder text for readers: separators, zero-width and bidirectional marks, tags.
pub(crate) fn is_format(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

fn print(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    // A vector takes every write.
    match out.write_fmt(text) {
        Ok(()) | Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::fields::{CERTIFICATE_FIELD, Kind, PART_FIELD};

    #[test]
    fn a_client_certificate_beside_another_scheme_is_named_too() {
        let shown = |client_cert: Option<&str>| {
            let client_cert = client_cert.map(|name| name.parse().unwrap());
            let secret = Some("token".parse().unwrap());
            let mut line = Vec::new();
            let entry = Entry { secret, client_cert, ..Entry::new(Kind::Request, SystemTime::UNIX_EPOCH) };
            Lines::default().append(&entry, &mut line);
            String::from_utf8(line).unwrap()
        };
        assert!(shown(Some("corp")).contains("\"secret\":\"token\",\"client_cert\":\"corp\",\"method\":"));
        assert!(shown(None).contains("\"secret\":\"token\",\"method\":"));
        assert_eq!(CERTIFICATE_FIELD, "client_cert");
    }

    #[test]
    fn the_part_that_a_token_is_for_is_named_and_none_where_there_is_none() {
        let shown = |part: Option<&str>| {
            let entry =
                Entry { part: part.map(Into::into), ..Entry::new(Kind::Exchange, SystemTime::UNIX_EPOCH) };
            let mut out = Vec::new();
            Lines::default().append(&entry, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert!(!shown(None).contains(PART_FIELD));
        assert!(shown(Some("repository:a/b:pull")).contains("\"part\":\"repository:a/b:pull\",\"method\":"));
    }
}
