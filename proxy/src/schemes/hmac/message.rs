//! The parts of what is signed and of the headers that carry it, and what they stand for in one request.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use bytes::Bytes;
use control::catalog::{Piece, Template};
use control::refusal::Refusal;
use time::OffsetDateTime;
use time::macros::format_description;
use zeroize::Zeroizing;

use super::{Coding, refuse};
use crate::schemes::shared::template::{Alphabet, plain_into, render};
use crate::schemes::{ArmFault, Outgoing, Values};

/// A part, as the provider file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Literal(String),
    /// The value of this key of the secret.
    Key(String),
    Timestamp,
    Nonce,
    Method,
    Path,
    Query,
    PathAndQuery,
    Host,
    Body,
    BodyHash,
    Signature,
}

impl Part {
    /// Whether the request decides what stands here, so that another request has another one.
    pub(super) fn is_of_request(&self) -> bool {
        matches!(
            self,
            Self::Method
                | Self::Path
                | Self::Query
                | Self::PathAndQuery
                | Self::Host
                | Self::Body
                | Self::BodyHash
        )
    }

    /// Whether it tells one request from another: many have the same method and host.
    pub(super) fn tells_apart(&self) -> bool {
        self.is_of_request() && !matches!(self, Self::Method | Self::Host)
    }

    pub(super) fn reads_body(&self) -> bool {
        matches!(self, Self::Body | Self::BodyHash)
    }

    /// The key of the secret.
    pub(super) fn key(&self) -> Option<&str> {
        if let Self::Key(name) = self { Some(name) } else { None }
    }
}

/// The parts of a template.
pub(super) fn parts(template: &Template) -> Vec<Part> {
    let part = |piece: &Piece| match piece {
        Piece::Literal(text) => Part::Literal(text.clone()),
        Piece::Key(name) => match name.as_str() {
            "timestamp" => Part::Timestamp,
            "nonce" => Part::Nonce,
            "method" => Part::Method,
            "path" => Part::Path,
            "query" => Part::Query,
            "pathAndQuery" => Part::PathAndQuery,
            "host" => Part::Host,
            "body" => Part::Body,
            "bodyHash" => Part::BodyHash,
            "signature" => Part::Signature,
            _ => Part::Key(name.clone()),
        },
    };
    template.0.iter().map(part).collect()
}

/// A part with the value of its key, which is wiped with it.
pub(super) enum ArmedPart {
    Value(Zeroizing<Vec<u8>>),
    Of(Part),
}

/// Puts the values of the keys in; each has to be one that can stand here.
pub(super) fn armed(
    parts: &[Part],
    values: &Values<'_>,
    alphabet: Alphabet,
) -> Result<Vec<ArmedPart>, ArmFault> {
    let arm = |part: &Part| match part.key() {
        None => Ok(ArmedPart::Of(part.clone())),
        Some(name) => {
            let template = Template(vec![Piece::Key(name.to_owned())]);
            render(&template, values, alphabet, plain_into).map(ArmedPart::Value)
        }
    };
    parts.iter().map(arm).collect()
}

/// How `{{timestamp}}` is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Clock {
    Seconds,
    Milliseconds,
    Iso,
}

/// The hash of `{{bodyHash}}`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

/// When a request is signed, and the number that is used for it alone.
pub(super) struct Moment {
    timestamp: String,
    nonce: String,
}

impl Moment {
    pub(super) fn at(now: SystemTime, clock: Clock) -> Result<Self, Refusal> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|_| refuse("there are no random numbers for a nonce"))?;
        let since =
            now.duration_since(UNIX_EPOCH).map_err(|_| refuse("the clock stands before the year 1970"))?;
        let timestamp = match clock {
            Clock::Seconds => since.as_secs().to_string(),
            Clock::Milliseconds => since.as_millis().to_string(),
            Clock::Iso => {
                let format = format_description!(
                    "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
                );
                let text = OffsetDateTime::from(now).format(format);
                text.map_err(|_| refuse("the clock stands where no date is written"))?
            }
        };
        Ok(Self { timestamp, nonce: Coding::Hex.encoded(&random) })
    }
}

/// A request as it will be sent, without its signature.
pub(super) struct Request<'a> {
    method: &'a str,
    path: &'a str,
    query: &'a str,
    path_and_query: &'a str,
    host: &'a str,
    body: Option<&'a Bytes>,
    body_hash: Option<String>,
    moment: &'a Moment,
}

impl<'a> Request<'a> {
    pub(super) fn new(
        out: &'a Outgoing<'_>,
        host: &'a str,
        moment: &'a Moment,
        body_hash: Option<(Hash, Coding)>,
    ) -> Self {
        let hashed = |body: &Bytes, (hash, coding): (Hash, Coding)| {
            let algorithm = match hash {
                Hash::Sha256 => &digest::SHA256,
                Hash::Sha512 => &digest::SHA512,
            };
            coding.encoded(digest::digest(algorithm, body).as_ref())
        };
        let body = out.body();
        let target = &out.head().target;
        Self {
            method: out.head().method.as_str(),
            path: target.path(),
            query: target.query().unwrap_or_default(),
            path_and_query: target.as_str(),
            host,
            body,
            body_hash: body.zip(body_hash).map(|(body, form)| hashed(body, form)),
            moment,
        }
    }

    /// What a part stands for.
    pub(super) fn part<'b>(
        &'b self,
        part: &'b ArmedPart,
        signature: Option<&'b str>,
    ) -> Result<&'b [u8], Refusal> {
        let part = match part {
            ArmedPart::Value(value) => return Ok(value),
            ArmedPart::Of(part) => part,
        };
        let unread = || refuse("the body that is to be signed was not read");
        Ok(match part {
            Part::Literal(text) => text.as_bytes(),
            Part::Timestamp => self.moment.timestamp.as_bytes(),
            Part::Nonce => self.moment.nonce.as_bytes(),
            Part::Method => self.method.as_bytes(),
            Part::Path => self.path.as_bytes(),
            Part::Query => self.query.as_bytes(),
            Part::PathAndQuery => self.path_and_query.as_bytes(),
            Part::Host => self.host.as_bytes(),
            Part::Body => self.body.ok_or_else(unread)?,
            Part::BodyHash => self.body_hash.as_ref().ok_or_else(unread)?.as_bytes(),
            Part::Signature => signature.ok_or_else(|| refuse("a signature signs itself"))?.as_bytes(),
            Part::Key(_) => return Err(refuse("a key of the secret has no value")),
        })
    }

    /// How long these parts are together.
    pub(super) fn length(&self, parts: &[ArmedPart], signature: &str) -> Result<usize, Refusal> {
        parts.iter().try_fold(0, |sum, part| Ok(sum + self.part(part, Some(signature))?.len()))
    }
}
