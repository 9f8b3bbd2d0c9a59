//! The credential scope of the agent's own signature: what it says that it signs for.
//!
//! For: the resolver of type `aws` and the signer, so that both take a request for the same service. Refuses, by one strict
//! grammar, what has two readings or none. Nothing of the signature is verified.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::{is_label, is_service};

/// How long the agent's access key id may be (AWS: 128).
const LONGEST_KEY_ID: usize = 128;
/// What ends a credential scope.
pub const TERMINATOR: &str = "aws4_request";

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
    /// `Authorization`, `X-Amz-Credential` or `X-Amz-Algorithm` stands more than once.
    #[error("a part of the agent's AWS signature stands twice")]
    Repeated,
    /// Both ways of signing at once.
    #[error("the request is signed twice, in a header and in the query")]
    Twice,
    /// A credential in the query without `X-Amz-Algorithm`.
    #[error("the presigned request names no algorithm")]
    NoAlgorithm,
}

/// A signature of the agent's, by where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signed<'a> {
    /// In `Authorization`.
    ByHeader(&'a str),
    /// In the query, decoded.
    ByQuery {
        /// `X-Amz-Algorithm`.
        algorithm: String,
        /// `X-Amz-Credential`.
        credential: String,
    },
}

impl<'a> Signed<'a> {
    /// The one signature of a request; `None`: it has none of version 4.
    ///
    /// # Errors
    /// When it has two, or a part of it stands twice.
    pub fn of(headers: &'a HeaderMap, query: Option<&str>) -> Result<Option<Self>, ScopeFault> {
        let query = query.unwrap_or_default();
        let header = authorization(headers)?;
        let credential = one_parameter(query, "X-Amz-Credential")?;
        let algorithm = one_parameter(query, "X-Amz-Algorithm")?;
        match (header, credential, algorithm) {
            (Some(_), Some(_), _) => Err(ScopeFault::Twice),
            (Some(header), None, _) => Ok(Some(Self::ByHeader(header))),
            (None, Some(credential), Some(algorithm)) => Ok(Some(Self::ByQuery { algorithm, credential })),
            (None, Some(_), None) => Err(ScopeFault::NoAlgorithm),
            (None, None, _) => Ok(None),
        }
    }

    /// What it says that it was made for.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn scope(&self) -> Result<AgentScope<'_>, ScopeFault> {
        match self {
            Self::ByHeader(value) => AgentScope::of_header(value),
            Self::ByQuery { algorithm, credential } => AgentScope::of_query(algorithm, credential),
        }
    }
}

fn authorization(headers: &HeaderMap) -> Result<Option<&str>, ScopeFault> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            value.to_str().map(|text| Some(text.trim())).map_err(|_| ScopeFault::Malformed)
        }
        (Some(_), Some(_)) => Err(ScopeFault::Repeated),
    }
}

/// The decoded value of a parameter that may stand once. `;` separates as well: servers exist that split there.
fn one_parameter(query: &str, name: &str) -> Result<Option<String>, ScopeFault> {
    let mut values = query.split(['&', ';']).filter_map(|piece| {
        let (own, value) = piece.split_once('=').unwrap_or((piece, ""));
        is_parameter(own, name).then_some(value)
    });
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let bytes = form_decoded(value).into_owned();
            String::from_utf8(bytes).map(Some).map_err(|_| ScopeFault::Credential)
        }
        (Some(_), Some(_)) => Err(ScopeFault::Repeated),
    }
}

/// Whether a server, or who takes signing parameters off, could read a raw name as this one: decoded, without case, without
/// spaces before it.
pub fn is_parameter(raw: &str, name: &str) -> bool {
    form_decoded(raw).trim_ascii_start().eq_ignore_ascii_case(name.as_bytes())
}

/// Decodes a query's name or value, where `+` is a space.
fn form_decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.contains('+') {
        return percent_encoding::percent_decode_str(text).into();
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_encoding::percent_decode_str(&spaced).collect())
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
            && is_service(service);
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

#[cfg(test)]
mod tests {
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
                assert!(AgentScope::of_header(&scope).is_err() || text == "EU-west-1", "{text:?}");
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
    fn refuses_two_signatures_and_parts_that_stand_twice() {
        const QUERY: &str =
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A%2F20150830%2Fus-east-1%2Fsts%2Faws4_request";
        let good = header("AKID/20150830/us-east-1/s3/aws4_request");
        let of = |headers: &[&str], query: &str| {
            let mut map = HeaderMap::new();
            for value in headers {
                map.append(AUTHORIZATION, value.parse().unwrap());
            }
            let signed = Signed::of(&map, Some(query))?;
            signed.map(|signed| signed.scope().map(|scope| scope.service.to_owned())).transpose()
        };
        assert_eq!(of(&[&good, &good], ""), Err(ScopeFault::Repeated));
        assert_eq!(of(&[&good], QUERY), Err(ScopeFault::Twice));
        assert_eq!(of(&[], &format!("{QUERY}&x-amz-credentia%6C=b")), Err(ScopeFault::Repeated));
        assert_eq!(of(&[], &format!("{QUERY};+X-Amz-Credential=b")), Err(ScopeFault::Repeated));
        assert_eq!(of(&[], "X-Amz-Credential=b"), Err(ScopeFault::NoAlgorithm));
        assert_eq!(of(&["Bearer x"], ""), Err(ScopeFault::Algorithm));
        assert_eq!(of(&[], QUERY), Ok(Some("sts".to_owned())));
        assert_eq!(of(&[&good], "a=b"), Ok(Some("s3".to_owned())));
        assert_eq!(of(&[], "a=b"), Ok(None));
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
                prop_assert!(is_service(scope.service) && scope.region.is_some_and(is_label));
            }
        }
    }
}
