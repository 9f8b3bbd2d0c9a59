//! An issuer of tokens that verifies what it is shown, and an API that takes only its tokens while they live.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use harness::origin::{Answer, Body, OriginBuilder};
use harness::{Origin, Seen, answer, canary};
use http::Response;

use crate::world::{HOST, OTHER};

/// The token endpoint's host.
pub const LOGIN: &str = "login.example.net";

/// What the issuer knows and does; a test may change it while it runs.
pub struct State {
    pub client_id: String,
    pub client_secret: String,
    /// The one refresh token that is good now.
    pub refresh_token: String,
    /// Who may sign assertions: the public key, and what it has signed.
    pub signer: Option<Vec<u8>>,
    pub assertions: Vec<serde_json::Value>,
    /// A refresh gives another refresh token, and the one before is void.
    pub rotates: bool,
    /// How long a token lives.
    pub life: Duration,
    /// Another answer than a token: status and more headers.
    pub fails: Option<(u16, Vec<(String, String)>)>,
    /// Another body than a token.
    pub says: Option<String>,
    /// How long an answer takes.
    pub takes: Duration,
    /// How long an answer of the API takes.
    pub api_takes: Duration,
    /// Every token that was given out, and its end.
    pub issued: Vec<(String, Instant)>,
    /// Requests whose credential was not good.
    pub refused: usize,
    /// Requests in all.
    pub asked: usize,
    /// Tokens that came to the API after their end, or that it never knew.
    pub wrong_at_api: usize,
}

/// The issuer and the API behind it.
pub struct Issuer {
    pub state: Arc<Mutex<State>>,
    pub login: Origin,
    pub api: Origin,
    /// The same API under another name.
    pub second: Origin,
}

impl Issuer {
    pub async fn start() -> Self {
        Self::with(|builder| builder).await
    }

    /// With a changed token endpoint (a flaw in its certificate).
    pub async fn with(login: impl FnOnce(OriginBuilder) -> OriginBuilder) -> Self {
        let state = Arc::new(Mutex::new(State {
            client_id: "client-of-the-test".to_owned(),
            client_secret: canary::fresh(),
            refresh_token: canary::fresh(),
            signer: None,
            assertions: Vec::new(),
            rotates: false,
            life: Duration::from_secs(3600),
            fails: None,
            says: None,
            takes: Duration::ZERO,
            api_takes: Duration::ZERO,
            issued: Vec::new(),
            refused: 0,
            asked: 0,
            wrong_at_api: 0,
        }));
        let login = login(Origin::builder(&[LOGIN]).answer(issuing(Arc::clone(&state)))).start().await;
        let api = Origin::builder(&[HOST]).answer(taking(Arc::clone(&state))).start().await;
        let second = Origin::builder(&[OTHER]).answer(taking(Arc::clone(&state))).start().await;
        Self { state, login, api, second }
    }

    pub fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    pub fn get<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock().unwrap())
    }

    pub fn asked(&self) -> usize {
        self.get(|state| state.asked)
    }

    /// Every token and refresh token that there was: no agent may see one.
    pub fn secrets(&self) -> Vec<String> {
        self.get(|state| {
            let issued = state.issued.iter().map(|(token, _)| token.clone());
            issued.chain([state.client_secret.clone(), state.refresh_token.clone()]).collect()
        })
    }
}

/// Issues tokens to who shows the right credential.
fn issuing(state: Arc<Mutex<State>>) -> Answer {
    answer::with(move |mut exchange| {
        let state = Arc::clone(&state);
        async move {
            exchange.body().await;
            let (answer, takes) = {
                let mut state = state.lock().unwrap();
                state.asked += 1;
                (answered(&mut state, &exchange.seen), state.takes)
            };
            // It has made up its mind: who goes away meanwhile changes nothing.
            tokio::time::sleep(takes).await;
            answer
        }
    })
}

fn answered(state: &mut State, seen: &Seen) -> Response<Body> {
    if let Some((status, headers)) = &state.fails {
        let mut response = Response::builder().status(*status);
        for (name, value) in headers {
            response = response.header(name, value);
        }
        return response.body(answer::full("{\"error\":\"canary-of-the-issuer\"}")).unwrap();
    }
    if !is_good(state, seen) {
        state.refused += 1;
        return json(401, "{\"error\":\"invalid_client\"}".to_owned());
    }
    if let Some(says) = state.says.clone() {
        return json(200, says);
    }
    let token = canary::fresh();
    state.issued.push((token.clone(), Instant::now() + state.life));
    let mut fields = vec![
        format!("\"access_token\":\"{token}\""),
        "\"token_type\":\"Bearer\"".to_owned(),
        format!("\"expires_in\":{}", state.life.as_secs()),
    ];
    if state.rotates {
        state.refresh_token = canary::fresh();
        fields.push(format!("\"refresh_token\":\"{}\"", state.refresh_token));
    }
    json(200, format!("{{{}}}", fields.join(",")))
}

/// RFC 6749: the client by Basic or in the form, and the grant.
fn is_good(state: &mut State, seen: &Seen) -> bool {
    let form = form(&seen.body);
    let of = |name: &str| form.get(name).map(String::as_str);
    let basic = seen.header("authorization").and_then(|value| value.strip_prefix("Basic "));
    let basic = basic.and_then(|coded| String::from_utf8(STANDARD.decode(coded).ok()?).ok());
    let client = match &basic {
        Some(pair) => pair.split_once(':').map(|(id, secret)| (id.to_owned(), secret.to_owned())),
        None => of("client_id").map(str::to_owned).zip(of("client_secret").map(str::to_owned)),
    };
    let known = client == Some((state.client_id.clone(), state.client_secret.clone()));
    let posted = seen.method == "POST"
        && seen.target == "/oauth/token"
        && seen.authority == LOGIN
        && seen.header("content-type") == Some("application/x-www-form-urlencoded");
    posted
        && match of("grant_type") {
            Some("client_credentials") => known,
            Some("urn:ietf:params:oauth:grant-type:jwt-bearer") => is_signed(state, of("assertion")),
            Some("refresh_token") => known && of("refresh_token") == Some(&state.refresh_token),
            _ => false,
        }
}

/// RFC 7523 with ES256: signed by the known key, for this issuer, now, and never seen before.
fn is_signed(state: &mut State, assertion: Option<&str>) -> bool {
    let (Some(key), Some(assertion)) = (&state.signer, assertion) else { return false };
    let Some((signed, signature)) = assertion.rsplit_once('.') else { return false };
    let (Some((_, claims)), Ok(signature)) = (signed.split_once('.'), URL_SAFE_NO_PAD.decode(signature))
    else {
        return false;
    };
    let known = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key);
    if known.verify(signed.as_bytes(), &signature).is_err() {
        return false;
    }
    let claims: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let good = claims["iss"] == "robot@example.net"
        && claims["sub"] == "robot@example.net"
        && claims["aud"] == format!("https://{LOGIN}/oauth/token")
        && claims["iat"].as_u64().is_some_and(|made| made <= now)
        && claims["exp"].as_u64().is_some_and(|end| now < end && end <= now + 300)
        && !state.assertions.iter().any(|before| before["jti"] == claims["jti"]);
    state.assertions.push(claims);
    good
}

/// The parameters of a form; the tests' values need no decoding beyond `%XX`.
pub fn form(body: &[u8]) -> HashMap<String, String> {
    let text = String::from_utf8_lossy(body);
    let decoded = |text: &str| percent_decoded(text);
    text.split('&').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (decoded(k), decoded(v))).collect()
}

fn percent_decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                let digits = [*high, *low];
                out.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
                rest = after;
            }
            _ => {
                out.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(out).unwrap()
}

fn json(status: u16, body: String) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(answer::full(body))
        .unwrap()
}

/// Takes only tokens that live, and tells everything that it was sent.
fn taking(state: Arc<Mutex<State>>) -> Answer {
    answer::with(move |mut exchange| {
        let state = Arc::clone(&state);
        async move {
            exchange.body().await;
            let takes = state.lock().unwrap().api_takes;
            tokio::time::sleep(takes).await;
            let authorization = exchange.seen.headers_named("authorization").join(",");
            let token = authorization.strip_prefix("Bearer ").unwrap_or_default().to_owned();
            let mut state = state.lock().unwrap();
            let lives = state.issued.iter().any(|(known, end)| *known == token && Instant::now() < *end);
            if !lives {
                state.wrong_at_api += 1;
                return Response::builder().status(401).body(answer::full("no such token")).unwrap();
            }
            // Every form that is looked for in answers.
            let coded = STANDARD.encode(&token);
            let hex: String = token.bytes().map(|b| format!("{b:02x}")).collect();
            let percent: String = token.bytes().map(|b| format!("%{b:02X}")).collect();
            let mut echo = format!("{authorization} {token} {coded} {hex} {percent}");
            if exchange.seen.target == "/recorded" {
                // It kept what it was sent with earlier requests.
                state.issued.iter().for_each(|(earlier, _)| echo.push_str(&format!(" {earlier}")));
            }
            Response::builder().header("x-echo", authorization).body(answer::full(echo)).unwrap()
        }
    })
}
