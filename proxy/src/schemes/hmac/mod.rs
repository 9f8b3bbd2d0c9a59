//! `hmac`: a signature over what the provider file says, where it says.
//!
//! Signs exactly what is sent: the canonical path, the query as it goes out, the body byte for byte. The agent's own
//! signing headers are removed first. Refuses to send the key that signs, and a signature of which neither path nor query
//! nor body is part, since that would be a credential that can be used again. Invariant: a signature does not reach the
//! agent, which could use it for whatever it does not tell apart: answers are searched for it.

mod message;
#[cfg(test)]
mod published;

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac::{self, HMAC_SHA256, HMAC_SHA384, HMAC_SHA512};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use control::catalog::{FieldKind, FieldSpec, Fields, Piece, SchemeSpec, Template};
use control::refusal::{Code, Refusal};
use control::secret::Secret;
use control::target::Target;
use http::HeaderName;
use zeroize::Zeroizing;

use super::shared::encode::{GROWTH, hex, query_into};
use super::shared::names::{injectable, same_spelling};
use super::shared::surface::Surface;
use super::shared::template::{self, sensitive};
use super::{
    ArmFault, Armed, BodyNeed, BuildError, CREDENTIAL, Echo, Head, Outgoing, Rendered, SHORTEST_VALUE,
    Scheme, Values,
};
use message::{ArmedPart, Moment, Part, Request};

const FIELDS: &[FieldSpec] = &[
    field(
        "sign",
        FieldKind::Message,
        None,
        "What is signed: text with `{{timestamp}}`, `{{nonce}}`, `{{method}}`, `{{path}}`, `{{query}}`, `{{pathAndQuery}}`, `{{host}}`, `{{body}}`, `{{bodyHash}}` and keys of the secret. Path, query or body is part of it.",
    ),
    field(
        "headers",
        FieldKind::Headers,
        None,
        "The headers that are set: text with `{{signature}}`, `{{timestamp}}`, `{{nonce}}`, `{{bodyHash}}` and keys of the secret (`X-Signature: \"t={{timestamp}},v1={{signature}}\"`). The agent's own copies are removed.",
    ),
    field(
        "param",
        FieldKind::ParamName,
        None,
        "The query parameter that carries the signature, after all that is signed.",
    ),
    field(
        "algorithm",
        FieldKind::Choice(&["sha256", "sha384", "sha512"]),
        Some("sha256"),
        "The hash of the HMAC. SHA-1 is not offered.",
    ),
    field(
        "encoding",
        FieldKind::Choice(&["hex", "base64", "base64url"]),
        Some("hex"),
        "How the signature is written.",
    ),
    field(
        "keyEncoding",
        FieldKind::Choice(&["text", "hex", "base64"]),
        Some("text"),
        "How the secret's value is read: as it stands, or decoded first.",
    ),
    field(
        "timestamp",
        FieldKind::Choice(&["s", "ms", "iso"]),
        Some("s"),
        "`{{timestamp}}`: seconds or milliseconds since 1970, or `2026-11-22T16:00:00.000Z`.",
    ),
    field(
        "bodyHash",
        FieldKind::Choice(&["sha256-hex", "sha256-base64", "sha512-hex", "sha512-base64"]),
        Some("sha256-hex"),
        "`{{bodyHash}}`: the hash of the body and how it is written.",
    ),
    field(
        "publicKeys",
        FieldKind::Keys,
        Some("key_id"),
        "Keys of the secret that are sent and are no secret, so that answers are not searched for them; `[]` for none.",
    ),
];

const fn field(
    name: &'static str,
    kind: FieldKind,
    default: Option<&'static str>,
    doc: &'static str,
) -> FieldSpec {
    FieldSpec { name, kind, required: matches!(kind, FieldKind::Message), default, doc }
}

/// The scheme as data.
pub(crate) static SPEC: SchemeSpec = SchemeSpec {
    name: "hmac",
    auth_types: &["hmac"],
    inject_key: Some("hmac"),
    summary: "Signs the request with the secret (HMAC) and sets the signature where the API expects it. Where the body is signed it is read whole first, up to the buffered limit.",
    auth_fields: FIELDS,
    inject_fields: FIELDS,
    default_keys: &["secret", "token"],
};

pub(super) fn build(fields: &Fields) -> Result<Box<dyn Scheme>, BuildError> {
    let sign = fields.template("sign").ok_or(BuildError::Missing("sign"))?;
    let message = message::parts(sign);
    if !message.iter().any(Part::tells_apart) {
        return Err(BuildError::Invalid {
            field: "sign",
            why: "names neither path nor query nor body, so that one signature would do for many requests",
        });
    }
    if message.contains(&Part::Signature) {
        return Err(BuildError::Invalid { field: "sign", why: "holds the signature itself" });
    }
    let headers = headers(fields)?;
    let param = fields.text("param").map(str::to_owned);
    let all = || headers.iter().flat_map(|(_, parts)| parts);
    if param.is_none() && !all().any(|part| *part == Part::Signature) {
        return Err(BuildError::Invalid {
            field: "headers",
            why: "holds `{{signature}}` nowhere, and there is no `param` for it",
        });
    }
    let reads_body = message.iter().chain(all()).any(Part::reads_body);
    let hashes_body = message.iter().chain(all()).any(|part| *part == Part::BodyHash);
    let names = headers.iter().map(|(name, _)| name.clone()).collect();
    let public = fields.text("publicKeys").unwrap_or("key_id");
    Ok(Box::new(Hmac {
        surface: Surface::Signed { headers: names, param: param.clone() },
        public: public.split(',').map(str::to_owned).collect(),
        plan: Plan { message, headers, param },
        reads_body,
        form: Form::of(fields, hashes_body)?,
        key_encoding: choice(
            fields,
            "keyEncoding",
            &[("text", Coding::Text), ("hex", Coding::Hex), ("base64", Coding::Base64)],
        )?,
    }))
}

fn headers(fields: &Fields) -> Result<Vec<(HeaderName, Vec<Part>)>, BuildError> {
    let invalid = |why| Err(BuildError::Invalid { field: "headers", why });
    let mut headers: Vec<(HeaderName, Vec<Part>)> = Vec::new();
    for (name, template) in fields.headers("headers") {
        let Some(name) = injectable(name) else {
            return invalid("names a header that cannot carry a signature");
        };
        if headers.iter().any(|(known, _)| same_spelling(known.as_str(), name.as_str())) {
            return invalid("names a header twice, in two spellings");
        }
        let parts = message::parts(template);
        if parts.iter().any(|part| part.is_of_request() && *part != Part::BodyHash) {
            return invalid("holds a part of the request, which belongs into `sign`");
        }
        headers.push((name, parts));
    }
    Ok(headers)
}

fn choice<T: Copy>(fields: &Fields, field: &'static str, known: &[(&str, T)]) -> Result<T, BuildError> {
    let unknown = BuildError::Invalid { field, why: "is none of its words" };
    match (fields.text(field), known) {
        (None, [(_, first), ..]) => Ok(*first),
        (word, _) => known.iter().find(|(name, _)| Some(*name) == word).map(|(_, one)| *one).ok_or(unknown),
    }
}

/// How bytes are written as text, or read from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Text,
    Hex,
    Base64,
    Base64Url,
}

impl Coding {
    fn encoded(self, bytes: &[u8]) -> String {
        match self {
            Self::Text | Self::Hex => hex(bytes),
            Self::Base64 => STANDARD.encode(bytes),
            Self::Base64Url => URL_SAFE_NO_PAD.encode(bytes),
        }
    }
}

/// The texts of a signature, beyond its parts.
#[derive(Clone, Copy)]
struct Form {
    algorithm: hmac::Algorithm,
    encoding: Coding,
    timestamp: message::Clock,
    /// `None`: nothing holds it.
    body_hash: Option<(message::Hash, Coding)>,
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Form").field("encoding", &self.encoding).finish_non_exhaustive()
    }
}

impl Form {
    fn of(fields: &Fields, hashes_body: bool) -> Result<Self, BuildError> {
        use message::{Clock, Hash};
        let body_hash = choice(
            fields,
            "bodyHash",
            &[
                ("sha256-hex", (Hash::Sha256, Coding::Hex)),
                ("sha256-base64", (Hash::Sha256, Coding::Base64)),
                ("sha512-hex", (Hash::Sha512, Coding::Hex)),
                ("sha512-base64", (Hash::Sha512, Coding::Base64)),
            ],
        )?;
        Ok(Self {
            body_hash: hashes_body.then_some(body_hash),
            algorithm: choice(
                fields,
                "algorithm",
                &[("sha256", HMAC_SHA256), ("sha384", HMAC_SHA384), ("sha512", HMAC_SHA512)],
            )?,
            encoding: choice(
                fields,
                "encoding",
                &[("hex", Coding::Hex), ("base64", Coding::Base64), ("base64url", Coding::Base64Url)],
            )?,
            timestamp: choice(
                fields,
                "timestamp",
                &[("s", Clock::Seconds), ("ms", Clock::Milliseconds), ("iso", Clock::Iso)],
            )?,
        })
    }
}

/// What is signed and where it goes; `P` holds keys of the secret by name, or their values.
#[derive(Debug)]
struct Plan<P> {
    message: Vec<P>,
    headers: Vec<(HeaderName, Vec<P>)>,
    param: Option<String>,
}

#[derive(Debug)]
struct Hmac {
    surface: Surface,
    public: Vec<String>,
    plan: Plan<Part>,
    reads_body: bool,
    form: Form,
    key_encoding: Coding,
}

impl Scheme for Hmac {
    fn surface(&self) -> &Surface {
        &self.surface
    }

    fn judge(&self, _target: &Target, _head: &Head) -> Result<BodyNeed, Refusal> {
        Ok(if self.reads_body { BodyNeed::Whole } else { BodyNeed::Nothing })
    }

    fn arm(&self, values: &Values<'_>) -> Result<Rendered, ArmFault> {
        let secret = values.of(CREDENTIAL)?;
        let key = hmac::Key::new(self.form.algorithm, &self.key(secret)?);
        let Plan { message, headers, param } = &self.plan;
        let mut echoes = Vec::new();
        for name in headers.iter().flat_map(|(_, parts)| parts).filter_map(Part::key) {
            if is_same(values.of(name)?, secret) {
                return Err(ArmFault::Signs { key: name.to_owned() });
            }
            if !self.public.iter().any(|public| public == name) {
                echoes.extend(template::echoes(&Template(vec![Piece::Key(name.to_owned())]), values)?);
            }
        }
        let sent = |(name, parts): &(HeaderName, Vec<Part>)| {
            Ok((name.clone(), message::armed(parts, values, template::Alphabet::Header)?))
        };
        let plan = Plan {
            message: message::armed(message, values, template::Alphabet::Text)?,
            headers: headers.iter().map(sent).collect::<Result<_, ArmFault>>()?,
            param: param.clone(),
        };
        Ok(Rendered { armed: Box::new(ArmedHmac { key, plan, form: self.form }), echoes })
    }
}

impl Hmac {
    /// The key's bytes. The secret itself is checked: what can be guessed signs for anyone.
    fn key(&self, secret: &Secret) -> Result<Zeroizing<Vec<u8>>, ArmFault> {
        // exposed: decoded into the key that signs; the copy is wiped
        let text = secret.expose();
        let unfit = |why: &str| ArmFault::Unfit { key: CREDENTIAL.to_owned(), why: why.to_owned() };
        let key = match self.key_encoding {
            Coding::Text => Zeroizing::new(text.to_vec()),
            Coding::Hex => unhex(text).ok_or_else(|| unfit("is not in hex, as `keyEncoding` says"))?,
            Coding::Base64 | Coding::Base64Url => {
                let mut out = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.len())]);
                let length = STANDARD.decode_slice(text, &mut out);
                let length = length.map_err(|_| unfit("is not in base64, as `keyEncoding` says"))?;
                out.truncate(length);
                out
            }
        };
        match key.len() {
            ..SHORTEST_VALUE => Err(ArmFault::Short { key: CREDENTIAL.to_owned() }),
            _ => Ok(key),
        }
    }
}

fn is_same(one: &Secret, other: &Secret) -> bool {
    // exposed: compared in constant time, see Secret::matches
    one.matches(other.expose())
}

fn unhex(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut out = Zeroizing::new(Vec::with_capacity(text.len() / 2));
    let (pairs, rest) = text.as_chunks::<2>();
    for [high, low] in pairs {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        out.push(digit(*high)? << 4 | digit(*low)?);
    }
    rest.is_empty().then_some(out)
}

struct ArmedHmac {
    /// What aws-lc keeps of it, it wipes itself when it frees it.
    key: hmac::Key,
    plan: Plan<ArmedPart>,
    form: Form,
}

impl fmt::Debug for ArmedHmac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArmedHmac").finish_non_exhaustive()
    }
}

impl Armed for ArmedHmac {
    fn place(&self, out: &mut Outgoing<'_>) -> Result<(), Refusal> {
        let errand =
            out.errand().ok_or_else(|| refuse("a signature needs to know where the request goes"))?;
        let Plan { message, headers, param } = &self.plan;
        for (name, _) in headers {
            out.remove_header(name);
        }
        if let Some(param) = param {
            out.remove_param(param)?;
        }
        let moment = Moment::at((errand.now)(), self.form.timestamp)?;
        let host = errand.target.authority(errand.default_port);
        let request = Request::new(out, &host, &moment, self.form.body_hash);
        let mut context = hmac::Context::with_key(&self.key);
        message.iter().try_for_each(|part| request.part(part, None).map(|bytes| context.update(bytes)))?;
        let signature = self.form.encoding.encoded(context.sign().as_ref());
        let mut values = Vec::with_capacity(headers.len());
        for (name, parts) in headers {
            let mut value = Zeroizing::new(Vec::with_capacity(request.length(parts, &signature)?));
            for part in parts {
                value.extend_from_slice(request.part(part, Some(&signature))?);
            }
            values.push((name, sensitive(value).map_err(|_| refuse("the signature cannot be sent"))?));
        }
        values.into_iter().try_for_each(|(name, value)| out.set_header(name, value))?;
        out.search_for(vec![Arc::new(Echo {
            value: Zeroizing::new(signature.as_bytes().to_vec()),
            public_prefix: 0,
            basic_users: Vec::new(),
        })]);
        let Some(param) = param else { return Ok(()) };
        let mut encoded = Vec::with_capacity(signature.len() * GROWTH);
        query_into(signature.as_bytes(), &mut encoded);
        out.set_query(param, &encoded)
    }
}

fn refuse(detail: &'static str) -> Refusal {
    Refusal::new(Code::Dw1004, detail)
}
