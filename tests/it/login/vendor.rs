//! The vendors of logins under their own names: an authorization server that verifies PKCE, redirect and client, uses up
//! codes and refresh tokens, and an API that takes only its tokens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use harness::origin::{Answer, Body};
use harness::{Origin, Seen, answer, canary};
use http::Response;
use sha2::{Digest as _, Sha256};

use crate::issuer::form;

pub const OPENAI: [&str; 2] = ["auth.openai.com", "chatgpt.com"];
pub const ANTHROPIC: [&str; 4] =
    ["claude.ai", "platform.claude.com", "console.anthropic.com", "api.anthropic.com"];
pub const ANY: [&str; 2] = ["login.example.com", "api.example.com"];

/// A code that was given, and what it is bound to.
struct Granted {
    challenge: String,
    redirect: String,
    client: String,
    state: String,
}

/// What the vendor knows and does; a test may change it while it runs.
#[derive(Default)]
pub struct State {
    codes: HashMap<String, Granted>,
    /// Codes, verifiers and tokens: nobody but doorward may see one.
    pub secrets: Vec<String>,
    pub refresh_token: String,
    pub issued: Vec<(String, Instant)>,
    pub account: String,
    /// How long a token lives.
    pub life: Duration,
    /// Another answer of the token endpoint: status and body.
    pub fails: Option<(u16, String)>,
    /// A field that the token endpoint's answer lacks.
    pub lacks: Option<&'static str>,
    /// The page says no.
    pub denies: bool,
    /// What is answered to questions about a typed code, one after the other; then it was typed.
    pub typed: Vec<(u16, &'static str)>,
    /// How long the token endpoint thinks.
    pub slow: Duration,
    /// Exchanges that were good, by grant.
    pub granted: Vec<String>,
    /// Requests to the token endpoint that were not.
    pub refused: usize,
}

pub struct Vendor {
    pub state: Arc<Mutex<State>>,
    pub origin: Origin,
}

impl Vendor {
    pub async fn start(hosts: &[&str]) -> Self {
        let account = format!("acc0-{}", &canary::fresh()[..16]);
        let state = State { account, life: Duration::from_secs(3600), ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let answer: Answer = answer::made(move |seen| {
            let slow = shared.lock().unwrap().slow;
            if seen.target.ends_with("/oauth/token") {
                std::thread::sleep(slow);
            }
            answered(&mut shared.lock().unwrap(), seen)
        });
        Self { state, origin: Origin::builder(hosts).answer(answer).start().await }
    }

    pub fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    pub fn get<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock().unwrap())
    }

    pub fn secrets(&self) -> Vec<String> {
        self.get(|state| state.secrets.clone())
    }
}

fn answered(state: &mut State, seen: &Seen) -> Response<Body> {
    let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
    match (seen.method.as_str(), path) {
        ("GET", "/oauth/authorize") => authorize(state, query),
        ("POST", "/oauth/token" | "/v1/oauth/token") => token(state, seen),
        ("POST", "/api/accounts/deviceauth/usercode") => json(
            200,
            r#"{"device_auth_id":"the-device-login","user_code":"WDJB-MJHTX","interval":"1"}"#.to_owned(),
        ),
        ("POST", "/api/accounts/deviceauth/token") => typed(state, seen),
        ("POST", "/oauth/device") => json(
            200,
            r#"{"device_code":"the-device-login","user_code":"WDJB-MJHTX","verification_uri":"https://login.example.com/device","expires_in":600,"interval":1}"#
                .to_owned(),
        ),
        _ => api(state, seen),
    }
}

/// The page on which the person agrees at once.
fn authorize(state: &mut State, query: &str) -> Response<Body> {
    let given = form(query.as_bytes());
    let of = |name: &str| given.get(name).map_or("", String::as_str);
    let redirect = of("redirect_uri").to_owned();
    let shows = redirect == "https://platform.claude.com/oauth/code/callback";
    let local = ["http://localhost:", "http://127.0.0.1:"].iter().any(|start| redirect.starts_with(start));
    let good = of("response_type") == "code"
        && of("code_challenge_method") == "S256"
        && of("code_challenge").len() == 43
        && of("state").len() >= 43
        && !of("scope").is_empty()
        && (shows || local);
    if !good {
        return json(400, format!("{{\"error\":\"invalid_request\",\"of\":{query:?}}}"));
    }
    let back = if state.denies {
        format!("error=access_denied&error_description=no&state={}", of("state"))
    } else {
        let code = canary::fresh();
        state.secrets.push(code.clone());
        let granted = Granted {
            challenge: of("code_challenge").to_owned(),
            redirect: redirect.clone(),
            client: of("client_id").to_owned(),
            state: of("state").to_owned(),
        };
        state.codes.insert(code.clone(), granted);
        if shows {
            return Response::new(answer::full(format!("{code}#{}", of("state"))));
        }
        format!("code={code}&state={}", of("state"))
    };
    let response = Response::builder().status(302).header("location", format!("{redirect}?{back}"));
    response.body(answer::full("")).unwrap()
}

/// A form or a JSON object.
fn fields(seen: &Seen) -> HashMap<String, String> {
    match seen.header("content-type") {
        Some("application/json") => {
            let object: HashMap<String, serde_json::Value> =
                serde_json::from_slice(&seen.body).unwrap_or_default();
            object.into_iter().map(|(name, value)| (name, value.as_str().unwrap_or("").to_owned())).collect()
        }
        _ => form(&seen.body),
    }
}

fn token(state: &mut State, seen: &Seen) -> Response<Body> {
    let given = fields(seen);
    let of = |name: &str| given.get(name).map_or("", String::as_str);
    if let Some((status, body)) = state.fails.clone() {
        return json(status, body);
    }
    let grant = of("grant_type").to_owned();
    let wants_state = seen.authority == "platform.claude.com";
    let good = match grant.as_str() {
        "authorization_code" => match state.codes.remove(of("code")) {
            Some(granted) => {
                state.secrets.push(of("code_verifier").to_owned());
                URL_SAFE_NO_PAD.encode(Sha256::digest(of("code_verifier"))) == granted.challenge
                    && of("redirect_uri") == granted.redirect
                    && of("client_id") == granted.client
                    && (!wants_state || of("state") == granted.state)
            }
            None => false,
        },
        "refresh_token" => of("refresh_token") == state.refresh_token,
        "urn:ietf:params:oauth:grant-type:device_code" => match typing(state) {
            None => of("device_code") == "the-device-login",
            Some(not_yet) => return not_yet,
        },
        _ => false,
    };
    // As each vendor wants it, every time.
    let (client, is_json) = match seen.authority.as_str() {
        "platform.claude.com" => ("9d1c250a-e61b-44d9-88ed-5944d1962f5e", true),
        "auth.openai.com" => ("app_EMoamEEZ73f0CkXaXp7hrann", grant == "refresh_token"),
        _ => ("the-client", false),
    };
    let kind = if is_json { "application/json" } else { "application/x-www-form-urlencoded" };
    let good = good && of("client_id") == client && seen.header("content-type") == Some(kind);
    if !good {
        state.refused += 1;
        return json(400, r#"{"error":"invalid_grant","error_description":"c4nary-words"}"#.to_owned());
    }
    state.granted.push(grant);
    issue(state)
}

fn issue(state: &mut State) -> Response<Body> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + state.life;
    let part = |text: String| URL_SAFE_NO_PAD.encode(text);
    let token = format!(
        "{}.{}.{}",
        part("{\"alg\":\"RS256\"}".to_owned()),
        part(format!("{{\"exp\":{}}}", seconds.as_secs())),
        canary::fresh()
    );
    let id_token = format!(
        "{}.{}.{}",
        part("{\"alg\":\"RS256\"}".to_owned()),
        part(format!(
            "{{\"email\":\"codex@example.com\",\"https://api.openai.com/auth\":{{\"chatgpt_account_id\":{:?}}}}}",
            state.account
        )),
        canary::fresh()
    );
    state.refresh_token = canary::fresh();
    state.issued.push((token.clone(), Instant::now() + state.life));
    state.secrets.extend([token.rsplit('.').next().unwrap().to_owned(), state.refresh_token.clone()]);
    state.secrets.push(id_token.rsplit('.').next().unwrap().to_owned());
    let mut body = serde_json::json!({
        "access_token": token,
        "refresh_token": state.refresh_token,
        "id_token": id_token,
        "token_type": "Bearer",
        "expires_in": state.life.as_secs(),
        "account": {"email_address": "claude@example.com"},
    });
    if let Some(name) = state.lacks {
        body.as_object_mut().unwrap().remove(name);
    }
    json(200, body.to_string())
}

/// What is answered while the code is not typed.
fn typing(state: &mut State) -> Option<Response<Body>> {
    if state.typed.is_empty() {
        return None;
    }
    let (status, body) = state.typed.remove(0);
    Some(json(status, body.to_owned()))
}

/// OpenAI's: the code comes with the verifier that the vendor made.
fn typed(state: &mut State, seen: &Seen) -> Response<Body> {
    let given = fields(seen);
    if given.get("device_auth_id").map(String::as_str) != Some("the-device-login") {
        return json(400, "{}".to_owned());
    }
    if let Some(not_yet) = typing(state) {
        return not_yet;
    }
    let (code, verifier) = (canary::fresh(), canary::fresh());
    let granted = Granted {
        challenge: URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier)),
        redirect: "https://auth.openai.com/deviceauth/callback".to_owned(),
        client: "app_EMoamEEZ73f0CkXaXp7hrann".to_owned(),
        state: String::new(),
    };
    state.codes.insert(code.clone(), granted);
    state.secrets.extend([code.clone(), verifier.clone()]);
    json(
        200,
        serde_json::json!({"authorization_code": code, "code_challenge": "x", "code_verifier": verifier})
            .to_string(),
    )
}

/// Takes only tokens that live, with what the vendor wants beside them, and tells everything that it was sent.
fn api(state: &mut State, seen: &Seen) -> Response<Body> {
    let authorization = seen.headers_named("authorization").join(",");
    let token = authorization.strip_prefix("Bearer ").unwrap_or_default();
    let lives = state.issued.iter().any(|(known, end)| known == token && Instant::now() < *end);
    let beside = match seen.authority.as_str() {
        "chatgpt.com" => seen.headers_named("chatgpt-account-id") == [state.account.as_str()],
        "api.anthropic.com" => {
            let beta = seen.headers_named("anthropic-beta").join(",");
            beta.split(',').filter(|one| one.trim() == "oauth-2025-04-20").count() == 1
                && seen.header("x-api-key").is_none()
        }
        _ => true,
    };
    if !lives || !beside {
        return Response::builder().status(401).body(answer::full("no such token")).unwrap();
    }
    Response::new(answer::full(format!("{authorization} {}", state.account)))
}

fn json(status: u16, body: String) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(answer::full(body))
        .unwrap()
}
