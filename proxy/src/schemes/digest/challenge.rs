//! What an upstream asks for in `WWW-Authenticate` (RFC 9110 section 11.6.1, RFC 7616 section 3.3).
//!
//! Several challenges may stand in one field, with the same comma that separates parameters. Refuses, by not seeing it, a
//! challenge with a parameter twice, an escape or a character that could not be written back, or of unlikely length.

use http::header::{HeaderMap, WWW_AUTHENTICATE};

/// The longest value of a parameter that is taken.
const LONGEST: usize = 2048;
/// So many challenges are looked at.
const MOST: usize = 16;

/// The hash of a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Algorithm {
    Md5,
    Sha256,
}

/// A Digest challenge that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    pub(super) realm: String,
    pub(super) nonce: String,
    pub(super) opaque: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) userhash: bool,
}

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// No Digest.
    Nothing,
    /// Digest, in no way that is known here.
    Unknown,
    /// The best of its challenges.
    Digest(Challenge),
}

/// Reads the challenges of an answer.
pub(super) fn asked(headers: &HeaderMap) -> Asked {
    let mut asked = Asked::Nothing;
    let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    for (scheme, parameters) in texts.flat_map(challenges).take(MOST) {
        if !scheme.eq_ignore_ascii_case("digest") {
            continue;
        }
        let best = match &asked {
            Asked::Digest(best) => Some(best.algorithm),
            Asked::Nothing | Asked::Unknown => None,
        };
        match parameters.as_deref().and_then(challenge) {
            Some(challenge) if Some(challenge.algorithm) > best => asked = Asked::Digest(challenge),
            Some(_) => {}
            None if best.is_none() => asked = Asked::Unknown,
            None => {}
        }
    }
    asked
}

type Parameters<'a> = Vec<(&'a str, &'a str)>;

/// The challenges of one field, each with its parameters; `None`: they cannot be read.
fn challenges(text: &str) -> Vec<(&str, Option<Parameters<'_>>)> {
    let mut found: Vec<(&str, Option<Parameters<'_>>)> = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (word, after) = token(rest);
        if word.is_empty() {
            // What is left is nothing, or no token: of the latter nothing can be told.
            if let (false, Some((_, parameters))) = (rest.is_empty(), found.last_mut()) {
                *parameters = None;
            }
            return found;
        }
        let next = after.trim_start_matches([' ', '\t']);
        match next.strip_prefix('=').filter(|value| !value.starts_with('=')) {
            Some(value) => {
                let Some((value, after)) = value_of(value.trim_start_matches([' ', '\t'])) else {
                    if let Some((_, parameters)) = found.last_mut() {
                        *parameters = None;
                    }
                    return found;
                };
                if let Some((_, Some(parameters))) = found.last_mut() {
                    parameters.push((word, value));
                }
                rest = after;
            }
            None => {
                found.push((word, Some(Vec::new())));
                rest = after;
            }
        }
    }
}

fn token(text: &str) -> (&str, &str) {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/".contains(&b);
    let end = text.bytes().position(|b| !is_token(b)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// A token or a quoted string without escapes, and what follows it.
fn value_of(text: &str) -> Option<(&str, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        return Some(token(text)).filter(|(value, _)| !value.is_empty());
    };
    let (value, after) = quoted.split_once('"')?;
    (!value.contains('\\')).then_some((value, after))
}

fn challenge(parameters: &[(&str, &str)]) -> Option<Challenge> {
    let get = |name: &str| parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    let value = |name: &str| get(name).map(|(_, value)| *value);
    let mut names = parameters.iter().map(|(name, _)| name.to_ascii_lowercase()).collect::<Vec<_>>();
    names.sort_unstable();
    names.dedup();
    let is_visible = |text: &str| text.len() <= LONGEST && text.bytes().all(|b| matches!(b, 0x20..=0x7e));
    if names.len() != parameters.len() || !parameters.iter().all(|(_, value)| is_visible(value)) {
        return None;
    }
    let algorithm = match value("algorithm") {
        None => Algorithm::Md5,
        Some(name) if name.eq_ignore_ascii_case("MD5") => Algorithm::Md5,
        Some(name) if name.eq_ignore_ascii_case("SHA-256") => Algorithm::Sha256,
        Some(_) => return None,
    };
    value("qop")?.split(',').find(|qop| qop.trim().eq_ignore_ascii_case("auth"))?;
    Some(Challenge {
        realm: value("realm")?.to_owned(),
        nonce: value("nonce").filter(|nonce| !nonce.is_empty())?.to_owned(),
        opaque: value("opaque").map(str::to_owned),
        algorithm,
        userhash: value("userhash").is_some_and(|text| text.eq_ignore_ascii_case("true")),
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(fields: &[&'static str]) -> Asked {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(field));
        }
        asked(&headers)
    }

    fn sha256(realm: &str, nonce: &str) -> Challenge {
        Challenge {
            realm: realm.to_owned(),
            nonce: nonce.to_owned(),
            opaque: None,
            algorithm: Algorithm::Sha256,
            userhash: false,
        }
    }

    #[test]
    fn what_cannot_be_answered_is_told_from_what_is_no_digest() {
        for nothing in ["", "Basic realm=\"x\"", "Bearer", "Negotiate abc==", "realm=\"Digest\""] {
            assert_eq!(of(&[nothing]), Asked::Nothing, "{nothing}");
        }
        for unknown in [
            "Digest",
            "Digest realm=\"r\", nonce=\"n\"",
            "Digest realm=\"r\", nonce=\"n\", qop=\"auth-int\"",
            "Digest realm=\"r\", nonce=\"n\", qop=auth, algorithm=SHA-256-sess",
            "Digest realm=\"r\", nonce=\"n\", qop=auth, algorithm=SHA-512-256",
            "Digest realm=\"r\", nonce=\"n\", nonce=\"m\", qop=auth",
            "Digest realm=\"r\", nonce=\"n\", NONCE=\"m\", qop=auth",
            "Digest realm=\"a\\\"b\", nonce=\"n\", qop=auth",
            "Digest realm=\"r\", nonce=\"n, qop=auth",
            "Digest realm=\"r\", nonce=\"\", qop=auth",
            "Digest realm=\"r\", nonce=\"n\", qop=auth, x=",
            "Digest realm=\"r\", nonce=\"n\", qop=auth, (",
        ] {
            assert_eq!(of(&[unknown]), Asked::Unknown, "{unknown}");
        }
    }

    #[test]
    fn the_strongest_challenge_is_taken_wherever_it_stands() {
        let wanted = Asked::Digest(sha256("r", "n"));
        assert_eq!(
            of(&["Digest realm=\"r\", nonce=\"n\", qop=\"auth,auth-int\", algorithm=SHA-256"]),
            wanted
        );
        let weak = "Digest realm=\"r\", nonce=\"w\", qop=\"auth\", algorithm=MD5";
        let strong = "digest  realm = \"r\" ,algorithm=\"sha-256\", qop=auth,nonce=\"n\",stale=false, Basic realm=\"b, c\"";
        assert_eq!(of(&[weak, strong]), wanted);
        assert_eq!(of(&[strong, weak]), wanted);
        let joined = "Basic realm=\"x\", Digest realm=\"w\", nonce=\"w\", qop=auth, Digest realm=\"r\", nonce=\"n\", qop=auth, algorithm=SHA-256, Negotiate";
        assert_eq!(of(&[joined]), wanted);
        let Asked::Digest(challenge) = of(&[weak]) else { panic!() };
        assert_eq!((challenge.algorithm, challenge.nonce.as_str()), (Algorithm::Md5, "w"));
    }

    proptest::proptest! {
        #[test]
        fn what_is_read_can_be_written_back_in_quotes(text in "(realm=|nonce=|qop=auth|opaque=|\"|,| |\\\\|=|[ -~]){0,40}") {
            let mut headers = HeaderMap::new();
            let whole = "realm=\"r\", nonce=\"n\", qop=auth";
            for text in [format!("Digest {text}"), format!("Digest {whole}, {text}"), format!("Digest {text}, {whole}")] {
                headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(&text).unwrap());
            }
            if let Asked::Digest(Challenge { realm, nonce, opaque, .. }) = asked(&headers) {
                for text in [realm, nonce, opaque.unwrap_or_default()] {
                    proptest::prop_assert!(!text.contains(['"', '\\']) && text.bytes().all(|b| (0x20..0x7f).contains(&b)));
                }
            }
        }
    }
}
