//! A team with a server, and a sidecar that follows it.

use std::time::Duration;

use harness::relay::Relay;
use harness::within::until;
use harness::{Agent, Origin, Proxy, ProxyBuilder, Server, canary};
use serde_json::{Value, json};

use crate::world::HOST;

pub(super) const SOON: Duration = harness::within::DEADLINE;
pub(super) const PROJECT: &str = "team-a";

/// A project with an agent `coder` that has the provider `demo` for [`HOST`], and its sidecar's token.
pub(super) struct Team {
    pub(super) server: Server,
    pub(super) token: String,
    /// The value that `demo` puts on.
    pub(super) value: String,
}

pub(super) fn document(name: &str, host: &str, secret: &str) -> Value {
    let text = format!(
        "apiVersion: doorward.dev/v1alpha1\nkind: Provider\nmetadata: {{name: {name}}}\n\
         spec: {{type: http-token, host: {host}, auth: {{type: bearer, secretRef: {secret}, secretKey: token}}}}\n"
    );
    json!({"document": text})
}

pub(super) fn of(path: &str) -> String {
    format!("/v1/projects/{PROJECT}/{path}")
}

impl Team {
    pub(super) async fn new() -> Self {
        Self::on(Server::start().await).await
    }

    pub(super) async fn on(server: Server) -> Self {
        server.project(PROJECT).await;
        let mut team = Self { server, token: String::new(), value: String::new() };
        team.value = team.secret("pat", HOST).await;
        team.server.post(&of("providers"), document("demo", HOST, "pat")).await.is(201);
        team.token = team.agent("coder").await;
        team.attach("coder", "provider", "demo").await;
        team
    }

    /// A secret bound to one host; its value must be seen nowhere.
    pub(super) async fn secret(&self, name: &str, host: &str) -> String {
        let value = self.server.canary();
        let body = json!({"name": name, "values": {"token": value}, "hosts": [host]});
        self.server.post(&of("secrets"), body).await.is(201);
        value
    }

    /// Another value for the secret.
    pub(super) async fn rotate(&self, name: &str) -> String {
        let value = self.server.canary();
        let body = json!({"values": {"token": value}});
        self.server.change("POST", &of(&format!("secrets/{name}/rotate")), "*", Some(body)).await.is(200);
        value
    }

    /// An agent, and the token of its sidecars.
    pub(super) async fn agent(&self, name: &str) -> String {
        let made = self.server.post(&of("agents"), json!({"name": name})).await;
        let token = made.is(201).json()["token"].as_str().unwrap().to_owned();
        self.server.watch(&token);
        token
    }

    pub(super) async fn attach(&self, agent: &str, kind: &str, name: &str) {
        let path = of(&format!("agents/{agent}/attachments"));
        self.server.post(&path, json!({"kind": kind, "name": name})).await.is(201);
    }

    pub(super) async fn detach(&self, agent: &str, kind: &str, name: &str) {
        let path = of(&format!("agents/{agent}/attachments/{kind}/{name}"));
        self.server.change("DELETE", &path, "*", None).await.is(204);
    }

    pub(super) async fn revoke(&self, agent: &str) {
        let path = of(&format!("agents/{agent}/revoke"));
        self.server.change("POST", &path, "*", None).await.is(200);
    }

    /// The attachments of an agent, as anybody who looks sees them.
    pub(super) async fn attachments(&self, agent: &str) -> Vec<Value> {
        let all = self.server.get(&of(&format!("agents/{agent}/attachments"))).await;
        all.is(200).json()["items"].as_array().unwrap().clone()
    }

    /// A sidecar that follows this URL, trusting this file.
    pub(super) fn sidecar(&self, url: &str, ca: &str, token: &str) -> ProxyBuilder {
        let file = self.server.path(&format!("sidecar-{}", canary::fresh()));
        harness::proxy::build::put(&file, token);
        let sidecar = Proxy::builder().no_token().without_secrets();
        let sidecar = sidecar.arg("--control").arg(url).arg("--control-ca").arg(ca);
        sidecar.arg("--control-token-file").arg(file.to_str().unwrap())
    }

    /// The sidecar of `coder` before this origin, straight at the server.
    pub(super) async fn coder(&self, origin: &Origin) -> Following {
        let sidecar = self.sidecar(self.server.url(), self.server.ca().to_str().unwrap(), &self.token);
        Following::start(self, sidecar.origin(origin)).await
    }

    /// The same with somebody in between.
    pub(super) fn coder_via(&self, relay: &Relay) -> ProxyBuilder {
        let ca = self.server.path("relay-ca.pem");
        harness::proxy::build::put(&ca, harness::ca::TestCa::world().pem());
        self.sidecar(&relay.url(), ca.to_str().unwrap(), &self.token)
    }
}

/// A running sidecar and the agent's own token.
pub(super) struct Following {
    pub(super) proxy: Proxy,
    pub(super) token: String,
}

impl Following {
    pub(super) async fn start(team: &Team, sidecar: ProxyBuilder) -> Self {
        let mut proxy = sidecar.start().await;
        proxy.watch(&team.value);
        proxy.watch(&team.token);
        Self { proxy, token: String::new() }.renamed()
    }

    /// With the token that the agent is given now.
    pub(super) fn renamed(self) -> Self {
        let env = self.proxy.agent_env();
        let (_, url) = env.iter().find(|(name, _)| name == "https_proxy").expect("https_proxy");
        let token = url.split_once("agent:").and_then(|(_, rest)| rest.split_once('@')).unwrap().0.to_owned();
        Self { token, ..self }
    }

    pub(super) fn agent(&self) -> Agent {
        self.proxy.agent().with_basic("agent", &self.token)
    }

    /// Asks until the origin is shown this value.
    pub(super) async fn shows(&self, origin: &Origin, host: &str, value: &str) {
        let wanted = format!("Bearer {value}");
        until("the value at the origin", SOON, async || {
            let reply = self.agent().get(host, "/").await;
            reply.status == 200 && origin.last().headers_named("authorization") == [wanted.as_str()]
        })
        .await;
    }

    pub(super) async fn is_refused(&self, authority: &str, code: &str) {
        until(code, SOON, async || self.agent().refused(authority).await.is(code)).await;
    }
}

pub(super) const AUTHORITY: &str = "api.example.com:443";
