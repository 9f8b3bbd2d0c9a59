//! What comes back from the vendor's page: a code, or why there is none.
//!
//! Refuses what is not of this login (`state`, compared in constant time), parameters that stand there twice, and codes
//! that are none. The vendor's words are not repeated, its known error codes are.

use control::secret::Secret;
use percent_encoding::percent_decode;
use zeroize::Zeroizing;

use crate::schemes::shared::issuer::known_error;

/// The longest code.
const CODE_MOST: usize = 4096;

/// Why there is no code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoCode {
    /// Another login's, or nobody's.
    #[error("what came back is not of this login: its `state` is another one")]
    State,
    /// Two readers could take different ones.
    #[error("what came back has a parameter twice")]
    Twice,
    /// Nothing to show to the token endpoint.
    #[error("what came back holds no code")]
    None,
    /// The vendor or the person said no.
    #[error("the vendor says {0}")]
    Denied(&'static str),
    /// The pasted text is not what was asked for.
    #[error(
        "paste all of it: the address that the browser ended at, or the code with the `#` and what follows it"
    )]
    Form,
}

/// Reads the query of a redirect.
pub(super) fn redirected(query: &[u8], state: &Secret) -> Result<Secret, NoCode> {
    let of = |name: &str| {
        let mut found = query.split(|&b| b == b'&').filter_map(|pair| {
            let at = pair.iter().position(|&b| b == b'=').unwrap_or(pair.len());
            let (own, value) = pair.split_at_checked(at)?;
            (*decoded(own) == *name.as_bytes()).then(|| decoded(value.get(1..).unwrap_or_default()))
        });
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(NoCode::Twice),
            (value, None) => Ok(value),
        }
    };
    let (said, code, error) = (of("state")?, of("code")?, of("error")?);
    // First of all: whoever does not know it learns nothing.
    if !said.is_some_and(|said| state.matches(&said)) {
        return Err(NoCode::State);
    }
    if let Some(error) = error {
        let error = Secret::new(error.to_vec());
        return Err(NoCode::Denied(known_error(&error).unwrap_or("no, and not why")));
    }
    code_of(&code.ok_or(NoCode::None)?)
}

/// Reads what a person pasted: the address after the redirect, or `CODE#STATE`.
pub(super) fn pasted(text: &[u8], redirect: &str, state: &Secret) -> Result<Secret, NoCode> {
    let text = text.trim_ascii();
    if let Some(rest) = text.strip_prefix(redirect.as_bytes()) {
        let query = rest.strip_prefix(b"?").ok_or(NoCode::Form)?;
        return redirected(query.split(|&b| b == b'#').next().unwrap_or_default(), state);
    }
    let mut parts = text.split(|&b| b == b'#');
    let (Some(code), Some(said), None) = (parts.next(), parts.next(), parts.next()) else {
        return Err(NoCode::Form);
    };
    if !state.matches(said) {
        return Err(NoCode::State);
    }
    code_of(code)
}

fn code_of(code: &[u8]) -> Result<Secret, NoCode> {
    let is_code = (1..=CODE_MOST).contains(&code.len()) && code.iter().all(u8::is_ascii_graphic);
    if is_code { Ok(Secret::new(code.to_vec())) } else { Err(NoCode::None) }
}

fn decoded(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let text: Zeroizing<Vec<u8>> =
        Zeroizing::new(text.iter().map(|&b| if b == b'+' { b' ' } else { b }).collect());
    let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
    out.extend(percent_decode(&text));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const REDIRECT: &str = "http://localhost:1455/auth/callback";

    fn state() -> Secret {
        Secret::new(b"the-state-of-this-login".to_vec())
    }

    #[test]
    fn refuses_what_is_not_of_this_login() {
        for query in [
            "",
            "code=c0de",
            "code=c0de&state=",
            "code=c0de&state=the-state-of-this-logix",
            "code=c0de&state=the-state-of-this-login2",
            "code=c0de&State=the-state-of-this-login",
            "error=access_denied",
            "error=access_denied&state=another",
        ] {
            assert_eq!(redirected(query.as_bytes(), &state()).unwrap_err(), NoCode::State, "{query}");
        }
    }

    #[test]
    fn refuses_parameters_that_two_readers_could_take_differently() {
        for query in [
            "code=a&code=b&state=the-state-of-this-login",
            "code=a&state=the-state-of-this-login&state=x",
            "co%64e=a&code=b&state=the-state-of-this-login",
            "code=a&state=the-state-of-this-login&error=x&error=y",
        ] {
            assert_eq!(redirected(query.as_bytes(), &state()).unwrap_err(), NoCode::Twice, "{query}");
        }
    }

    #[test]
    fn a_no_is_told_in_known_words_alone() {
        for (query, why) in [
            ("error=access_denied&error_description=evil", "access_denied"),
            ("error=%1b%5b2J", "no, and not why"),
            ("error=access_denied&code=c0de", "access_denied"),
        ] {
            let query = format!("state=the-state-of-this-login&{query}");
            assert_eq!(redirected(query.as_bytes(), &state()).unwrap_err(), NoCode::Denied(why), "{query}");
        }
        for query in ["", "code=", "code", "code=a%0ab", "code=a+b", "code=a%00"] {
            let query = format!("state=the-state-of-this-login&{query}");
            assert_eq!(redirected(query.as_bytes(), &state()).unwrap_err(), NoCode::None, "{query:?}");
        }
        let long = format!("state=the-state-of-this-login&code={}", "c".repeat(CODE_MOST + 1));
        assert_eq!(redirected(long.as_bytes(), &state()).unwrap_err(), NoCode::None);
    }

    #[test]
    fn refuses_a_pasted_text_without_its_state() {
        for (text, why) in [
            ("c0de", NoCode::Form),
            ("", NoCode::Form),
            ("c0de#", NoCode::State),
            ("c0de#another", NoCode::State),
            ("c0de#the-state-of-this-login#x", NoCode::Form),
            ("#the-state-of-this-login", NoCode::None),
            ("http://localhost:1455/auth/callback", NoCode::Form),
            ("http://localhost:1455/auth/callback/x?code=c0de&state=the-state-of-this-login", NoCode::Form),
            ("http://localhost:1455/auth/callback?code=c0de&state=x", NoCode::State),
            ("http://evil.example/auth/callback?code=c0de&state=the-state-of-this-login", NoCode::Form),
        ] {
            assert_eq!(pasted(text.as_bytes(), REDIRECT, &state()).unwrap_err(), why, "{text}");
        }
    }

    #[test]
    fn reads_the_code_of_this_login() {
        let code = redirected(b"scope=a+b&code=ac_1%2F2&state=the-state-of-this-login", &state()).unwrap();
        assert!(code.matches(b"ac_1/2"));
        for text in [
            " c0de#the-state-of-this-login\r\n",
            "http://localhost:1455/auth/callback?state=the-state-of-this-login&code=c0de",
            "http://localhost:1455/auth/callback?code=c0de&state=the-state-of-this-login#_=_",
        ] {
            assert!(pasted(text.as_bytes(), REDIRECT, &state()).unwrap().matches(b"c0de"), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            drop(redirected(&bytes, &state()));
            drop(pasted(&bytes, REDIRECT, &state()));
        }
    }
}
