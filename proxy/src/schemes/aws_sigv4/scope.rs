//! The names that a signature is made for: time, region, service, and the agent's own credential scope.
//!
//! Refuses, by one strict grammar, whatever is no region or service: a region never becomes part of a host, but it stands
//! in what is signed and sent. Nothing of the agent's signature is verified; its scope alone is read.

use std::fmt;
use std::time::SystemTime;

use control::aws::is_label;

/// How long the agent's access key id may be (AWS: 128).
const LONGEST_KEY_ID: usize = 128;
/// What ends a credential scope.
pub const TERMINATOR: &str = "aws4_request";

/// A moment as AWS writes it: `20150830T123600Z`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Stamp([u8; 16]);

impl Stamp {
    /// The moment; `None` outside the years 1970 to 9999.
    pub fn at(time: SystemTime) -> Option<Self> {
        let seconds = time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
        let time = time::OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()?;
        let (year, month, day) = time.to_calendar_date();
        let (hour, minute, second) = time.to_hms();
        let digits = [
            (u32::try_from(year).ok()?, 4),
            (u32::from(u8::from(month)), 2),
            (u32::from(day), 2),
            (u32::from(hour), 2),
            (u32::from(minute), 2),
            (u32::from(second), 2),
        ];
        let digits = digits.into_iter().flat_map(|(number, width)| {
            (0..width).rev().map(move |place| b'0' + (number / 10_u32.pow(place) % 10) as u8)
        });
        let mut text = *b"0000000000000000";
        // The digits stand around the `T`.
        let slots = text.iter_mut().enumerate().filter(|(at, _)| *at != 8 && *at != 15);
        slots.zip(digits).for_each(|((_, slot), digit)| *slot = digit);
        for (at, mark) in [(8, b'T'), (15, b'Z')] {
            if let Some(slot) = text.get_mut(at) {
                *slot = mark;
            }
        }
        Some(Self(text))
    }

    /// `20150830T123600Z`.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// `20150830`.
    pub fn day(&self) -> &str {
        self.text().get(..8).unwrap_or_default()
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// How a signature is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// SigV4: HMAC-SHA256, for one region.
    Hmac,
    /// SigV4A: ECDSA over P-256, for a set of regions.
    Ecdsa,
}

impl Algorithm {
    /// As it stands in `Authorization` and `X-Amz-Algorithm`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hmac => "AWS4-HMAC-SHA256",
            Self::Ecdsa => "AWS4-ECDSA-P256-SHA256",
        }
    }

    /// The algorithm of this name.
    pub fn of(name: &str) -> Option<Self> {
        [Self::Hmac, Self::Ecdsa].into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// What the agent says that it signs for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentScope<'a> {
    /// How it signs.
    pub algorithm: Algorithm,
    /// Its access key id, a dummy.
    pub key_id: &'a str,
    /// Its region; none for SigV4A.
    pub region: Option<&'a str>,
    /// Its service.
    pub service: &'a str,
}

/// Why the agent's signature has no scope that could be read. Shows nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeFault {
    /// The algorithm is not one of SigV4 and SigV4A.
    #[error("the request is signed by another way than AWS signature version 4")]
    Algorithm,
    /// `Credential` is missing or not `KEY/DATE/REGION/SERVICE/aws4_request`.
    #[error("the credential scope of the agent's AWS signature cannot be read")]
    Credential,
    /// The rest of the header has not the form that AWS defines.
    #[error("the agent's AWS signature is malformed")]
    Malformed,
}

impl<'a> AgentScope<'a> {
    /// Reads an `Authorization` header: `ALGORITHM Credential=…, SignedHeaders=…, Signature=…`.
    pub fn of_header(value: &'a str) -> Result<Self, ScopeFault> {
        let (name, fields) = value.split_once(' ').ok_or(ScopeFault::Algorithm)?;
        let algorithm = Algorithm::of(name).ok_or(ScopeFault::Algorithm)?;
        let (mut credential, mut headers, mut signature) = (None, None, None);
        for field in fields.split(',') {
            let (name, value) = field.trim_matches(' ').split_once('=').ok_or(ScopeFault::Malformed)?;
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut headers,
                "Signature" => &mut signature,
                _ => return Err(ScopeFault::Malformed),
            };
            if slot.replace(value).is_some() {
                return Err(ScopeFault::Malformed);
            }
        }
        headers.filter(|names| are_header_names(names)).ok_or(ScopeFault::Malformed)?;
        signature.filter(|text| is_signature(text)).ok_or(ScopeFault::Malformed)?;
        Self::of_credential(algorithm, credential.ok_or(ScopeFault::Credential)?)
    }

    /// Reads the decoded `X-Amz-Algorithm` and `X-Amz-Credential` of a presigned request.
    pub fn of_query(algorithm: &str, credential: &'a str) -> Result<Self, ScopeFault> {
        Self::of_credential(Algorithm::of(algorithm).ok_or(ScopeFault::Algorithm)?, credential)
    }

    fn of_credential(algorithm: Algorithm, credential: &'a str) -> Result<Self, ScopeFault> {
        let mut parts = credential.split('/');
        let mut next = || parts.next().ok_or(ScopeFault::Credential);
        let (key_id, day) = (next()?, next()?);
        let region = match algorithm {
            Algorithm::Hmac => Some(next()?),
            Algorithm::Ecdsa => None,
        };
        let (service, end) = (next()?, next()?);
        let fits = parts.next().is_none()
            && end == TERMINATOR
            && (1..=LONGEST_KEY_ID).contains(&key_id.len())
            && key_id.bytes().all(|b| b.is_ascii_graphic())
            && day.len() == 8
            && day.bytes().all(|b| b.is_ascii_digit())
            && region.is_none_or(is_label)
            && is_label(service);
        if fits { Ok(Self { algorithm, key_id, region, service }) } else { Err(ScopeFault::Credential) }
    }
}

fn are_header_names(names: &str) -> bool {
    let fits = |name: &str| !name.is_empty() && http::HeaderName::from_bytes(name.as_bytes()).is_ok();
    names.split(';').all(fits)
}

/// Hex; SigV4A's are DER and shorter or longer.
fn is_signature(text: &str) -> bool {
    (1..=160).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Whether a text is the hash of a payload, as `x-amz-content-sha256` holds it.
pub fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const SIGNATURE: &str = "68714168e6557f8f2de0ef956fc24dc2593a4bd2961f8df51898d8a134695145";

    fn header(credential: &str) -> String {
        format!(
            "AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host;x-amz-date, Signature={SIGNATURE}"
        )
    }

    #[test]
    fn refuses_names_that_are_no_region_or_service() {
        for text in [
            "",
            "a/b",
            "a.b",
            "eu_west_1",
            "EU-west-1",
            "-a",
            "a-",
            "a b",
            "a\n",
            "ä",
            "..",
            "a%2f",
            &"a".repeat(41),
        ] {
            assert!(!is_label(text), "{text:?}");
            if !text.contains('\n') {
                let scope = header(&format!("AKID/20150830/{text}/s3/aws4_request"));
                assert!(AgentScope::of_header(&scope).is_err(), "{text:?}");
                let scope = header(&format!("AKID/20150830/eu-west-1/{text}/aws4_request"));
                assert!(AgentScope::of_header(&scope).is_err(), "{text:?}");
            }
        }
        for text in ["us-east-1", "us-gov-west-1", "auto", "s3", "execute-api", "mx-central-1"] {
            assert!(is_label(text), "{text:?}");
        }
    }

    #[test]
    fn refuses_an_authorization_that_is_not_exactly_a_signature() {
        let good = header("AKID/20150830/us-east-1/s3/aws4_request");
        assert!(AgentScope::of_header(&good).is_ok());
        for bad in [
            "Bearer abc".to_owned(),
            "AWS AKID:c2lnbmF0dXJl".to_owned(),
            "AWS4-HMAC-SHA256".to_owned(),
            "AWS4-HMAC-SHA256 ".to_owned(),
            good.replace("AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA512 "),
            good.replace(", SignedHeaders", ", Extra=1, SignedHeaders"),
            good.replace("SignedHeaders=host;x-amz-date, ", ""),
            good.replace("host;x-amz-date", "host;;x-amz-date"),
            good.replace("host;x-amz-date", "host;x amz"),
            good.replace(SIGNATURE, ""),
            good.replace(SIGNATURE, "zz"),
            good.clone() + ", Credential=AKID/20150830/us-east-1/s3/aws4_request",
            good.clone() + ",",
            header("AKID/2015083/us-east-1/s3/aws4_request"),
            header("AKID/2015083x/us-east-1/s3/aws4_request"),
            header("/20150830/us-east-1/s3/aws4_request"),
            header("AKID/20150830/us-east-1/s3/aws5_request"),
            header("AKID/20150830/us-east-1/s3/aws4_request/x"),
            header("AKID/20150830/us-east-1/s3"),
            header("AKID/x/20150830/us-east-1/s3/aws4_request"),
            header("AKID/20150830/s3/aws4_request"),
        ] {
            assert!(AgentScope::of_header(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn reads_the_scope_of_both_algorithms() {
        let text = header("AKIAdw0/20150830/eu-west-1/s3/aws4_request").replace(", ", ",");
        let scope = AgentScope::of_header(&text).unwrap();
        assert_eq!(
            (scope.key_id, scope.region, scope.service, scope.algorithm),
            ("AKIAdw0", Some("eu-west-1"), "s3", Algorithm::Hmac)
        );
        let text = "AWS4-ECDSA-P256-SHA256 Credential=AKID/20150830/s3/aws4_request, SignedHeaders=host, Signature=3045";
        let scope = AgentScope::of_header(text).unwrap();
        assert_eq!((scope.region, scope.service, scope.algorithm), (None, "s3", Algorithm::Ecdsa));
        let scope =
            AgentScope::of_query("AWS4-HMAC-SHA256", "A/20150830/us-east-1/sts/aws4_request").unwrap();
        assert_eq!((scope.region, scope.service), (Some("us-east-1"), "sts"));
    }

    #[test]
    fn writes_moments_as_aws_does() {
        let at = |seconds| Stamp::at(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        assert_eq!(at(1_440_938_160).text(), "20150830T123600Z");
        assert_eq!(at(1_440_938_160).day(), "20150830");
        assert_eq!(at(0).text(), "19700101T000000Z");
        assert_eq!(at(1_709_251_199).text(), "20240229T235959Z");
        assert!(Stamp::at(SystemTime::UNIX_EPOCH + Duration::from_secs(300_000_000_000)).is_none());
        assert!(Stamp::at(SystemTime::UNIX_EPOCH - Duration::from_secs(1)).is_none());
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "\\PC{0,80}") {
            let _unread = AgentScope::of_header(&text);
            let _unread = AgentScope::of_header(&format!("AWS4-HMAC-SHA256 {text}"));
            let _unread = AgentScope::of_query("AWS4-HMAC-SHA256", &text);
        }

        #[test]
        fn what_is_read_is_within_the_grammar(text in "[A-Za-z0-9/._-]{0,60}") {
            if let Ok(scope) = AgentScope::of_query("AWS4-HMAC-SHA256", &text) {
                prop_assert!(is_label(scope.service) && scope.region.is_some_and(is_label));
            }
        }
    }
}
