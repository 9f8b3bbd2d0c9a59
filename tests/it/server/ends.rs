//! Tokens with an end: past it they open nothing, on both databases, and are told from unknown ones nowhere.

use std::sync::Arc;
use std::time::Duration;

use harness::Server;
use harness::postgres::Postgres;
use harness::within::{DEADLINE, until};
use serde_json::json;
use sqlx::Connection as _;

use super::foreign;

const LATER: &str = "2099-01-01T00:00:00Z";

/// A server, and where its rows are.
struct Bed {
    server: Server,
    postgres: Option<(Arc<Postgres>, String)>,
}

impl Bed {
    async fn both() -> [Self; 2] {
        let postgres = Postgres::shared();
        let url = postgres.database();
        let second = Server::setup().database(&url).start().await;
        let first = Self { server: Server::start().await, postgres: None };
        [first, Self { server: second, postgres: Some((postgres, url)) }]
    }

    /// Puts an end into the past that the API takes only in the future, so that no test waits for it.
    async fn edit(&self, sql: &'static str) {
        let Some((postgres, url)) = &self.postgres else {
            let file = format!("sqlite:{}", self.server.path("home").join("data/server.db").display());
            let mut link = sqlx::SqliteConnection::connect(&file).await.unwrap();
            let done = sqlx::query(sql).execute(&mut link).await.unwrap();
            assert_eq!(done.rows_affected(), 1, "{sql}");
            return link.close().await.unwrap();
        };
        postgres.sql(url, sql);
    }

    /// What a sidecar with this token says that it serves: 204 if it is known.
    async fn acknowledge(&self, token: &str) -> harness::server::Answer {
        let (bearer, key) = (format!("Bearer {token}"), format!("{}E", "B".repeat(42)));
        let headers = [("authorization", bearer.as_str()), ("doorward-seal-key", key.as_str())];
        self.server.send("POST", "/v1/sync/ack", &headers, br#"{"revision":0}"#).await
    }
}

#[tokio::test]
async fn dw6004_an_api_token_past_its_end_opens_nothing_more_and_ends_its_streams() {
    for bed in Bed::both().await {
        let server = &bed.server;
        let body = json!({"name": "brief", "role": "owner", "expires": LATER});
        let made = server.post("/v1/projects/default/tokens", body).await;
        let token = made.is(201).json()["token"].as_str().unwrap().to_owned();
        let path = "/v1/projects/default/secrets";
        server.call_as(&token, "GET", path, None).await.is(200);
        let mut stream = server.watch_changes_as(&token, &format!("{path}?watch=true")).await;
        stream.event("ready").await;
        bed.edit("UPDATE tokens SET expires = 1 WHERE name = 'brief'").await;
        let unknown = server.call_as(&foreign("dwt"), "GET", path, None).await;
        let body = json!({"name": "late", "values": {"token": server.canary()}, "for": "github"});
        for answer in [
            server.call_as(&token, "GET", path, None).await,
            server.call_as(&token, "POST", path, Some(&body)).await,
            server.call_as(&token, "GET", "/v1/can-i", None).await,
        ] {
            assert_eq!(answer.refused(401, "DW6004").without_id(), unknown.without_id());
        }
        server.get(&format!("{path}/late")).await.refused(404, "DW6007");
        assert!(stream.event("change").await.is_null(), "the stream goes on");
    }
}

#[tokio::test]
async fn dw6004_an_api_token_ends_by_the_clock() {
    let server = Server::start().await;
    let end = time::OffsetDateTime::now_utc() + Duration::from_secs(3);
    let end = end.format(&time::format_description::well_known::Rfc3339).unwrap();
    let made = server.post("/v1/tokens", json!({"name": "brief", "role": "viewer", "expires": end})).await;
    let token = made.is(201).json()["token"].as_str().unwrap().to_owned();
    let call = async || server.call_as(&token, "GET", "/v1/can-i", None).await;
    until("its end", DEADLINE, async || call().await.status == 401).await;
    call().await.refused(401, "DW6004");
}

#[tokio::test]
async fn dw6004_an_agents_token_past_its_end_opens_nothing_at_the_server() {
    for bed in Bed::both().await {
        let body = json!({"name": "bot", "expires": LATER});
        let made = bed.server.post("/v1/projects/default/agents", body).await;
        let token = made.is(201).json()["token"].as_str().unwrap().to_owned();
        bed.acknowledge(&token).await.is(204);
        bed.edit("UPDATE agents SET expires = 1").await;
        let unknown = bed.acknowledge(&foreign("dwa")).await;
        let refused = bed.acknowledge(&token).await;
        assert_eq!(refused.refused(401, "DW6004").without_id(), unknown.without_id());
        let (bearer, key) = (format!("Bearer {token}"), format!("{}E", "B".repeat(42)));
        let headers = [("authorization", bearer.as_str()), ("doorward-seal-key", key.as_str())];
        bed.server.send("GET", "/v1/sync", &headers, b"").await.refused(401, "DW6004");
    }
}
