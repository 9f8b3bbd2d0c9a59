//! The signature of a plain POST to one of AWS' JSON or query services (SigV4), for calls of our own: path `/`, no query.
//!
//! What agents send is signed by the data plane's own signer, which knows every other form. Pure: time and key are
//! arguments. Keys on the way to the signature are wiped; the signature says nothing of them.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::macros::format_description;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// What is signed beside the headers.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// `eu-central-1`.
    pub region: &'a str,
    /// `kms`.
    pub service: &'a str,
    /// Now.
    pub at: OffsetDateTime,
}

impl Scope<'_> {
    /// The value of `X-Amz-Date`.
    pub fn date(&self) -> String {
        let form = format_description!("[year][month][day]T[hour][minute][second]Z");
        self.at.to_offset(time::UtcOffset::UTC).format(form).unwrap_or_default()
    }

    fn day(&self) -> String {
        self.date().chars().take(8).collect()
    }

    fn text(&self) -> String {
        format!("{}/{}/{}/aws4_request", self.day(), self.region, self.service)
    }
}

/// The value of `Authorization` for a POST of `body` to `/` with these headers: all that are sent and signed, `host` and
/// `x-amz-date` among them, names in lower case and sorted.
pub fn authorization(
    (id, key): (&str, &Secret),
    scope: &Scope<'_>,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Zeroizing<String> {
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    // The session token is among the headers.
    let mut canonical = Zeroizing::new(String::with_capacity(16 * 1024));
    canonical.push_str("POST\n/\n\n");
    for (name, value) in headers {
        for part in [name, ":", value, "\n"] {
            canonical.push_str(part);
        }
    }
    let hashed = hex::encode(Sha256::digest(body));
    for part in ["\n", &names, "\n", &hashed] {
        canonical.push_str(part);
    }
    let scope_text = scope.text();
    let hashed = hex::encode(Sha256::digest(canonical.as_bytes()));
    let text = format!("AWS4-HMAC-SHA256\n{}\n{scope_text}\n{hashed}", scope.date());
    let mut step = Zeroizing::new(Vec::with_capacity(4 + key.len()));
    step.extend_from_slice(b"AWS4");
    // exposed: the first step of the signing key
    step.extend_from_slice(key.expose());
    for part in [scope.day().as_str(), scope.region, scope.service, "aws4_request"] {
        step = Zeroizing::new(mac(&step, part.as_bytes()).to_vec());
    }
    let signature = hex::encode(mac(&step, text.as_bytes()));
    Zeroizing::new(format!(
        "AWS4-HMAC-SHA256 Credential={id}/{scope_text}, SignedHeaders={names}, Signature={signature}"
    ))
}

/// HMAC; a key that is longer than the block is hashed first (RFC 2104 section 2), which no call here needs.
fn mac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut block = Zeroizing::new([0_u8; 64]);
    if key.len() > block.len() {
        block.iter_mut().zip(Sha256::digest(key)).for_each(|(slot, byte)| *slot = byte);
    } else {
        block.iter_mut().zip(key).for_each(|(slot, byte)| *slot = *byte);
    }
    let mut mac = <Hmac<Sha256> as KeyInit>::new((&*block).into());
    mac.update(text);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    /// The published suite's `post-vanilla` and `post-x-www-form-urlencoded`: same key, scope and time.
    #[test]
    fn agrees_with_the_published_vectors() {
        let key = Secret::new(b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_vec());
        let scope = Scope { region: "us-east-1", service: "service", at: datetime!(2015-08-30 12:36:00 UTC) };
        let signed = |headers: &[(&str, &str)], body: &[u8]| {
            let text = authorization(("AKIDEXAMPLE", &key), &scope, headers, body);
            text.rsplit_once('=').unwrap().1.to_owned()
        };
        let (host, date) = (("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z"));
        assert_eq!(
            signed(&[host, date], b""),
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
        assert_eq!(
            signed(&[("content-type", "application/x-www-form-urlencoded"), host, date], b"Param1=value1"),
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"
        );
        assert_eq!(scope.date(), date.1);
    }
}
