//! A server with everything that the rows need, and the calls that each of them makes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::idp::{CLIENT, Idp};
use harness::postgres::Postgres;
use harness::server::Answer;
use harness::{Server, ca::TestCa};
use serde_json::{Value, json};

use super::{Row, attachment, document, member, model, named, rotated, secret, token, variable};

/// A server with everything that the rows need.
pub(super) struct World {
    pub(super) server: Server,
    count: AtomicUsize,
    _idp: Idp,
    _postgres: Option<Arc<Postgres>>,
}

impl World {
    /// One for each database.
    pub(super) async fn both() -> [Self; 2] {
        [Self::on(None).await, Self::on(Some(Postgres::shared())).await]
    }

    pub(super) async fn on(postgres: Option<Arc<Postgres>>) -> Self {
        let idp = Idp::start().await;
        let ca = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(ca.path(), TestCa::world().pem()).unwrap();
        let (url, path) = (idp.url(), ca.path().display().to_string());
        let flags = ["--limit", "token-calls=100000", "--limit", "token-burst=100000"];
        let guesses = ["--limit", "failed-logins=100000"];
        let oidc = ["--oidc-issuer", &url, "--oidc-client-id", CLIENT, "--oidc-ca", &path];
        let mut setup = Server::setup().flags(&flags).flags(&guesses).flags(&oidc);
        if let Some(postgres) = &postgres {
            setup = setup.database(postgres.database());
        }
        let server = setup.start().await;
        for project in ["own", "other"] {
            server.project(project).await;
            server.secret(project, "base").await;
            let key = json!({"name": "key", "values": {"api-key": "0123456789abcdef"}, "for": "openai"});
            server.post(&format!("/v1/projects/{project}/secrets"), key).await.is(201);
            server.post(&format!("/v1/projects/{project}/variables"), variable("region")).await.is(201);
        }
        Self { server, count: AtomicUsize::new(0), _idp: idp, _postgres: postgres }
    }

    pub(super) fn fresh(&self) -> String {
        format!("t-{}", self.count.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) async fn call(
        &self,
        row: &Row,
        path: &str,
        more: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        self.server.call_with(self.server.root(), row.method, path, more, body).await
    }

    /// The same of somebody else, over the socket: there are hundreds of them, and TLS says nothing to who may.
    pub(super) async fn call_of(
        &self,
        token: &str,
        row: &Row,
        path: &str,
        more: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(body.map(|_| ("content-type", "application/json")));
        headers.extend_from_slice(more);
        let bytes = body.map(ToString::to_string).unwrap_or_default();
        self.server.send_unix(row.method, path, &headers, bytes.as_bytes()).await
    }

    /// The path of a row with an object of its own in it, and the ETag of what it changes.
    pub(super) async fn place(&self, row: &Row) -> (String, String, String) {
        let name = self.fresh();
        let own = if row.is_of_its_own_project() { name.as_str() } else { "own" };
        let path = row.path.replace("{project}", own);
        let made = |folder: &'static str, body: Value| {
            let path = if row.path.starts_with("/v1/projects/") {
                format!("/v1/projects/own/{folder}")
            } else {
                format!("/v1/{folder}")
            };
            async move { self.server.post(&path, body).await }
        };
        let at = |path: String, etag: String| (path, etag, name.clone());
        if own != "own" {
            let made = self.server.post("/v1/projects", named(&name)).await;
            return at(path, made.is(201).etag());
        }
        if row.path.contains("{secret}") {
            let first = made("secrets", secret(&name)).await;
            let path = path.replace("{secret}", &name);
            let etag = first.is(201).etag();
            if !row.path.ends_with("/rollback") {
                return at(path, etag);
            }
            let all = format!("/v1/projects/own/secrets/{name}/rotate");
            return at(path, self.server.change("POST", &all, &etag, Some(rotated(""))).await.is(200).etag());
        }
        if row.path.contains("{variable}") {
            let made = made("variables", variable(&name)).await;
            return at(path.replace("{variable}", &name), made.is(201).etag());
        }
        if row.path.contains("{agent}") {
            let agent = made("agents", named(&name)).await;
            let path = path.replace("{agent}", &name);
            if !row.path.contains("{kind}") {
                return at(path, agent.is(201).etag());
            }
            let all = format!("/v1/projects/own/agents/{name}/attachments");
            let etag = self.server.post(&all, attachment("x")).await.is(201).etag();
            return at(path.replace("{kind}", "env").replace("{name}", "V_X"), etag);
        }
        if row.path.contains("{id}") {
            let (folder, body) = match row.path.contains("/members/") {
                true => ("members", member(&name)),
                false => ("tokens", token(&name)),
            };
            let made = made(folder, body).await;
            let object = made.is(201).json();
            let id = [&object["id"], &object["apiToken"]["id"]].into_iter().find_map(Value::as_str).unwrap();
            return at(path.replace("{id}", id), made.etag());
        }
        if row.path.contains("/model-providers/{name}") {
            let made = made("model-providers", model(&name)).await;
            return at(path.replace("{name}", &name), made.is(201).etag());
        }
        if row.path.contains("/providers/{name}") {
            let made = made("providers", document(&name)).await;
            return at(path.replace("{name}", &name), made.is(201).etag());
        }
        at(path, "*".to_owned())
    }

    /// A call that works.
    pub(super) async fn good(&self, row: &Row) -> Answer {
        let (path, etag, name) = self.place(row).await;
        let body = row.body.map(|body| body(&name));
        let etag = [("if-match", etag.as_str())];
        let more = if row.is_change { &etag[..] } else { &[] };
        self.call(row, &path, more, body.as_ref()).await
    }
}
