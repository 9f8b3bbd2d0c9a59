//! Reads `Proxy-Authorization`: Basic (the token as user or as password) and Bearer.
//!
//! Refuses everything else, long values, and base64 that is not canonical. What was read is wiped when dropped.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use zeroize::Zeroizing;

/// The longest header value that is read; a token has at most [`super::file::MAX_TOKEN`] bytes.
const MAX_VALUE: usize = 2048;

/// What a client presented: one or two texts that may be a token.
pub struct Credentials {
    user: Zeroizing<Vec<u8>>,
    password: Zeroizing<Vec<u8>>,
}

impl Credentials {
    /// The texts that may be the token, in the order of preference: the password, then the user.
    pub(super) fn candidates(&self) -> [&[u8]; 2] {
        [&self.password, &self.user]
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

/// Reads the value of a `Proxy-Authorization` header; `None` where it holds nothing that could be a token.
pub fn credentials(value: &HeaderValue) -> Option<Credentials> {
    let value = value.as_bytes();
    if value.len() > MAX_VALUE {
        return None;
    }
    let space = value.iter().position(|byte| *byte == b' ')?;
    let (scheme, rest) = value.split_at(space);
    let rest = rest.trim_ascii();
    if rest.is_empty() {
        return None;
    }
    if scheme.eq_ignore_ascii_case(b"basic") {
        basic(rest)
    } else if scheme.eq_ignore_ascii_case(b"bearer") {
        let password = Zeroizing::new(rest.to_vec());
        Some(Credentials { user: Zeroizing::default(), password })
    } else {
        None
    }
}

/// Reads a header that is a token and nothing else, as the vendors' own keys are sent.
pub fn bare_token(value: &HeaderValue) -> Option<Credentials> {
    let value = value.as_bytes().trim_ascii();
    let fits = !value.is_empty() && value.len() <= MAX_VALUE;
    fits.then(|| Credentials { user: Zeroizing::default(), password: Zeroizing::new(value.to_vec()) })
}

fn basic(coded: &[u8]) -> Option<Credentials> {
    let mut plain = Zeroizing::new(vec![0; base64::decoded_len_estimate(coded.len())]);
    let len = STANDARD.decode_slice(coded, &mut plain).ok()?;
    let plain = plain.get(..len)?;
    let colon = plain.iter().position(|byte| *byte == b':')?;
    let (user, password) = plain.split_at(colon);
    let password = password.get(1..)?;
    if user.is_empty() && password.is_empty() {
        return None;
    }
    Some(Credentials { user: Zeroizing::new(user.to_vec()), password: Zeroizing::new(password.to_vec()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &[u8]) -> Option<(String, String)> {
        let read = credentials(&HeaderValue::from_bytes(value).unwrap())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some((text(&read.user), text(&read.password)))
    }

    #[test]
    fn refuses_what_holds_no_token() {
        let long = [b"Bearer ".as_slice(), &[b'a'; MAX_VALUE]].concat();
        for value in [
            b"".as_slice(),
            b"Basic",
            b"Basic ",
            b"Bearer   ",
            b"Digest username=\"x\"",
            b"Basic !!!!",
            b"Basic OnRvaw",       // no padding
            b"Basic OnRva1==",     // trailing bits
            b"Basic On Rvaw==",    // a space inside
            b"Basic b25seXVzZXI=", // no colon
            b"Basic Og==",         // only a colon
            b"Bearer\ttoken",
            &long,
        ] {
            assert_eq!(read(value), None, "{:?}", String::from_utf8_lossy(value));
        }
    }

    #[test]
    fn reads_the_token_as_user_as_password_and_as_bearer() {
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        for (plain, read_as) in [
            ("tok:", pair("tok", "")),
            ("x:tok", pair("x", "tok")),
            (":tok", pair("", "tok")),
            ("a:b:c", pair("a", "b:c")),
        ] {
            for scheme in ["Basic", "basic", "BASIC "] {
                assert_eq!(
                    read(format!("{scheme} {}", STANDARD.encode(plain)).as_bytes()),
                    read_as,
                    "{plain}"
                );
            }
        }
        assert_eq!(read(b"bEaReR  tok "), pair("", "tok"));
    }

    #[test]
    fn debug_shows_nothing() {
        let shown = credentials(&HeaderValue::from_static("Bearer hunter2")).unwrap();
        assert_eq!(format!("{shown:?}"), "Credentials");
    }
}
