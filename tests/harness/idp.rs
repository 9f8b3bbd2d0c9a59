//! An issuer of logins (OpenID Connect) on this machine, over real TLS: it verifies PKCE, redirect, client and secret, uses up
//! codes, signs id tokens with keys of its own, and forges them as a test asks it to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::Response;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::canary;
use crate::origin::{Answer, Body, Origin, Seen, answer};

/// What the server is called here.
pub const CLIENT: &str = "doorward-server";

/// How a token is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Signing {
    #[default]
    Rsa,
    P256,
    /// `alg` none and no signature.
    None,
    /// HS256 with the modulus of the RSA key, which everybody knows.
    Shared,
    /// A signature of other bytes.
    Broken,
    /// By a key that the issuer does not show.
    Foreign,
}

/// Changes what is signed.
type Forge = fn(&mut Value, &mut Value);

struct Granted {
    challenge: String,
    redirect: String,
    nonce: String,
}

/// What the issuer knows and does; a test may change it while it runs.
pub struct State {
    codes: HashMap<String, Granted>,
    pub subject: String,
    pub email: Option<String>,
    pub is_verified: bool,
    pub signing: Signing,
    /// Changes header and claims.
    pub forge: Option<Forge>,
    /// The claims as text, in the place of what is made.
    pub text: Option<fn(String) -> String>,
    /// Answers nothing but 500.
    pub is_broken: bool,
    /// The secret that the server has to show.
    pub secret: Option<String>,
    /// How often the keys were read.
    pub looks: usize,
    /// Codes and tokens: nobody but the server may see one.
    pub secrets: Vec<String>,
    pub kid: String,
    rsa: RsaKeyPair,
    foreign: RsaKeyPair,
    p256: EcdsaKeyPair,
}

/// The issuer.
pub struct Idp {
    pub state: Arc<Mutex<State>>,
    origin: Origin,
}

impl Idp {
    pub async fn start() -> Self {
        let rsa = || RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let state = State {
            codes: HashMap::new(),
            subject: "subject-1".to_owned(),
            email: Some("Ann@Example.com".to_owned()),
            is_verified: true,
            signing: Signing::Rsa,
            forge: None,
            text: None,
            is_broken: false,
            secret: None,
            looks: 0,
            secrets: Vec::new(),
            kid: "one".to_owned(),
            rsa: rsa(),
            foreign: rsa(),
            p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
        };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let answer: Answer = answer::made(move |seen| answered(&mut shared.lock().unwrap(), seen));
        Self { state, origin: Origin::builder(&["localhost"]).answer(answer).start().await }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.origin.address().port())
    }

    pub fn set<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    /// A code for somebody who agreed, bound to this login.
    pub fn code(&self, verifier: &str, redirect: &str, nonce: &str) -> String {
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
        self.set(|state| {
            grant(state, Granted { challenge, redirect: redirect.to_owned(), nonce: nonce.to_owned() })
        })
    }
}

fn grant(state: &mut State, granted: Granted) -> String {
    let code = canary::fresh();
    state.secrets.push(code.clone());
    state.codes.insert(code.clone(), granted);
    code
}

fn json(status: u16, body: &Value) -> Response<Body> {
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(answer::full(body.to_string())).unwrap()
}

fn form(text: &[u8]) -> HashMap<String, String> {
    let decoded = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((first, more)) = rest.split_first() {
            rest = more;
            if *first == b'%' {
                bytes.extend(hex::decode(&rest[..2]).unwrap());
                rest = &rest[2..];
            } else {
                bytes.push(if *first == b'+' { b' ' } else { *first });
            }
        }
        String::from_utf8(bytes).unwrap()
    };
    let text = std::str::from_utf8(text).unwrap();
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

fn answered(state: &mut State, seen: &Seen) -> Response<Body> {
    let issuer = format!("https://{}", seen.authority);
    let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
    if state.is_broken {
        return json(500, &json!({}));
    }
    match (seen.method.as_str(), path) {
        ("GET", "/.well-known/openid-configuration") => json(
            200,
            &json!({
                "issuer": issuer,
                "authorization_endpoint": format!("{issuer}/authorize"),
                "token_endpoint": format!("{issuer}/token"),
                "jwks_uri": format!("{issuer}/keys"),
                "code_challenge_methods_supported": ["S256"],
            }),
        ),
        ("GET", "/keys") => {
            state.looks += 1;
            json(200, &keys(state))
        }
        ("GET", "/authorize") => authorize(state, query),
        ("POST", "/token") => token(state, seen, &issuer),
        _ => json(404, &json!({})),
    }
}

/// The page on which the person agrees at once.
fn authorize(state: &mut State, query: &str) -> Response<Body> {
    let given = form(query.as_bytes());
    let of = |name: &str| given.get(name).cloned().unwrap_or_default();
    let good = of("response_type") == "code"
        && of("client_id") == CLIENT
        && of("code_challenge_method") == "S256"
        && of("scope").split(' ').any(|one| one == "openid")
        && of("redirect_uri").starts_with("http://127.0.0.1:")
        && of("state").len() >= 43;
    if !good {
        return json(400, &json!({"error": "invalid_request"}));
    }
    let redirect = of("redirect_uri");
    let granted = Granted { challenge: of("code_challenge"), redirect: redirect.clone(), nonce: of("nonce") };
    let code = grant(state, granted);
    let to = format!("{redirect}?code={code}&state={}", of("state"));
    Response::builder().status(302).header("location", to).body(answer::full("")).unwrap()
}

fn token(state: &mut State, seen: &Seen, issuer: &str) -> Response<Body> {
    let given = form(&seen.body);
    let of = |name: &str| given.get(name).map_or("", String::as_str);
    let is_client = match &state.secret {
        Some(secret) => {
            let basic = STANDARD.encode(format!("{CLIENT}:{secret}"));
            seen.header("authorization") == Some(&format!("Basic {basic}"))
        }
        None => of("client_id") == CLIENT && seen.header("authorization").is_none(),
    };
    if !is_client {
        return json(401, &json!({"error": "invalid_client"}));
    }
    let Some(granted) = state.codes.remove(of("code")) else {
        return json(400, &json!({"error": "invalid_grant"}));
    };
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(of("code_verifier")));
    if of("grant_type") != "authorization_code"
        || challenge != granted.challenge
        || of("redirect_uri") != granted.redirect
    {
        return json(400, &json!({"error": "invalid_grant"}));
    }
    let token = signed(state, issuer, &granted.nonce);
    state.secrets.push(token.clone());
    json(200, &json!({"access_token": "unused", "token_type": "Bearer", "id_token": token}))
}

fn keys(state: &State) -> Value {
    let (n, e) = rsa_numbers(&state.rsa);
    let point = state.p256.public_key().as_ref();
    json!({"keys": [
        {"kty": "RSA", "kid": state.kid, "use": "sig", "alg": "RS256", "n": n, "e": e},
        {"kty": "EC", "kid": state.kid, "crv": "P-256",
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..])},
        {"kty": "oct", "kid": state.kid, "k": n},
    ]})
}

/// Modulus and exponent, from the key's DER (RFC 8017, appendix A.1.1).
fn rsa_numbers(key: &RsaKeyPair) -> (String, String) {
    let der = key.public_key().as_ref().to_vec();
    // SEQUENCE, INTEGER with a leading zero, INTEGER.
    let n = &der[9..9 + 256];
    let e = &der[9 + 256 + 2..];
    (URL_SAFE_NO_PAD.encode(n), URL_SAFE_NO_PAD.encode(e))
}

fn signed(state: &State, issuer: &str, nonce: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let alg = match state.signing {
        Signing::Rsa | Signing::Broken | Signing::Foreign => "RS256",
        Signing::P256 => "ES256",
        Signing::None => "none",
        Signing::Shared => "HS256",
    };
    let mut header = json!({"typ": "JWT", "alg": alg, "kid": state.kid});
    let mut claims = json!({
        "iss": issuer,
        "sub": state.subject,
        "aud": CLIENT,
        "iat": now,
        "exp": now + 300,
        "nonce": nonce,
        "email": state.email,
        "email_verified": state.is_verified,
    });
    if let Some(forge) = state.forge {
        forge(&mut header, &mut claims);
    }
    let mut text = claims.to_string();
    if let Some(other) = state.text {
        text = other(text);
    }
    let head = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(text));
    let rsa = |key: &RsaKeyPair, text: &str| {
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
        signature
    };
    let signature = match state.signing {
        Signing::Rsa => rsa(&state.rsa, &head),
        Signing::Foreign => rsa(&state.foreign, &head),
        Signing::Broken => rsa(&state.rsa, "something else"),
        Signing::P256 => state.p256.sign(&SystemRandom::new(), head.as_bytes()).unwrap().as_ref().to_vec(),
        Signing::None => Vec::new(),
        Signing::Shared => {
            let key = rsa_numbers(&state.rsa).0;
            let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
            mac.update(head.as_bytes());
            mac.finalize().into_bytes().to_vec()
        }
    };
    format!("{head}.{}", URL_SAFE_NO_PAD.encode(signature))
}
