//! What of a credential answers are searched for, and how much of it anyone knows.
//!
//! The public part of a value is no guess that could be confirmed: whoever writes it into a page must not be able to end
//! the use of the credential (DW2009) by it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use memchr::{memchr, memrchr};

use crate::schemes::Echo;

/// The shortest signature that is taken for one: that of HMAC with SHA-256 has 43 characters.
const SIGNATURE: usize = 43;

/// Adds an echo; one for each value, with what its beginning gives away.
pub(super) fn merge(echoes: &mut Vec<Echo>, mut echo: Echo, public_prefixes: &[&str]) {
    if let Some(same) = echoes.iter_mut().find(|other| *other.value == *echo.value) {
        let new =
            echo.basic_users.into_iter().filter(|user| !same.basic_users.contains(user)).collect::<Vec<_>>();
        same.basic_users.extend(new);
        return;
    }
    // A type without prefixes of its own may carry any vendor's value.
    let all = control::types::ALL.iter().flat_map(|kind| kind.auth).flat_map(|auth| auth.public_prefixes);
    let known = public_prefixes.iter().chain(all.filter(|_| public_prefixes.is_empty()));
    let lengths = known.filter(|prefix| echo.value.starts_with(prefix.as_bytes())).map(|prefix| prefix.len());
    echo.public_prefix = lengths.max().unwrap_or(0).max(before_signature(&echo.value));
    echoes.push(echo);
}

/// How much of a signed JWT (RFC 7515 section 7.1) stands before its signature. Header and claims are guessed easily
/// (`{"aud":"https://…`), open nothing, and are no secret to who may use the token; the signature is what opens.
fn before_signature(value: &[u8]) -> usize {
    let Some((first, last)) = memchr(b'.', value).zip(memrchr(b'.', value)) else { return 0 };
    let (Some(header), Some(claims), Some(signature)) =
        (value.get(..first), value.get(first + 1..last), value.get(last + 1..))
    else {
        return 0;
    };
    let is_coded = |part: &[u8]| part.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let begins_object = header
        .get(..4)
        .and_then(|begin| URL_SAFE_NO_PAD.decode(begin).ok())
        .is_some_and(|begin| begin.starts_with(b"{\""));
    let is_one = begins_object
        && [header, claims, signature].into_iter().all(is_coded)
        && signature.len() >= SIGNATURE;
    if is_one { last + 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_signed_jwt_the_signature_alone_is_not_public() {
        let (header, claims) =
            (URL_SAFE_NO_PAD.encode("{\"alg\":\"RS256\"}"), URL_SAFE_NO_PAD.encode("{\"aud\":1}"));
        let signature = "s".repeat(SIGNATURE);
        let before = format!("{header}.{claims}.");
        assert_eq!(before_signature(format!("{before}{signature}").as_bytes()), before.len());
        for other in [
            String::new(),
            "ghp_0123456789".to_owned(),
            format!("{before}short"),
            format!("{header}.{signature}"),
            format!("{header}.{claims}.{claims}.{claims}.{signature}"),
            format!("{}.{claims}.{signature}", URL_SAFE_NO_PAD.encode("[\"alg\"]")),
            format!("{before}{}=", signature),
            format!("..{signature}"),
        ] {
            assert_eq!(before_signature(other.as_bytes()), 0, "{other}");
        }
    }
}
