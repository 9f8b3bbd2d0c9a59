//! Looks for secrets in what an agent could read, in every form that SECURITY.md promises to scrub.
//!
//! The other way round from the scrubber: nothing is encoded here. The bytes are decoded in every way in which they could be
//! read, so that a form which the scrubber forgot is still found.
//!
//! Invariant: a value that is looked for goes nowhere; what comes out is its name and the form that it was found in.

use zeroize::Zeroizing;

use crate::secret::{Secret, SecretRef};
use crate::vault::value::opens_nothing;

/// Characters of base64 in a row that tell one key from all others: a line of PEM has 64.
const RUN_MIN: usize = 40;

/// Values to look for.
#[derive(Debug, Default)]
pub struct Sought {
    values: Vec<(SecretRef, String, Secret)>,
}

/// A value that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The secret.
    pub secret: SecretRef,
    /// The value's key.
    pub key: String,
    /// The form that it had.
    pub form: &'static str,
}

impl Sought {
    /// Takes up a value; what may stand anywhere by its key is not looked for.
    pub fn add(&mut self, secret: &SecretRef, key: String, value: Secret) {
        if !opens_nothing(&key) {
            self.values.push((secret.clone(), key, value));
        }
    }

    /// How many values are looked for.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The length in bytes of the longest form of any value.
    pub fn span(&self) -> usize {
        // The longest is `\\u00xx`, quoted once more.
        self.values.iter().map(|(_, _, value)| value.len() * 7).max().unwrap_or(0)
    }

    /// The values that are in these bytes, in any form.
    pub fn find(&self, bytes: &[u8]) -> Vec<Found> {
        let reading = Reading::of(bytes);
        let found = self.values.iter().filter_map(|(secret, key, value)| {
            // exposed: to be looked for
            let value = value.expose();
            let form = reading.holds(value).or_else(|| {
                let form = reading.holds(&part(value)?)?;
                Some(if form == PLAIN { "in part" } else { form })
            })?;
            Some(Found { secret: secret.clone(), key: key.clone(), form })
        });
        found.collect()
    }
}

/// What gives a value of many lines away wherever it stands: its last longest run of base64, as PEM has it, with whatever breaks
/// its lines.
fn part(value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut lines = Zeroizing::new(value.to_vec());
    // As JSON breaks them.
    for at in memchr::memmem::find_iter(value, br"\n") {
        lines.iter_mut().skip(at).take(2).for_each(|byte| *byte = b'\n');
    }
    let is_base64 = |byte: u8| sextet(byte).is_some() && !matches!(byte, b'-' | b'_');
    let long = runs(&lines, is_base64).filter(|run| (RUN_MIN..value.len()).contains(&run.len()));
    long.max_by_key(|run| run.len()).map(|run| Zeroizing::new(run.to_vec()))
}

const PLAIN: &str = "plainly";

/// The form in which `secret` is in `bytes`, if it is.
pub fn find(bytes: &[u8], secret: &[u8]) -> Option<&'static str> {
    Reading::of(bytes).holds(secret)
}

/// Bytes, decoded in every way in which they could be read.
struct Reading<'a> {
    bytes: &'a [u8],
    readable: [Vec<u8>; 2],
    hex: Vec<Vec<u8>>,
    base64: Vec<Vec<u8>>,
}

impl<'a> Reading<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        let readable = unescape(bytes);
        // Twice: a JSON line may quote a percent-encoded query.
        let again = unescape(&readable);
        let (mut hex, mut base64) = (Vec::new(), Vec::new());
        for text in [bytes, &readable] {
            runs(text, |byte| byte.is_ascii_hexdigit()).for_each(|run| hex.extend(from_hex(run)));
            runs(text, |byte| sextet(byte).is_some()).for_each(|run| base64.extend(alignments(run)));
        }
        Self { bytes, readable: [readable, again], hex, base64 }
    }

    fn holds(&self, secret: &[u8]) -> Option<&'static str> {
        // What an encoder of base64 mixes with its neighbours is left out.
        let inner = secret.get(2..secret.len().saturating_sub(2)).unwrap_or(secret);
        if contains(self.bytes, secret) {
            Some(PLAIN)
        } else if self.readable.iter().any(|text| contains(text, secret)) {
            Some("escaped (percent, JSON or HTML)")
        } else if self.hex.iter().any(|text| contains(text, secret)) {
            Some("in hex")
        } else if self.base64.iter().any(|text| contains(text, inner)) {
            Some("in base64")
        } else {
            None
        }
    }
}

fn contains(bytes: &[u8], secret: &[u8]) -> bool {
    memchr::memmem::find(bytes, secret).is_some()
}

/// One reading of percent codes, JSON escapes and numeric HTML entities, in any mixture.
fn unescape(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        let read = match first {
            b'%' => number(tail.get(..2), 16).map(|value| (value, 2)),
            b'\\' => json(tail),
            b'&' => html(tail),
            _ => None,
        };
        let Some((value, used)) = read else {
            out.push(*first);
            rest = tail;
            continue;
        };
        out.extend_from_slice(value.encode_utf8(&mut [0; 4]).as_bytes());
        rest = tail.get(used..).unwrap_or_default();
    }
    out
}

fn json(tail: &[u8]) -> Option<(char, usize)> {
    match tail.first()? {
        b'u' => number(tail.get(1..5), 16).map(|value| (value, 5)),
        other @ (b'"' | b'\\' | b'/') => Some((char::from(*other), 1)),
        _ => None,
    }
}

fn html(tail: &[u8]) -> Option<(char, usize)> {
    let end = tail.iter().take(12).position(|byte| *byte == b';')?;
    let value = match tail.get(..end)? {
        [b'#', b'x' | b'X', digits @ ..] => number(Some(digits), 16)?,
        [b'#', digits @ ..] => number(Some(digits), 10)?,
        b"amp" => '&',
        b"lt" => '<',
        b"gt" => '>',
        b"quot" => '"',
        b"apos" => '\'',
        _ => return None,
    };
    Some((value, end + 1))
}

fn number(digits: Option<&[u8]>, radix: u32) -> Option<char> {
    let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    char::from_u32(u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()?)
}

/// Runs of at least eight bytes of a class.
fn runs(bytes: &[u8], class: fn(u8) -> bool) -> impl Iterator<Item = &[u8]> {
    bytes.split(move |byte| !class(*byte)).filter(|run| run.len() >= 8)
}

/// A run of hexadecimal digits, read at both of its alignments.
fn from_hex(run: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let value = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
    (0..2).filter_map(|skip| run.get(skip..)).map(move |run| {
        let pairs = run.chunks_exact(2);
        pairs.filter_map(|pair| Some(value(*pair.first()?) << 4 | value(*pair.last()?))).collect()
    })
}

/// A run of base64, read at each of its alignments.
fn alignments(run: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..4).filter_map(|skip| run.get(skip..)).map(from_base64)
}

fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

fn from_base64(run: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(run.len() * 3 / 4);
    for four in run.chunks(4) {
        let bits = four.iter().fold(0_u32, |bits, byte| bits << 6 | u32::from(sextet(*byte).unwrap_or(0)));
        let [_, bytes @ ..] = (bits << (6 * (4 - four.len()))).to_be_bytes();
        out.extend(bytes.iter().take(four.len() * 6 / 8));
    }
    out
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    use super::*;

    const SECRET: &str = "demo_live_0123\"456789&abcdef";

    fn found(text: impl AsRef<[u8]>) -> Option<&'static str> {
        find(&[b"before ", text.as_ref(), b" after"].concat(), SECRET.as_bytes())
    }

    #[test]
    fn finds_nothing_in_masked_and_unrelated_text() {
        for text in [
            "",
            "Bearer ****************",
            "demo_live_",
            "ZGVtbyBub3RoaW5nIGhlcmUgYXQgYWxs",
            "64656d6f5f6c697665",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    fn sought(key: &str, value: &str) -> Sought {
        let mut sought = Sought::default();
        let secret = SecretRef { project: "default".into(), name: "s".parse().unwrap() };
        sought.add(&secret, key.to_owned(), Secret::new(value.into()));
        sought
    }

    #[test]
    fn finds_a_key_by_a_line_of_it_and_looks_for_nothing_public() {
        let line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj";
        let last = "wMSfZQ2bGzPcV4mZkN1hYd8sXq0tR3uJ5oLxE7aWvFgH2iKpTyBnCeDrSmUqOzAl";
        let key = format!("-----BEGIN PRIVATE KEY-----\n{line}\n{last}\nAAAA\n-----END PRIVATE KEY-----\n");
        let json = format!(r#"{{"private_key_id":"0123","private_key":{key:?}}}"#);
        for (value, text, form) in [
            (&key, key.clone(), PLAIN),
            (&key, key.replace('\n', "\r\n"), "in part"),
            (&key, key.replace('\n', ""), "in part"),
            (&json, key.clone(), "in part"),
            (&json, STANDARD.encode(last), "in base64"),
        ] {
            let found = sought("private_key", value).find(text.as_bytes());
            assert_eq!(found.iter().map(|found| found.form).collect::<Vec<_>>(), [form], "{text}");
        }
        assert!(sought("private_key", &key).find(line.as_bytes()).is_empty());
        assert!(sought("tls.crt", &key).is_empty() && sought("client_id", "0123456789").is_empty());
    }

    #[test]
    fn finds_every_form_that_is_scrubbed() {
        let each = |form: fn(u8) -> String| SECRET.bytes().map(form).collect::<String>();
        let forms = [
            SECRET.to_owned(),
            each(|b| format!("%{b:02X}")),
            each(|b| format!("\\u{b:04x}")),
            each(|b| format!("&#{b};")),
            each(|b| format!("&#x{b:x};")),
            SECRET.replace('"', "\\\"").replace('&', "&amp;"),
            each(|b| format!("{b:02x}")),
            each(|b| format!("{b:02X}")),
            format!("a{}", each(|b| format!("{b:02x}"))),
            STANDARD.encode(SECRET),
            STANDARD.encode(format!("u{SECRET}")),
            STANDARD.encode(format!("ur{SECRET}")),
            URL_SAFE_NO_PAD.encode(format!("user:{SECRET}")),
        ];
        for form in forms {
            assert!(found(&form).is_some(), "{form}");
        }
    }
}
