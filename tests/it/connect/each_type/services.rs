//! Services that look at the credential itself: in its place, in what it signed, or where it is exchanged for a token.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use harness::{Seen, answer, canary};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::Response;
use sha2::{Digest as _, Sha256};

use crate::issuer::form;

/// What a credential is made of.
#[derive(Clone, Copy)]
pub(super) enum Value {
    /// Any text.
    Canary,
    /// As BotFather gives it.
    BotToken,
    /// A PEM text.
    RsaKey,
    /// Google's, of a service account.
    KeyFile,
    /// Google's, of a federated identity; the subject token itself lies in a file.
    SubjectToken,
}

/// A credential.
#[derive(Clone)]
pub(super) struct Credential {
    /// The value that is stored.
    pub(super) stored: String,
    /// What its service is shown, where that is a text.
    pub(super) shown: String,
    /// What its signatures are verified with.
    public: Vec<u8>,
}

impl Value {
    /// One that there never was.
    pub(super) fn fresh(self) -> Credential {
        let text = canary::fresh();
        let (pem, public) = match self {
            Self::RsaKey | Self::KeyFile => rsa(),
            _ => Default::default(),
        };
        let (stored, shown) = match self {
            Self::Canary => (text.clone(), text),
            Self::BotToken => {
                let token = format!("123456789:AA{}", &text[7..40]);
                (token.clone(), token)
            }
            Self::RsaKey => (pem, String::new()),
            Self::KeyFile => (key_file(&pem), String::new()),
            Self::SubjectToken => (FEDERATED.to_owned(), text),
        };
        Credential { stored, shown, public }
    }
}

impl Credential {
    /// Whether a text holds it.
    pub(super) fn is_in(&self, text: &str) -> bool {
        let holds = |part: &str| !part.is_empty() && text.contains(part);
        holds(&self.stored) || holds(&self.shown)
    }

    /// The claims of a token that its key signed.
    fn signed(&self, token: &str) -> Option<serde_json::Value> {
        let (text, signature) = token.rsplit_once('.')?;
        let known = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.public);
        known.verify(text.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text.split('.').nth(1)?).ok()?).ok()
    }
}

fn rsa() -> (String, Vec<u8>) {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'static> = pair.as_der().unwrap();
    let coded = STANDARD.encode(der.as_ref());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{coded}\n-----END PRIVATE KEY-----\n");
    (pem, pair.public_key().as_ref().to_vec())
}

fn key_file(pem: &str) -> String {
    serde_json::json!({
        "type": "service_account",
        "private_key": pem,
        "client_email": "bot@p.iam.gserviceaccount.com",
    })
    .to_string()
}

const FEDERATED: &str = r#"{"type": "external_account", "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool-1/providers/k8s", "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": "https://sts.googleapis.com/v1/token", "credential_source": {"file": "/var/run/tokens/gcp"}}"#;

/// What an issuer says of a request.
pub(super) enum Told {
    /// It is none for the issuer.
    NotAsked,
    No,
    Yes(u16, &'static str),
}

/// Where a service looks for the credential; `@` is what it is shown.
#[derive(Clone, Copy)]
pub(super) enum On {
    /// Exactly this one value of this header.
    Header(&'static str, &'static str),
    /// Basic credentials of this user.
    Basic(&'static str),
    Path(&'static str),
    /// A signature (SigV4) with the key of this id.
    Signed(&'static str),
    /// It is exchanged at this host; the service takes the token.
    Issued(&'static str, fn(&Seen, &Credential) -> Told),
}

const ISSUED: &str = "issued-c4nary-of-the-service";
const OAUTH: &str =
    r#"{"access_token": "issued-c4nary-of-the-service", "token_type": "Bearer", "expires_in": 3600}"#;

impl On {
    /// The host of the issuer, if there is one.
    pub(super) fn issuer(self) -> Option<&'static str> {
        match self {
            Self::Issued(host, _) => Some(host),
            _ => None,
        }
    }

    /// A service that takes this credential and no other.
    pub(super) fn service(self, right: Credential) -> answer::Answer {
        let json = |status: u16, body: &'static str| {
            let response = Response::builder().status(status).header("content-type", "application/json");
            response.body(answer::full(body)).unwrap()
        };
        answer::made(move |seen: &Seen| match self.asked(seen, &right) {
            Told::Yes(status, body) => json(status, body),
            Told::No => json(401, r#"{"error": "invalid_client"}"#),
            Told::NotAsked if self.takes(seen, &right) => {
                json(200, r#"{"ok": true, "jsonrpc": "2.0", "id": 1, "result": {}}"#)
            }
            Told::NotAsked => json(401, r#"{"ok": false}"#),
        })
    }

    fn asked(self, seen: &Seen, right: &Credential) -> Told {
        match self {
            Self::Issued(host, issues) if seen.authority == host => issues(seen, right),
            _ => Told::NotAsked,
        }
    }

    fn takes(self, seen: &Seen, right: &Credential) -> bool {
        let filled = |text: &str| text.replace('@', &right.shown);
        match self {
            Self::Header(name, template) => seen.headers_named(name) == [filled(template)],
            Self::Basic(user) => is_basic(seen, user, &right.shown),
            Self::Path(template) => seen.target == filled(template),
            Self::Signed(id) => is_signed(seen, id, &right.shown).unwrap_or_default(),
            Self::Issued(..) => seen.headers_named("authorization") == [format!("Bearer {ISSUED}")],
        }
    }
}

fn is_basic(seen: &Seen, user: &str, password: &str) -> bool {
    seen.headers_named("authorization")
        == [format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))]
}

fn told(is_good: bool, status: u16, body: &'static str) -> Told {
    if is_good { Told::Yes(status, body) } else { Told::No }
}

/// GitHub: an app that signed as itself gets the token of its installation.
pub(super) fn installation(seen: &Seen, right: &Credential) -> Told {
    if seen.target != "/app/installations/456/access_tokens" {
        return Told::NotAsked;
    }
    let token = seen.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let claims = token.and_then(|token| right.signed(token));
    let is_good = seen.method == "POST" && claims.is_some_and(|claims| claims["iss"] == "123");
    told(is_good, 201, r#"{"token": "issued-c4nary-of-the-service", "expires_at": "2099-01-01T00:00:00Z"}"#)
}

/// A registry's own token service.
pub(super) fn registry(seen: &Seen, right: &Credential) -> Told {
    if !seen.target.starts_with("/token?") {
        return Told::NotAsked;
    }
    let body = r#"{"token": "issued-c4nary-of-the-service", "expires_in": 300}"#;
    told(is_basic(seen, "acme", &right.shown), 200, body)
}

/// Google's token endpoint.
pub(super) fn google(seen: &Seen, right: &Credential) -> Told {
    let claims = form(&seen.body).get("assertion").and_then(|assertion| right.signed(assertion));
    let is_bot = claims.is_some_and(|claims| claims["iss"] == "bot@p.iam.gserviceaccount.com");
    told(seen.target == "/token" && is_bot, 200, OAUTH)
}

/// Google's Security Token Service.
pub(super) fn federation(seen: &Seen, right: &Credential) -> Told {
    let is_good = form(&seen.body).get("subject_token") == Some(&right.shown);
    told(seen.target == "/v1/token" && is_good, 200, OAUTH)
}

/// Azure's login.
pub(super) fn client(seen: &Seen, right: &Credential) -> Told {
    let is_good = form(&seen.body).get("client_secret") == Some(&right.shown);
    told(seen.target == "/72f988bf-86f1-41af-91ab-2d7cd011db47/oauth2/v2.0/token" && is_good, 200, OAUTH)
}

/// Whether a request without a body is signed by AWS' rules for all services but S3.
fn is_signed(seen: &Seen, id: &str, secret: &str) -> Option<bool> {
    let text = seen.header("authorization")?.strip_prefix(&format!("AWS4-HMAC-SHA256 Credential={id}/"))?;
    let (scope, rest) = text.split_once(", SignedHeaders=")?;
    let (names, signature) = rest.split_once(", Signature=")?;
    let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
    let mut canonical = format!("{}\n{path}\n{query}\n", seen.method);
    for name in names.split(';') {
        let value = if name == "host" { seen.authority.as_str() } else { seen.header(name)? };
        canonical.push_str(&format!("{name}:{}\n", value.trim()));
    }
    let hash = hex::encode(Sha256::digest(b""));
    let hash = seen.header("x-amz-content-sha256").unwrap_or(&hash);
    canonical.push_str(&format!("\n{names}\n{hash}"));
    let digest = hex::encode(Sha256::digest(canonical.as_bytes()));
    let to_sign = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{digest}", seen.header("x-amz-date")?);
    let key = scope.split('/').fold(format!("AWS4{secret}").into_bytes(), |key, part| mac(&key, part));
    Some(hex::encode(mac(&key, &to_sign)) == signature)
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}
