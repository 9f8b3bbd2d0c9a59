//! How long the audit is kept: what is older goes, up to where it is signed, and what stays still verifies.

use std::sync::Arc;

use harness::Server;
use harness::postgres::Postgres;
use harness::within::{DEADLINE, until};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const VERIFY: &str = "/v1/audit/verify";

/// The same on both databases.
async fn both() -> (Arc<Postgres>, [Server; 2]) {
    let postgres = Postgres::shared();
    let second = Server::setup().database(postgres.database()).start().await;
    (postgres, [Server::start().await, second])
}

fn now() -> String {
    time::OffsetDateTime::now_utc().format(&time::format_description::well_known::Rfc3339).unwrap()
}

#[tokio::test]
async fn pruning_drops_what_is_older_up_to_where_it_is_signed_and_the_rest_verifies() {
    let (_postgres, servers) = both().await;
    for server in servers {
        for n in 0..5 {
            let body = json!({"name": format!("v{n}"), "value": "x"});
            server.post("/v1/projects/default/variables", body).await.is(201);
        }
        let body = json!({"before": now(), "source": "control"});
        let unsigned = server.post("/v1/audit/prune", body).await.is(200).json();
        // The first records may be signed since the start; none of these is.
        let is_less = |one: &Value| one["dropped"].as_u64().unwrap() < 5;
        assert!(unsigned["items"].as_array().unwrap().iter().all(is_less), "{unsigned}");
        let before = server.get(VERIFY).await.is(200).json()["records"].as_u64().unwrap();
        server.call("POST", "/v1/audit/checkpoints", None).await.is(200);
        server.post("/v1/projects/default/variables", json!({"name": "later", "value": "x"})).await.is(201);
        let mut pruned = Value::Null;
        // Times are of whole seconds: what was signed just now is not older yet.
        until("it to be older", DEADLINE, async || {
            let body = json!({"before": now(), "source": "control"});
            pruned = server.post("/v1/audit/prune", body).await.is(200).json()["items"][0].clone();
            pruned["dropped"].as_u64().is_some_and(|dropped| dropped >= before - 1)
        })
        .await;
        assert!(pruned["refused"].is_null(), "{pruned}");
        let after = server.get(VERIFY).await.is(200).json();
        assert_eq!(after["intact"], true, "{after}");
        assert!(after["records"].as_u64().unwrap() < before, "{after}");
        // The record that was signed is still there, and so is the one of the dropping.
        let kept = server.get("/v1/audit?limit=1000").await.is(200).json();
        let kept: Vec<_> = kept["items"].as_array().unwrap().iter().map(|one| &one["record"]).collect();
        assert_eq!(kept[0]["seq"], pruned["from"], "{kept:?}");
        let told =
            kept.iter().any(|one| one["reason"].as_str().unwrap().starts_with("audit of control dropped"));
        assert!(told, "{kept:?}");
    }
}

/// A record as a sidecar would have written it at that time, behind another one: the line, and its hash.
fn line(like: &str, ts: &str, (seq, prev): (u64, &str)) -> (String, String) {
    let (_, rest) = like.split_once("\"prev\":\"").unwrap();
    let rest = &rest[64..rest.rfind(",\"hash\":\"").unwrap()];
    let body = format!("{{\"ts\":\"{ts}\",\"seq\":{seq},\"prev\":\"{prev}{rest}");
    let hash = hex::encode(Sha256::digest(&body));
    (format!("{body},\"hash\":\"{hash}\"}}"), hash)
}

#[tokio::test]
async fn audit_keep_drops_what_is_older_at_the_next_start_and_nothing_else() {
    let server = Server::start().await;
    let made = server.post("/v1/projects/default/agents", json!({"name": "bot"})).await;
    let token = made.is(201).json()["token"].as_str().unwrap().to_owned();
    let export = server.get("/v1/projects/default/audit/export").await;
    let like = String::from_utf8(export.is(200).body.to_vec()).unwrap().lines().next().unwrap().to_owned();
    let (bearer, key) = (format!("Bearer {token}"), format!("{}E", "B".repeat(42)));
    let headers = [("authorization", bearer.as_str()), ("doorward-seal-key", key.as_str())];
    let ship = async |lines: &[String]| {
        let body = json!({"source": "0123456789abcdef", "behind": null, "lines": lines}).to_string();
        let answer = server.send("POST", "/v1/sync/audit", &headers, body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
    };
    let (mut lines, mut at) = (Vec::new(), (1, "0".repeat(64)));
    let today = now().split('T').next().unwrap().to_owned();
    for day in ["2001-01-01", "2001-01-02", "2001-01-03", &today] {
        let (text, hash) = line(&like, &format!("{day}T00:00:00.000000Z"), (at.0, &at.1));
        lines.push(text);
        at = (at.0 + 1, hash);
    }
    // Signed in between: only what stands before such a place can go.
    ship(&lines[..3]).await;
    server.call("POST", "/v1/audit/checkpoints", None).await.is(200);
    ship(&lines[3..]).await;
    let of = |call: &str| format!("/v1/projects/default/audit{call}source=sidecar/bot/0123456789abcdef");
    let records = async |server: &Server| {
        let told = server.get(&of("/verify?")).await.is(200).json();
        assert_eq!(told["intact"], true, "{told}");
        told["records"].as_u64().unwrap()
    };
    assert_eq!(records(&server).await, 4);
    let own = server.get(VERIFY).await.is(200).json()["records"].as_u64().unwrap();
    let refused = ["1m", "0d", "90"].map(|term| {
        let words = ["server", "--self-signed", "--listen", "127.0.0.1:0", "--audit-keep", term];
        server.doorward(server.root(), &words, "")
    });
    refused.iter().for_each(|ran| ran.assert_fails(2, "--audit-keep"));
    let server = server.restart(Server::setup().flags(&["--audit-keep", "90d"])).await;
    until("what is old to go", DEADLINE, async || records(&server).await < 4).await;
    // The last of those that are old stays: it is what was signed.
    let kept = server.get(&of("?limit=10&")).await.is(200).json();
    let kept: Vec<_> =
        kept["items"].as_array().unwrap().iter().map(|one| one["record"]["seq"].clone()).collect();
    assert_eq!(kept, [json!(3), json!(4)]);
    assert!(server.get(VERIFY).await.is(200).json()["records"].as_u64().unwrap() > own);
}
