//! python-telegram-bot and slack_sdk as they come, before vendors in small that take the real token alone.

use harness::{Origin, Proxy, Seen, answer, canary};
use http::Response;

use super::{Client, python, script};
use crate::issuer::form;

const TELEGRAM: &str = "api.telegram.org";
const SLACK: [&str; 2] = ["slack.com", "files.slack.com"];

/// The Bot API: the token is in the path, and one answer holds it, as a server of one's own sends it.
fn telegram(token: &str, seen: &Seen) -> (u16, String) {
    if seen.target == format!("/file/bot{token}/documents/a.bin") && seen.method == "GET" {
        return (200, "what was stored".to_owned());
    }
    let Some(method) = seen.target.strip_prefix(&format!("/bot{token}/")) else {
        return (401, r#"{"ok":false,"error_code":401,"description":"Unauthorized"}"#.to_owned());
    };
    let message = |more: &str| {
        format!(r#"{{"message_id":7,"date":1700000000,"chat":{{"id":1,"type":"private"}}{more}}}"#)
    };
    let file = |id: &str, path: &str| {
        format!(r#"{{"file_id":"{id}","file_unique_id":"u{id}","file_size":15,"file_path":"{path}"}}"#)
    };
    let result = match method {
        "getMe" => r#"{"id":1234567890,"is_bot":true,"first_name":"d","username":"d_bot"}"#.to_owned(),
        "sendMessage" => message(r#","text":"hi""#),
        "sendDocument" if canary::contains(&seen.body, b"the file's bytes\x00\xff") => {
            message(r#","document":{"file_id":"f1","file_unique_id":"u1"}"#)
        }
        "getFile" if canary::contains(&seen.body, b"leaky") => {
            file("leaky", &format!("/var/lib/telegram-bot-api/{token}/documents/a.bin"))
        }
        "getFile" => file("plain", "documents/a.bin"),
        _ => return (404, r#"{"ok":false,"error_code":404,"description":"Not Found"}"#.to_owned()),
    };
    (200, format!("{{\"ok\":true,\"result\":{result}}}"))
}

#[tokio::test]
async fn python_telegram_bot_sends_uploads_and_downloads_and_never_sees_its_token() {
    let Some(python) = python() else { return };
    let token = format!("1234567890:AA{}", &canary::fresh()[..33]);
    let known = token.clone();
    let told = answer::made(move |seen| {
        let (status, body) = telegram(&known, seen);
        Response::builder()
            .status(status)
            .header("content-type", "application/json")
            .body(answer::full(body))
            .unwrap()
    });
    let spec = "type: telegram\nauth: {secretRef: canary, secretKey: token}\npolicy: {allow: [getMe, \"send*\", getFile, downloadFile]}";
    let proxy = Proxy::builder().canary(&token).provider("vendor", spec);
    let client = Client::built(Origin::builder(&[TELEGRAM]).answer(told), proxy).await;
    let printed = client.run(&python, &[&script("chat_client.py"), "telegram"]).await.assert_ok();
    let stars = "*".repeat(token.len());
    for line in [
        "me d_bot",
        "sent 7",
        "uploaded f1",
        &*format!(
            "leaky https://{TELEGRAM}/file/bot{}//var/lib/telegram-bot-api/{stars}/documents/a.bin",
            client.proxy.dummy("TELEGRAM_BOT_TOKEN")
        ),
        "downloaded b'what was stored'",
        "denied doorward DW1002",
    ] {
        assert!(printed.out.contains(line), "{line}\n{}\n{}", printed.out, printed.err);
    }
    assert!(printed.out.contains("banChatMember"), "{}", printed.out);
    let seen = client.origin.requests();
    assert!(
        seen.iter().all(|seen| seen.target.contains(&token) && !seen.target.contains("dw0")),
        "{seen:#?}"
    );
    let text = form(&seen.iter().find(|seen| seen.target.ends_with("/sendMessage")).unwrap().body);
    assert_eq!(text["text"], "hi+++ü&=", "as the client wrote it");
    assert!(seen.iter().all(|seen| !seen.target.ends_with("/banChatMember")));
}

/// The Web API and the host of files.
fn slack(token: &str, seen: &Seen) -> (u16, String) {
    let bearer = seen.headers_named("authorization") == [format!("Bearer {token}")];
    let (path, _) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
    let body = match (seen.authority.as_str(), path) {
        _ if !bearer => r#"{"ok":false,"error":"invalid_auth"}"#,
        (_, "/api/auth.test") => r#"{"ok":true,"user":"d","user_id":"U0"}"#,
        (_, "/api/chat.postMessage") => r#"{"ok":true,"ts":"17.5","channel":"C1"}"#,
        (_, "/api/users.info") => r#"{"ok":true,"user":{"id":"U1"}}"#,
        (_, "/api/files.getUploadURLExternal") => {
            r#"{"ok":true,"upload_url":"https://files.slack.com/upload/v1/abc","file_id":"F1"}"#
        }
        ("files.slack.com", "/upload/v1/abc") if canary::contains(&seen.body, b"the file's text") => {
            "OK - 15"
        }
        (_, "/api/files.completeUploadExternal") => r#"{"ok":true,"files":[{"id":"F1","title":"a.txt"}]}"#,
        _ => r#"{"ok":false,"error":"unknown_method"}"#,
    };
    (200, body.to_owned())
}

#[tokio::test]
async fn slack_sdk_posts_and_uploads_with_its_token_in_header_and_form() {
    let Some(python) = python() else { return };
    let token = format!("xoxb-{}", canary::fresh());
    let known = token.clone();
    let told = answer::made(move |seen| {
        let (status, body) = slack(&known, seen);
        Response::builder()
            .status(status)
            .header("content-type", "application/json")
            .body(answer::full(body))
            .unwrap()
    });
    let spec = "type: slack\nauth: {secretRef: canary, secretKey: token}\npolicy: {allow: [auth.test, chat.postMessage, users.info, \"files.*\", \"file:*\"]}";
    let proxy = Proxy::builder().canary(&token).provider("vendor", spec);
    let client = Client::built(Origin::builder(&SLACK).answer(told), proxy).await;
    let printed = client.run(&python, &[&script("chat_client.py"), "slack"]).await.assert_ok();
    for line in ["me d", "sent 17.5", "form U1", "uploaded F1", "denied 403", "DW1002", "chat.delete"] {
        assert!(printed.out.contains(line), "{line}\n{}\n{}", printed.out, printed.err);
    }
    let seen = client.origin.requests();
    assert!(seen.iter().any(|seen| seen.authority == "files.slack.com"), "{seen:#?}");
    assert!(seen.iter().all(|seen| !seen.target.contains("chat.delete")));
    assert!(
        seen.iter().all(|seen| !canary::contains(&seen.body, token.as_bytes())),
        "the form keeps its dummy"
    );
}
