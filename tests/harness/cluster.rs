//! The API server of a Kubernetes cluster, as far as it reviews tokens: over real TLS, for those who show a token with the right to
//! ask. Tokens are what it has made; those that it has not, that it took back, that are over or meant for others are not good.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Response;
use serde_json::{Value, json};

use crate::canary;
use crate::origin::{Answer, Body, Origin, Seen, answer};

/// What sidecars' tokens are meant for here.
pub const AUDIENCE: &str = "doorward";
const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

struct Made {
    user: String,
    audiences: Vec<String>,
    ends: i64,
}

/// What the cluster knows and does; a test may change it while it runs.
#[derive(Default)]
pub struct State {
    made: HashMap<String, Made>,
    /// The token by which the server may ask.
    pub own: String,
    /// How many questions were answered.
    pub asked: usize,
    /// Answers nothing but 500.
    pub is_broken: bool,
    /// Knows of no audiences: whatever was asked, tokens are for itself.
    pub is_old: bool,
    /// Changes an answer.
    pub forge: Option<fn(&mut Value)>,
}

/// The cluster.
pub struct Cluster {
    state: Arc<Mutex<State>>,
    origin: Origin,
}

/// Seconds since 1970.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed()
}

impl Cluster {
    pub async fn start() -> Self {
        let state = Arc::new(Mutex::new(State { own: canary::fresh(), ..State::default() }));
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

    /// A projected token of this ServiceAccount, for this audience, that lives so many seconds.
    pub fn token(&self, namespace: &str, name: &str, audience: &str, seconds: i64) -> String {
        self.token_of(&format!("system:serviceaccount:{namespace}:{name}"), audience, seconds)
    }

    /// The same of any user.
    pub fn token_of(&self, user: &str, audience: &str, seconds: i64) -> String {
        let ends = now() + seconds;
        let header = json!({"alg": "RS256", "kid": "one"});
        let claims = json!({
            "iss": "https://kubernetes.default.svc.cluster.local", "aud": [audience], "sub": user, "exp": ends, "iat": ends - 3600,
        });
        let coded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let token = format!("{}.{}.{}", coded(&header), coded(&claims), canary::fresh().replace('.', "-"));
        let made = Made { user: user.to_owned(), audiences: vec![audience.to_owned()], ends };
        self.set(|state| state.made.insert(token.clone(), made));
        token
    }

    /// The pod of this token is gone.
    pub fn take_back(&self, token: &str) {
        self.set(|state| state.made.remove(token));
    }
}

fn told(status: u16, body: &Value) -> Response<Body> {
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(answer::full(body.to_string())).unwrap()
}

/// As the API server says no.
fn refused(code: u16, reason: &str) -> Response<Body> {
    let body =
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code});
    told(code, &body)
}

fn answered(state: &mut State, seen: &Seen) -> Response<Body> {
    if state.is_broken {
        return refused(500, "InternalError");
    }
    if seen.headers_named("authorization") != [format!("Bearer {}", state.own)] {
        return refused(401, "Unauthorized");
    }
    if seen.target != PATH || seen.method != "POST" {
        return refused(404, "NotFound");
    }
    let Ok(question) = serde_json::from_slice::<Value>(&seen.body) else { return refused(400, "BadRequest") };
    if question["kind"] != "TokenReview" || question["apiVersion"] != "authentication.k8s.io/v1" {
        return refused(400, "BadRequest");
    }
    state.asked += 1;
    let wanted: Vec<&str> =
        question["spec"]["audiences"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let made = question["spec"]["token"].as_str().and_then(|token| state.made.get(token));
    let made = made.filter(|made| now() < made.ends);
    let user = |made: &Made| json!({"username": made.user, "uid": "0f", "groups": ["system:authenticated"]});
    let status = match made {
        None => json!({"user": {}, "error": "[invalid bearer token]"}),
        Some(made) if state.is_old => json!({"authenticated": true, "user": user(made)}),
        Some(made) => {
            let both: Vec<_> = made.audiences.iter().filter(|one| wanted.contains(&one.as_str())).collect();
            if both.is_empty() {
                json!({"user": {}, "error": "[invalid bearer token, token audiences are invalid for the target audiences]"})
            } else {
                json!({"authenticated": true, "user": user(made), "audiences": both})
            }
        }
    };
    let mut answer = json!({
        "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"creationTimestamp": null}, "spec": question["spec"], "status": status,
    });
    if let Some(forge) = state.forge {
        forge(&mut answer);
    }
    told(201, &answer)
}
