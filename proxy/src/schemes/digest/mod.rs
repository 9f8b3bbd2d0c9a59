//! `digest`: HTTP Digest access authentication (RFC 7616), `qop=auth`, SHA-256; MD5 only where the provider allows it.
//!
//! The password never leaves: what goes out is a hash over it, the upstream's nonce and the request. The first request goes
//! without; its challenge is answered once, by the same request again, and kept for the next ones, which count up its `nc`.
//! Refuses request targets that could not be quoted. Invariant: no answer shows the agent what a password could be guessed
//! with: answers are searched for the hash that was sent as well.

mod challenge;
mod md5;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use control::catalog::{FieldKind, FieldSpec, Fields, Piece, SchemeSpec, Template};
use control::refusal::{Code, Refusal};
use control::target::Target;
use http::header::{AUTHORIZATION, HeaderMap};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::shared::encode::hex;
use super::shared::surface::Surface;
use super::shared::template::{self, Alphabet, plain_into, render, sensitive};
use super::{
    ArmFault, Armed, BodyNeed, BuildError, Challenged, Echo, Head, Outgoing, Rendered, Responder, Scheme,
    Values,
};
use challenge::{Algorithm, Asked, Challenge, asked};

/// For how many targets a challenge is kept.
const KEPT: usize = 64;

const FIELDS: &[FieldSpec] = &[
    FieldSpec {
        name: "username",
        kind: FieldKind::Text,
        required: false,
        default: None,
        doc: "The user name; without it the secret's key `username`.",
    },
    FieldSpec {
        name: "md5",
        kind: FieldKind::Choice(&["refuse", "allow"]),
        required: false,
        default: Some("refuse"),
        doc: "Whether a challenge that offers nothing but MD5 is answered.",
    },
];

/// The scheme as data.
pub(crate) static SPEC: SchemeSpec = SchemeSpec {
    name: "digest",
    auth_types: &["digest"],
    inject_key: Some("digest"),
    summary: "Answers the upstream's Digest challenge (RFC 7616). Bodies are read whole, up to the buffered limit, so that the request can be sent again with the answer.",
    auth_fields: FIELDS,
    inject_fields: FIELDS,
    default_keys: &["password", "token"],
};

pub(super) fn build(fields: &Fields) -> Result<Box<dyn Scheme>, BuildError> {
    let user = template::field(fields, "username")?
        .unwrap_or_else(|| Template(vec![Piece::Key("username".to_owned())]));
    let least = match fields.text("md5") {
        None | Some("refuse") => Algorithm::Sha256,
        Some("allow") => Algorithm::Md5,
        Some(_) => return Err(BuildError::Invalid { field: "md5", why: "is neither `refuse` nor `allow`" }),
    };
    Ok(Box::new(Digest { surface: Surface::Header(AUTHORIZATION), user, least }))
}

#[derive(Debug)]
struct Digest {
    surface: Surface,
    user: Template,
    /// The weakest hash that is answered with.
    least: Algorithm,
}

impl Scheme for Digest {
    fn surface(&self) -> &Surface {
        &self.surface
    }

    fn judge(&self, _target: &Target, head: &Head) -> Result<BodyNeed, Refusal> {
        // It stands between quotes in what is sent.
        if head.target.as_str().contains(['"', '\\']) {
            let detail = "the request target holds a quote or a backslash, which Digest cannot carry";
            return Err(Refusal::new(Code::Dw2008, detail));
        }
        Ok(BodyNeed::Whole)
    }

    fn arm(&self, values: &Values<'_>) -> Result<Rendered, ArmFault> {
        let user = render(&self.user, values, Alphabet::User, plain_into)?;
        if user.iter().any(|b| matches!(b, b'"' | b'\\' | 0x80..)) {
            return Err(ArmFault::Character { key: "username".to_owned() });
        }
        let password = template::prefixed("");
        // For what it refuses; the password itself is never sent, and who found it masked in an answer had guessed it.
        drop(template::echoes(&password, values)?);
        let password = render(&password, values, Alphabet::Text, plain_into)?;
        // Every answer is searched, for the hash once one was sent; until then for what nobody can send.
        let mut nothing = [0; 32];
        getrandom::fill(&mut nothing).map_err(|_| ArmFault::Unfit {
            key: "password".to_owned(),
            why: "cannot be used without random numbers".to_owned(),
        })?;
        let echoes = vec![echo(&nothing)];
        let keeper = Keeper { user, password, least: self.least, kept: Mutex::default() };
        Ok(Rendered { armed: Box::new(ArmedDigest(Arc::new(keeper))), echoes })
    }
}

#[derive(Debug)]
struct ArmedDigest(Arc<Keeper>);

impl Armed for ArmedDigest {
    fn place(&self, out: &mut Outgoing<'_>) -> Result<(), Refusal> {
        out.remove_header(&AUTHORIZATION);
        let errand = out.errand().ok_or_else(|| refuse("Digest needs to know where the request goes"))?;
        if let Some((challenge, count)) = self.0.next(errand.target) {
            let Challenged { value, echoes } = self.0.answer(&challenge, count, out.head())?;
            out.set_header(&AUTHORIZATION, value)?;
            out.search_for(echoes);
        }
        let responder: Arc<dyn Responder> = Arc::<Keeper>::clone(&self.0);
        out.answer_challenges(responder);
        Ok(())
    }
}

/// The credential, and the challenges that it answered last, by target.
struct Keeper {
    user: Zeroizing<Vec<u8>>,
    password: Zeroizing<Vec<u8>>,
    least: Algorithm,
    kept: Mutex<HashMap<Target, (Arc<Challenge>, u32)>>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("least", &self.least).finish_non_exhaustive()
    }
}

impl Responder for Keeper {
    fn respond(
        &self,
        headers: &HeaderMap,
        target: &Target,
        head: &Head,
    ) -> Result<Option<Challenged>, Refusal> {
        let challenge = match asked(headers) {
            Asked::Nothing => return Ok(None),
            Asked::Digest(challenge) if challenge.algorithm >= self.least => Arc::new(challenge),
            Asked::Digest(_) => {
                return Err(rejected(
                    "the upstream's Digest challenge offers nothing but MD5, which the provider does not allow (`md5: allow`)",
                ));
            }
            Asked::Unknown => {
                return Err(rejected(
                    "the upstream's Digest challenge offers neither SHA-256 nor MD5 with `qop=auth`, or cannot be read",
                ));
            }
        };
        let mut kept = self.kept.lock();
        if kept.len() >= KEPT && !kept.contains_key(target) {
            kept.clear();
        }
        kept.insert(target.clone(), (Arc::clone(&challenge), 1));
        drop(kept);
        self.answer(&challenge, 1, head).map(Some)
    }
}

impl Keeper {
    /// The challenge that is answered without being asked, and how often it was.
    fn next(&self, target: &Target) -> Option<(Arc<Challenge>, u32)> {
        let mut kept = self.kept.lock();
        let (challenge, count) = kept.get_mut(target)?;
        *count = count.checked_add(1)?;
        Some((Arc::clone(challenge), *count))
    }

    fn answer(&self, challenge: &Challenge, count: u32, head: &Head) -> Result<Challenged, Refusal> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|_| refuse("there are no random numbers for Digest"))?;
        self.answer_with(challenge, count, head, &hex(&random))
    }

    /// RFC 7616 section 3.4.1.
    fn answer_with(
        &self,
        challenge: &Challenge,
        count: u32,
        head: &Head,
        cnonce: &str,
    ) -> Result<Challenged, Refusal> {
        let Challenge { realm, nonce, opaque, algorithm, userhash } = challenge;
        let (uri, method, count) = (head.target.as_str(), head.method.as_str(), format!("{count:08x}"));
        let of = |parts: &[&[u8]]| Zeroizing::new(algorithm.hex(&joined(parts)));
        let first = of(&[&self.user, realm.as_bytes(), &self.password]);
        let second = of(&[method.as_bytes(), uri.as_bytes()]);
        let texts = [first.as_str(), nonce, &count, cnonce, "auth", &second];
        let response = of(&texts.map(str::as_bytes));
        let user = match userhash {
            true => Zeroizing::new(algorithm.hex(&joined(&[&self.user, realm.as_bytes()])).into_bytes()),
            false => self.user.clone(),
        };
        let user = std::str::from_utf8(&user).map_err(|_| refuse("the user name is not UTF-8"))?;
        let name = algorithm.name();
        let mut value = format!(
            "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", algorithm={name}, response=\"{}\", qop=auth, nc={count}, cnonce=\"{cnonce}\"",
            *response
        );
        if let Some(opaque) = opaque {
            value.push_str(&format!(", opaque=\"{opaque}\""));
        }
        if *userhash {
            value.push_str(", userhash=true");
        }
        let value = sensitive(Zeroizing::new(value.into_bytes()));
        Ok(Challenged {
            value: value.map_err(|_| refuse("the answer to the challenge cannot be sent"))?,
            echoes: vec![echo(response.as_bytes())],
        })
    }
}

fn echo(value: &[u8]) -> Echo {
    Echo { value: Zeroizing::new(value.to_vec()), public_prefix: 0, basic_users: Vec::new() }
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    fn hex(self, bytes: &[u8]) -> String {
        match self {
            Self::Md5 => hex(&md5::md5(bytes)),
            Self::Sha256 => hex(digest(&SHA256, bytes).as_ref()),
        }
    }
}

/// With colons between.
fn joined(parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let room = parts.iter().map(|part| part.len() + 1).sum();
    let mut out = Zeroizing::new(Vec::with_capacity(room));
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            out.push(b':');
        }
        out.extend_from_slice(part);
    }
    out
}

fn refuse(detail: &'static str) -> Refusal {
    Refusal::new(Code::Dw1004, detail)
}

/// An answer of ours in place of the upstream's 401, which would not say why.
fn rejected(detail: &'static str) -> Refusal {
    Refusal::new(Code::Dw1006, detail).with_status(502)
}

#[cfg(test)]
mod tests {
    use http::header::WWW_AUTHENTICATE;

    use super::super::conformance::{DUMMY, opened, request};
    use super::super::{Bounds, Errand, Placed, build};
    use super::*;

    const RFC: &[(&str, &str)] = &[("username", "Mufasa"), ("password", "Circle of Life")];

    fn challenge(algorithm: Algorithm) -> Challenge {
        Challenge {
            realm: "http-auth@example.org".into(),
            nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v".into(),
            opaque: Some("FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS".into()),
            algorithm,
            userhash: false,
        }
    }

    fn keeper(least: Algorithm) -> Keeper {
        let value = |text: &str| Zeroizing::new(text.as_bytes().to_vec());
        Keeper { user: value(RFC[0].1), password: value(RFC[1].1), least, kept: Mutex::default() }
    }

    fn target() -> Target {
        Target::parse_authority("www.example.org:443").unwrap()
    }

    fn asking(text: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, text.parse().unwrap());
        headers
    }

    #[test]
    fn the_examples_of_rfc_7616_section_3_9_1() {
        for (algorithm, response) in [
            (Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
            (Algorithm::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
            let head = request("GET /dir/index.html");
            let answer = keeper(algorithm).answer_with(&challenge(algorithm), 1, &head, cnonce).unwrap();
            let wanted = format!(
                "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", uri=\"/dir/index.html\", algorithm={}, response=\"{response}\", qop=auth, nc=00000001, cnonce=\"{cnonce}\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"",
                algorithm.name()
            );
            assert_eq!(answer.value.to_str().unwrap(), wanted);
            assert!(answer.value.is_sensitive());
            let echoes: Vec<_> = answer.echoes.iter().map(|echo| echo.value.as_slice()).collect();
            assert_eq!(echoes, [response.as_bytes()]);
        }
    }

    #[test]
    fn no_answer_is_searched_for_the_password_which_is_never_sent() {
        let scheme = build("digest", &Fields::default()).unwrap();
        let opened = opened(&[("username", "Mufasa"), ("password", "Circle of Life")]);
        let keys = ["password".to_owned()];
        let rendered = scheme.arm(&Values::new(&opened, &keys)).unwrap();
        let echoes: Vec<_> = rendered.echoes.iter().map(|echo| echo.value.as_slice()).collect();
        assert!(!echoes.is_empty() && !echoes.contains(&&b"Circle of Life"[..]));
    }

    #[test]
    fn a_user_that_is_asked_for_as_a_hash_is_not_named() {
        let challenge = Challenge { userhash: true, ..challenge(Algorithm::Sha256) };
        let answer = keeper(Algorithm::Sha256).answer(&challenge, 1, &request("GET /")).unwrap();
        let value = answer.value.to_str().unwrap();
        assert!(!value.contains("Mufasa") && value.ends_with("userhash=true"), "{value}");
    }

    #[test]
    fn refuses_md5_where_it_is_not_allowed_and_what_is_not_known() {
        let head = request("GET /");
        let md5 = asking("Digest realm=\"r\", nonce=\"n\", qop=auth");
        let other = asking("Digest realm=\"r\", nonce=\"n\", qop=auth-int");
        let respond = |least, headers: &HeaderMap| keeper(least).respond(headers, &target(), &head);
        let refusal = respond(Algorithm::Sha256, &md5).unwrap_err();
        assert_eq!((refusal.code, refusal.status), (Code::Dw1006, 502));
        assert!(respond(Algorithm::Md5, &md5).unwrap().is_some());
        assert_eq!(respond(Algorithm::Md5, &other).unwrap_err().code, Code::Dw1006);
        assert!(respond(Algorithm::Md5, &asking("Basic realm=\"r\"")).unwrap().is_none());
    }

    #[test]
    fn refuses_a_target_that_would_end_the_quotes() {
        let scheme = build("digest", &Fields::default()).unwrap();
        for path in ["/a\"b", "/?\\"] {
            let refusal = scheme.judge(&target(), &request(&format!("GET {path}"))).unwrap_err();
            assert_eq!(refusal.code, Code::Dw2008, "{path}");
        }
        assert_eq!(scheme.judge(&target(), &request("GET /?a=b")).unwrap(), BodyNeed::Whole);
    }

    #[test]
    fn refuses_a_user_that_would_end_the_quotes_and_a_short_password() {
        let scheme = build("digest", &Fields::default()).unwrap();
        let arm = |values: &[(&str, &str)]| {
            let keys = ["password".to_owned()];
            scheme.arm(&Values::new(&opened(values), &keys)).unwrap_err()
        };
        for user in ["a\"b", "a\\b", "a:b", "\u{e4}"] {
            let fault = arm(&[("username", user), ("password", "12345678")]);
            assert_eq!(fault, ArmFault::Character { key: "username".into() }, "{user}");
        }
        let fault = arm(&[("username", "a"), ("password", "1234567")]);
        assert_eq!(fault, ArmFault::Short { key: "token".into() });
    }

    #[test]
    fn a_kept_challenge_is_counted_up_and_only_for_its_target() {
        let scheme = build("digest", &Fields::default()).unwrap();
        let rendered = scheme.arm(&Values::new(&opened(RFC), &["password".to_owned()])).unwrap();
        assert!(!format!("{rendered:?}{scheme:?}").contains("Circle"));
        let place = |authority: &str| {
            let mut head = request("GET /\nauthorization: Digest own");
            let target = Target::parse_authority(authority).unwrap();
            let (dummies, bounds) = ([DUMMY.to_owned()], Bounds::default());
            let errand = Errand { target: &target, default_port: 443, now: std::time::SystemTime::now };
            let mut out = Outgoing::new(&mut head, &dummies, &bounds, None).towards(Some(errand));
            rendered.armed.place(&mut out).unwrap();
            let Placed { responder, .. } = out.placed().unwrap();
            let sent = head.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
            (sent, responder.unwrap())
        };
        let (first, responder) = place("www.example.org:443");
        assert_eq!(first, None);
        let headers = asking("Digest realm=\"r\", nonce=\"n\", qop=auth, algorithm=SHA-256");
        let answer = responder.respond(&headers, &target(), &request("GET /")).unwrap().unwrap();
        assert!(answer.value.to_str().unwrap().contains("nc=00000001"));
        let sent = place("www.example.org:443").0.unwrap();
        assert!(sent.contains("nc=00000002"), "{sent}");
        let (sent, cnonce) = (place("www.example.org:443").0.unwrap(), sent);
        assert!(sent.contains("nc=00000003"), "{sent}");
        assert_ne!(sent.split("cnonce=").nth(1), cnonce.split("cnonce=").nth(1));
        assert_eq!(place("www.example.org:8443").0, None);
    }
}
