//! Basic credentials (RFC 7617): reading the agent's and writing ours.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

/// Clients leave the padding out now and then.
const READ: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// `user:password` of an `Authorization` value, if it is Basic credentials.
pub fn decoded(value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (scheme, rest) = value.trim_ascii().split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let mut out = Zeroizing::new(Vec::with_capacity(rest.len()));
    READ.decode_vec(rest.trim_ascii(), &mut out).ok().map(|()| out)
}

/// `Basic …` of `user:password`.
pub fn encoded(pair: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(String::with_capacity(6 + pair.len().div_ceil(3) * 4));
    text.push_str("Basic ");
    base64::engine::general_purpose::STANDARD.encode_string(pair, &mut text);
    Zeroizing::new(std::mem::take(&mut *text).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_not_basic_credentials() {
        for value in [
            "",
            "Basic",
            "Bearer YTpi",
            "Digest YTpi",
            "BasicYTpi",
            "Basic\tYTpi",
            "Basic %",
            "Basic YTpi YTpi",
        ] {
            assert_eq!(decoded(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn reads_the_pair_as_lenient_servers_do() {
        for value in ["Basic YTpi", "bASIC YTpi", "  Basic   YTpi "] {
            assert_eq!(decoded(value.as_bytes()).unwrap().as_slice(), b"a:b", "{value}");
        }
        for value in ["Basic YTpiYg==", "Basic YTpiYg", "Basic YTpiYh=="] {
            assert_eq!(decoded(value.as_bytes()).unwrap().as_slice(), b"a:bb", "{value}");
        }
    }

    #[test]
    fn writes_the_pair_into_the_room_that_was_made() {
        for (pair, text) in
            [("", "Basic "), ("a:b", "Basic YTpi"), ("a:bb", "Basic YTpiYg=="), ("a:bbb", "Basic YTpiYmI=")]
        {
            let out = encoded(pair.as_bytes());
            assert_eq!(out.as_slice(), text.as_bytes());
            assert_eq!(out.capacity(), text.len(), "a buffer that grows leaves an unwiped copy");
        }
    }
}
