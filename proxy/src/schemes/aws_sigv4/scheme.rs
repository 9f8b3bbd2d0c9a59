//! The scheme: reads what the agent signed for, takes its signature off, signs again.
//!
//! Refuses, before the secret is opened, what [`Asked`] refuses. Invariant: of the agent's signature, date and token nothing stays.

use control::aws::role::Role;
use control::catalog::{FieldKind, FieldSpec, Fields, SchemeSpec};
use control::refusal::{Code, Refusal};
use control::secret::Secret;
use control::target::Target;
use http::header::{AUTHORIZATION, CONTENT_LENGTH};
use http::{HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::asked::{Asked, HASH, Life, Payload};
use super::canonical::{Unsigned, is_signed, signed_names};
use super::host::{Allowed, Place};
use super::key::{KeyFault, Keys};
use super::rechunk::encoded_length;
use super::role::AssumedRole;
use super::scope::{Algorithm, Stamp};
use super::sign::{self, Presign, Signer};
use crate::schemes::shared::parameters;
use crate::schemes::shared::surface::Surface;
use crate::schemes::shared::template::sensitive;
use crate::schemes::{
    ArmFault, Armed, BodyNeed, BuildError, Echo, Exchange, Head, Outgoing, Rendered, SHORTEST_VALUE, Scheme,
    Values,
};

/// The agent's signing headers; none of them goes upstream as it came.
pub const SIGNING_HEADERS: &[&str] =
    &["authorization", "x-amz-date", "x-amz-security-token", "x-amz-s3session-token", "x-amz-region-set"];
/// The agent's signing parameters; the same.
pub const SIGNING_PARAMETERS: &[&str] = &[
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
    "X-Amz-Security-Token",
    "X-Amz-S3session-Token",
    "X-Amz-Region-Set",
    "AWSAccessKeyId",
];
/// The rest of what version 2 puts into the query.
const VERSION_2: &[&str] = &["Signature", "Expires"];

/// The scheme as data.
pub(crate) static SPEC: SchemeSpec = SchemeSpec {
    name: "aws-sigv4",
    auth_types: &[],
    inject_key: Some("aws-sigv4"),
    summary: "Signs requests for AWS again (SigV4, SigV4A), with the secret's `access_key_id`, `secret_access_key` and, if it has one, `session_token`.",
    auth_fields: &[],
    inject_fields: &[
        FieldSpec {
            name: "region",
            kind: FieldKind::Labels,
            required: false,
            default: None,
            doc: "The regions that requests are signed for.",
        },
        FieldSpec {
            name: "services",
            kind: FieldKind::Labels,
            required: false,
            default: None,
            doc: "The services, by their signing names or by an endpoint's label (`lambda-url`).",
        },
        FieldSpec {
            name: "assumeRole.arn",
            kind: FieldKind::RoleArn,
            required: false,
            default: None,
            doc: "A role that is assumed through STS of the region; its temporary keys sign.",
        },
        FieldSpec {
            name: "assumeRole.externalId",
            kind: FieldKind::ExternalId,
            required: false,
            default: None,
            doc: "The external id that the role's trust policy asks for.",
        },
        FieldSpec {
            name: "assumeRole.duration",
            kind: FieldKind::Seconds(900, 43_200),
            required: false,
            default: None,
            doc: "How long the role's keys are asked for, in seconds; 3600 where it is left out.",
        },
    ],
    default_keys: &["secret_access_key"],
};

pub(crate) fn build(fields: &Fields) -> Result<Box<dyn Scheme>, BuildError> {
    let list = |name: &'static str, fits: fn(&str) -> bool| -> Result<Vec<Box<str>>, BuildError> {
        let items: Vec<Box<str>> =
            fields.text(name).map_or_else(Vec::new, |text| text.split(',').map(Box::from).collect());
        if items.iter().all(|item| fits(item)) {
            Ok(items)
        } else {
            Err(BuildError::Invalid { field: name, why: "names what is no region or service" })
        }
    };
    let (services, regions) =
        (list("services", control::aws::is_service)?, list("region", control::aws::is_label)?);
    let why = "cannot be assumed: its ARN, its region or its duration is not what AWS takes";
    let role = Role::of(fields).map_err(|_| BuildError::Invalid { field: "assumeRole.arn", why })?;
    let (allowed, role) = (Allowed { services, regions }, role.map(AssumedRole));
    Ok(Box::new(AwsSigv4 { allowed, role }))
}

#[derive(Debug)]
struct AwsSigv4 {
    allowed: Allowed,
    role: Option<AssumedRole>,
}

/// The three values of an AWS credential, copied.
#[derive(Debug)]
pub(super) struct LongLived {
    pub(super) key_id: Secret,
    pub(super) secret: Secret,
    pub(super) token: Option<Secret>,
}

impl LongLived {
    pub(super) fn of(values: &Values<'_>) -> Result<Self, ArmFault> {
        let is_id = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        let token = match values.of("session_token") {
            Ok(_) => Some(copied(values, "session_token", |b| b.is_ascii_graphic())?),
            Err(_) => None,
        };
        Ok(Self {
            key_id: copied(values, "access_key_id", is_id)?,
            secret: copied(values, "secret_access_key", |b| b.is_ascii_graphic())?,
            token,
        })
    }
}

impl Scheme for AwsSigv4 {
    fn surface(&self) -> &Surface {
        &Surface::Signature
    }

    fn judge(&self, target: &Target, head: &Head) -> Result<BodyNeed, Refusal> {
        let asked = Asked::of(head, target, &self.allowed)?;
        Ok(if asked.payload == Payload::Unknown { BodyNeed::Whole } else { BodyNeed::Nothing })
    }

    fn arm(&self, values: &Values<'_>) -> Result<Rendered, ArmFault> {
        let LongLived { key_id, secret, token } = LongLived::of(values)?;
        // The signature opens nothing else and the secret access key never leaves; the token does.
        let echo = |token: &Secret| Echo {
            // exposed: copied into a wiped buffer for the scanner of answers
            value: Zeroizing::new(token.expose().to_vec()),
            public_prefix: 0,
            basic_users: Vec::new(),
        };
        let echoes = token.iter().map(echo).collect();
        let armed = ArmedAws { allowed: self.allowed.clone(), key_id, secret, token, keys: Keys::default() };
        Ok(Rendered { armed: Box::new(armed), echoes })
    }

    fn exchange(&self) -> Option<&dyn Exchange> {
        self.role.as_ref().map(|role| role as &dyn Exchange)
    }
}

/// A value of its own, locked and wiped as the opened secret is.
fn copied(values: &Values<'_>, key: &str, fits: impl Fn(u8) -> bool) -> Result<Secret, ArmFault> {
    // exposed: copied into another secret, which lives as long as what signs with it
    let bytes = values.of(key)?.expose();
    if !bytes.iter().all(|byte| fits(*byte)) {
        return Err(ArmFault::Character { key: key.to_owned() });
    }
    match bytes.len() {
        ..SHORTEST_VALUE => Err(ArmFault::Short { key: key.to_owned() }),
        16_385.. => Err(ArmFault::Long),
        _ => Ok(Secret::new(bytes.to_vec())),
    }
}

#[derive(Debug)]
struct ArmedAws {
    allowed: Allowed,
    key_id: Secret,
    secret: Secret,
    token: Option<Secret>,
    keys: Keys,
}

impl Armed for ArmedAws {
    fn place(&self, out: &mut Outgoing<'_>) -> Result<(), Refusal> {
        let errand =
            out.errand().ok_or_else(|| refuse("a signature needs to know where the request goes"))?;
        let asked = Asked::of(out.head(), errand.target, &self.allowed)?;
        let host = errand.target.host.name().unwrap_or_default();
        if self.token.is_some() && !self.allowed.trusts_with_token(host) {
            let detail = "code of anybody's may answer on this host and would see the session token: list the endpoint's label (`lambda-url`, `execute-api` …) in config.services to send it there";
            return Err(Refusal::new(Code::Dw1002, detail));
        }
        let stamp =
            Stamp::at((errand.now)()).ok_or_else(|| refuse("the clock is outside of what AWS can read"))?;
        let signer = self
            .signer(&asked.place, &stamp)
            .map_err(|KeyFault| refuse("the secret derives no signing key"))?;
        let payload = asked.payload(out)?;
        remove_signature(out, matches!(asked.life, Some(Life::Until(_))))?;
        if let Payload::Chunked { form, decoded, trailers } = &asked.payload
            && out.head().headers.contains_key(CONTENT_LENGTH)
        {
            match encoded_length(*form, *decoded, trailers) {
                Some(length) => out.set_header(&CONTENT_LENGTH, HeaderValue::from(length))?,
                None => out.remove_header(&CONTENT_LENGTH),
            }
        }
        let host = errand.target.authority(errand.default_port);
        let at = At { stamp: &stamp, signer: &signer, host: &host, payload: &payload };
        let seed = match asked.life {
            Some(life) => self.presign(out, &asked, at, life.seconds((errand.now)())?)?,
            None => self.sign_headers(out, &asked, at)?,
        };
        if out.body().is_none() || matches!(asked.payload, Payload::Chunked { .. }) {
            asked.stream(out, signer, stamp, &seed);
        }
        Ok(())
    }
}

/// Moment, key, host and payload of one signature.
#[derive(Clone, Copy)]
struct At<'a> {
    stamp: &'a Stamp,
    signer: &'a Signer,
    host: &'a str,
    payload: &'a str,
}

impl ArmedAws {
    fn signer(&self, place: &Place, stamp: &Stamp) -> Result<Signer, KeyFault> {
        Ok(match place.algorithm {
            Algorithm::Hmac => {
                Signer::Hmac(self.keys.of(&self.secret, stamp, &place.region, &place.service)?)
            }
            Algorithm::Ecdsa => {
                // exposed: the id is part of what SigV4A's key is derived from
                let key = self.keys.ecdsa(&self.secret, self.key_id.expose())?;
                Signer::ecdsa(key, stamp, &place.service, &place.region)
            }
        })
    }

    /// Sets the signing headers and `Authorization`; gives the signature.
    fn sign_headers(&self, out: &mut Outgoing<'_>, asked: &Asked, at: At<'_>) -> Result<String, Refusal> {
        out.set_header(&HeaderName::from_static("x-amz-date"), text(at.stamp.text())?)?;
        if asked.place.is_s3() || asked.named_hash {
            out.set_header(&HASH, text(at.payload)?)?;
        }
        if let Signer::Ecdsa { regions, .. } = at.signer {
            out.set_header(&HeaderName::from_static("x-amz-region-set"), text(regions)?)?;
        }
        if let Some(token) = &self.token {
            // exposed: the request's session token, in a wiped buffer
            let value = Zeroizing::new(token.expose().to_vec());
            let value = sensitive(value).map_err(|_| refuse("the session token cannot be sent"))?;
            out.set_header(&HeaderName::from_static("x-amz-security-token"), value)?;
        }
        let names = signed_names(&out.head().headers, is_signed);
        let unsigned = unsigned(out.head(), &asked.place, at, out.head().target.query().unwrap_or_default());
        let made =
            sign::signature(at.signer, at.stamp, &unsigned, &names).map_err(|KeyFault| unsignable())?;
        // exposed: the id stands in the credential scope that is sent
        let value = sign::authorization(at.signer, self.key_id.expose(), &names, &made);
        out.set_header(&AUTHORIZATION, sensitive(value).map_err(|_| unsignable())?)?;
        Ok(made.0)
    }

    /// Sets the signing parameters; gives the signature.
    fn presign(
        &self,
        out: &mut Outgoing<'_>,
        asked: &Asked,
        at: At<'_>,
        life: u32,
    ) -> Result<String, Refusal> {
        let names = signed_names(&out.head().headers, is_signed);
        let query = out.head().target.query().unwrap_or_default();
        let unsigned = unsigned(out.head(), &asked.place, at, query);
        let presign = Presign {
            // exposed: the id stands in the credential scope that is sent
            key_id: self.key_id.expose(),
            // exposed: the request's session token, in a wiped buffer
            session_token: self.token.as_ref().map(|token| token.expose()),
            life,
        };
        let query = sign::presigned(at.signer, at.stamp, &unsigned, &names, &presign);
        let query = query.map_err(|KeyFault| unsignable())?;
        out.replace_query(&query)?;
        // Chunks are never signed under a presigned request.
        Ok(String::new())
    }
}

fn unsigned<'a>(head: &'a Head, place: &Place, at: At<'a>, query: &'a str) -> Unsigned<'a> {
    Unsigned {
        method: head.method.as_str(),
        path: head.target.path(),
        query,
        host: at.host,
        headers: &head.headers,
        payload: at.payload,
        path_rules: place.path_rules(),
    }
}

/// Takes the agent's signing headers and parameters off.
fn remove_signature(out: &mut Outgoing<'_>, by_version_2: bool) -> Result<(), Refusal> {
    for name in SIGNING_HEADERS {
        out.remove_header(&HeaderName::from_static(name));
    }
    let more = if by_version_2 { VERSION_2 } else { &[] };
    let names: Vec<&str> = SIGNING_PARAMETERS.iter().chain(more).copied().collect();
    let query = out.head().target.query().map(|query| parameters::without(query, &names)).transpose();
    let query = query.map_err(|error| Refusal::new(Code::Dw2008, error.to_string()))?.flatten();
    query.map_or(Ok(()), |query| out.replace_query(query.as_bytes()))
}

fn refuse(detail: &'static str) -> Refusal {
    Refusal::new(Code::Dw1004, detail)
}

fn unsignable() -> Refusal {
    refuse("the request cannot be signed")
}

fn text(text: &str) -> Result<HeaderValue, Refusal> {
    HeaderValue::from_str(text).map_err(|_| unsignable())
}
