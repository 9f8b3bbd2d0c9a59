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
