//! `digest`: HTTP Digest access authentication (RFC 7616), `qop=auth`, SHA-256; MD5 only where the provider allows it.
//!
//! The password never leaves: what goes out is a hash over it, the upstream's nonce and the request. The first request goes
//! without; its challenge is answered once, by the same request again, and kept for the next ones, which count up its `nc`.
//! What is kept, in memory and for one version of the secret, is [`keeper`]'s: user, password, the last challenge of each
//! agent and target with its count, and the hashes that were sent last. Refuses request targets that could not be quoted,
//! challenges of another realm than the configured one, and those that another host made. Invariant: no answer shows the
//! agent what a password could be guessed with: answers are searched for the hashes that were sent as well.

mod challenge;
mod keeper;
mod md5;

use std::sync::Arc;

use control::catalog::{FieldKind, FieldSpec, Fields, Piece, SchemeSpec, Template};
use control::refusal::{Code, Refusal};
use control::target::Target;
use http::header::AUTHORIZATION;
use zeroize::Zeroizing;

use super::shared::surface::Surface;
use super::shared::template::{self, Alphabet, plain_into, render};
use super::{
    ArmFault, Armed, BodyNeed, BuildError, Echo, Head, Outgoing, Rendered, Responder, Scheme, Values,
};
use challenge::Algorithm;
use keeper::Keeper;

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
    FieldSpec {
        name: "realm",
        kind: FieldKind::Text,
        required: false,
        default: None,
        doc: "The realm of the upstream; a challenge of another one is not answered.",
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
    let realm = fields.text("realm").map(str::to_owned);
    Ok(Box::new(Digest { surface: Surface::Header(AUTHORIZATION), user, least, realm }))
}

#[derive(Debug)]
struct Digest {
    surface: Surface,
    user: Template,
    /// The weakest hash that is answered with.
    least: Algorithm,
    /// The only realm that is answered to.
    realm: Option<String>,
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
        // Every answer is searched, for the hashes once one was sent; until then for what nobody can send.
        let mut nothing = [0; 32];
        getrandom::fill(&mut nothing).map_err(|_| ArmFault::Unfit {
            key: "password".to_owned(),
            why: "cannot be used without random numbers".to_owned(),
        })?;
        let echoes = vec![echo(&nothing)];
        let keeper = Keeper::new(user, password, self.least, self.realm.clone());
        Ok(Rendered { armed: Box::new(ArmedDigest(Arc::new(keeper))), echoes })
    }
}

#[derive(Debug)]
struct ArmedDigest(Arc<Keeper>);

impl Armed for ArmedDigest {
    fn place(&self, out: &mut Outgoing<'_>) -> Result<(), Refusal> {
        out.remove_header(&AUTHORIZATION);
        let errand = out.errand().ok_or_else(|| refuse("Digest needs to know where the request goes"))?;
        if let Some((challenge, count)) = self.0.next(errand.agent, errand.target) {
            let value = self.0.answer(&challenge, count, out.head())?;
            out.set_header(&AUTHORIZATION, value)?;
        }
        out.search_for(self.0.sent());
        let responder: Arc<dyn Responder> = Arc::<Keeper>::clone(&self.0);
        out.answer_challenges(responder);
        Ok(())
    }
}

fn echo(value: &[u8]) -> Echo {
    Echo { value: Zeroizing::new(value.to_vec()), public_prefix: 0, basic_users: Vec::new() }
}

fn refuse(detail: &'static str) -> Refusal {
    Refusal::new(Code::Dw1004, detail)
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderMap, WWW_AUTHENTICATE};

    use super::super::conformance::{DUMMY, opened, request};
    use super::super::{Bounds, Errand, Placed, build};
    use super::*;

    const RFC: &[(&str, &str)] = &[("username", "Mufasa"), ("password", "Circle of Life")];

    fn target() -> Target {
        Target::parse_authority("www.example.org:443").unwrap()
    }

    fn asking(text: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, text.parse().unwrap());
        headers
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
            let now = std::time::SystemTime::now;
            let errand = Errand { agent: "a", target: &target, default_port: 443, now };
            let mut out = Outgoing::new(&mut head, &dummies, &bounds, None).towards(Some(errand));
            rendered.armed.place(&mut out).unwrap();
            let Placed { responder, .. } = out.placed().unwrap();
            let sent = head.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
            (sent, responder.unwrap())
        };
        let (first, responder) = place("www.example.org:443");
        assert_eq!(first, None);
        let headers = asking("Digest realm=\"r\", nonce=\"n\", qop=auth, algorithm=SHA-256");
        let answer = responder.respond(&headers, "a", &target(), &request("GET /")).unwrap().unwrap();
        assert!(answer.value.to_str().unwrap().contains("nc=00000001"));
        let sent = place("www.example.org:443").0.unwrap();
        assert!(sent.contains("nc=00000002"), "{sent}");
        let (sent, cnonce) = (place("www.example.org:443").0.unwrap(), sent);
        assert!(sent.contains("nc=00000003"), "{sent}");
        assert_ne!(sent.split("cnonce=").nth(1), cnonce.split("cnonce=").nth(1));
        assert_eq!(place("www.example.org:8443").0, None);
    }
}
