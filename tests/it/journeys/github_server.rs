//! A GitHub Enterprise Server: API, uploads, GraphQL and git on one host of one's own, with a token or an app.

use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use harness::{Agent, Origin, Proxy, answer};
use http::Response;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;

const SERVER: &str = "git.corp.example";
const TOKEN: &str = "ghs_c4naryOfTheInstallationOnTheServer01";
const TOKENS: &str = "/api/v3/app/installations/456/access_tokens";
const ISSUES: &str = "/api/v3/repos/acme/api/issues";
const REFS: &str = "/acme/api.git/info/refs?service=git-upload-pack";
const MAY: &str = "policy: {allow: [\"issues:*\", \"contents:read\", \"releases:write\"]}\nscope: {repositories: [acme/api]}";

fn key() -> &'static str {
    include_str!("../../../control/src/types/gcp/dummy.pem")
}

/// The server: it gives the installation's token to who signed as the app, and shows all others what they sent.
async fn server() -> Origin {
    let make = |seen: &harness::Seen| {
        let sent = seen.headers_named("authorization").join(",");
        if seen.target == TOKENS {
            assert_eq!(seen.method, "POST");
            assert_eq!(signed(&sent)["iss"], "123");
            let until = "2099-01-01T00:00:00Z";
            let text = format!("{{\"token\":\"{TOKEN}\",\"expires_at\":\"{until}\"}}");
            return Response::builder().status(201).body(answer::full(text)).unwrap();
        }
        Response::new(answer::full(format!("you sent {sent}")))
    };
    Origin::builder(&[SERVER]).answer(answer::made(make)).start().await
}

/// The claims of an app's own token, which its key signed.
fn signed(authorization: &str) -> serde_json::Value {
    let der = PrivatePkcs8KeyDer::from_pem_slice(key().as_bytes()).unwrap();
    let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
    let (text, signature) = authorization.strip_prefix("Bearer ").unwrap().rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let known = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref());
    known.verify(text.as_bytes(), &signature).expect("the app's signature");
    let claims = text.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

async fn with_token(origin: &Origin) -> Proxy {
    let spec = format!("type: github\nhost: {SERVER}\nauth: {{secretRef: canary}}\n{MAY}");
    Proxy::builder().provider("server", &spec).origin(origin).start().await
}

async fn with_app(origin: &Origin) -> Proxy {
    let auth = "auth: {type: github-app, secretRef: app}\nconfig: {permissions: [\"contents:read\", \"issues:write\"]}";
    let builder = Proxy::builder()
        .provider("server", &format!("type: github\nhost: {SERVER}\n{auth}\n{MAY}"))
        .public_value("app", "app_id", "123")
        .public_value("app", "installation_id", "456")
        .public_value("app", "private_key", key());
    let mut proxy = builder.origin(origin).start().await;
    proxy.watch(TOKEN);
    proxy
}

/// What policy and scope do not allow, whatever credential there is.
async fn refuses_the_rest(agent: &Agent) {
    for (path, code) in [
        ("/api/v3/repos/evil/api/issues", "DW1002"),
        ("/api/v3/repos/acme/api/pulls", "DW1002"),
        ("/api/v3/repositories/1/issues", "DW1002"),
        ("/api/v3/admin/users", "DW1002"),
        ("/api/v3/enterprises/acme/settings", "DW1002"),
        ("/setup/api/settings", "DW1002"),
        ("/api/v4/repos/acme/api/issues", "DW1002"),
        ("/repos/acme/api/issues", "DW1002"),
        ("/api/graphql", "DW1002"),
        ("/evil/api.git/info/refs?service=git-upload-pack", "DW1002"),
        ("/acme/api.git/info/refs?service=git-receive-pack", "DW1002"),
        ("/login", "DW1002"),
    ] {
        agent.get(SERVER, path).await.assert_refused(403, code);
    }
    // The vendor's own cloud is another provider's.
    assert_eq!(agent.get("api.github.com", "/user").await.any_code().as_deref(), Some("DW1001"));
}

fn basic(token: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("x-access-token:{token}")))
}

/// The agent's own dummy goes out as the token, as the API takes it and as git does; the answers do not show it.
async fn serves(agent: &Agent, origin: &Origin, token: &str) {
    let bearer = format!("Bearer {token}");
    for (method, path, expected) in [
        ("GET", ISSUES, bearer.clone()),
        ("POST", ISSUES, bearer.clone()),
        ("POST", "/api/uploads/repos/acme/api/releases/1/assets?name=a", bearer),
        ("GET", REFS, basic(token)),
        ("POST", "/acme/api.git/git-upload-pack", basic(token)),
    ] {
        let own = "Authorization: token own";
        let reply = match method {
            "GET" => agent.ask(SERVER, &format!("GET {path} HTTP/1.1\n{own}")).await,
            _ => agent.post(SERVER, path, own, b"").await,
        };
        let text = reply.assert_ok().text();
        assert!(text.starts_with("you sent ") && text.contains("****"), "{text}");
        let seen = origin.last();
        assert_eq!((seen.method.as_str(), seen.target.as_str()), (method, path));
        assert_eq!(seen.headers_named("authorization"), [expected]);
    }
}

#[tokio::test]
async fn a_token_opens_what_it_may_on_a_server_of_ones_own() {
    let origin = server().await;
    let proxy = with_token(&origin).await;
    refuses_the_rest(&proxy.agent()).await;
    origin.assert_untouched();
    serves(&proxy.agent(), &origin, proxy.canary()).await;
    let env: std::collections::BTreeMap<String, String> = proxy.agent_env().into_iter().collect();
    assert_eq!(env["GH_HOST"], SERVER);
    assert!(env["GH_ENTERPRISE_TOKEN"].starts_with("ghp_"), "{env:?}");
}

#[tokio::test]
async fn an_app_signs_at_the_servers_own_api_and_its_installations_token_serves_api_and_git() {
    let origin = server().await;
    let proxy = with_app(&origin).await;
    refuses_the_rest(&proxy.agent()).await;
    origin.assert_untouched();
    // The agent's own call for a token is answered here.
    let reply = proxy.agent().post(SERVER, TOKENS, "Authorization: Bearer x.y.z", b"").await;
    assert!(reply.status == 200 && reply.text().contains("ghs_dw0"), "{}", reply.text());
    let revoke = "DELETE /api/v3/installation/token HTTP/1.1\nAuthorization: Bearer own";
    proxy.agent().ask(SERVER, revoke).await.assert_refused(403, "DW1002");
    origin.assert_untouched();
    serves(&proxy.agent(), &origin, TOKEN).await;
    let asked: Vec<_> = origin.requests().into_iter().filter(|seen| seen.target == TOKENS).collect();
    assert_eq!(asked.len(), 1, "API and git share one token");
    let narrowed: serde_json::Value = serde_json::from_slice(&asked[0].body).unwrap();
    assert_eq!(
        narrowed,
        serde_json::json!({"permissions": {"contents": "read", "issues": "write"}, "repositories": ["api"]})
    );
    let line = proxy.audit().wait_for("the exchange", |line| line["kind"] == "exchange").await;
    assert_eq!((&line["host"], &line["path"]), (&SERVER.into(), &"/api/v3".into()));
}
