//! Issuers that say not yet, more slowly, no, too late; time is the runtime's.

use std::collections::VecDeque;
use std::time::SystemTime;

use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::*;
use crate::schemes::shared::issuer::Asking;

/// Answers one after the other, and when each was asked for.
struct Script {
    began: Instant,
    answers: Mutex<VecDeque<(u16, &'static str)>>,
    asked: Mutex<Vec<(u64, String)>>,
}

impl Script {
    fn of(answers: &[(u16, &'static str)]) -> Self {
        let answers = Mutex::new(answers.iter().copied().collect());
        Self { began: Instant::now(), answers, asked: Mutex::default() }
    }

    /// The seconds at which it was asked.
    fn times(&self) -> Vec<u64> {
        self.asked.lock().iter().map(|(at, _)| *at).collect()
    }

    fn asked(&self, index: usize) -> String {
        self.asked.lock()[index].1.clone()
    }
}

impl Issuer for Script {
    fn ask<'a>(&'a self, ask: Ask) -> Asking<'a> {
        let text = format!("{}{} {}", ask.target, ask.path, String::from_utf8_lossy(&ask.body));
        self.asked.lock().push((self.began.elapsed().as_secs(), text));
        let (status, body) = self.answers.lock().pop_front().expect("asked too often");
        Box::pin(async move {
            if status == 0 {
                let refusal = Refusal::new(Code::Dw2006, "away");
                return Err(Failed { refusal, because: Because::Unavailable(None) });
            }
            let body = Zeroizing::new(body.as_bytes().to_vec());
            Ok(Reply { status: StatusCode::from_u16(status).unwrap(), retry_after: None, body })
        })
    }

    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
}

const BEGIN: (u16, &str) = (
    200,
    r#"{"device_code":"c4nary-device","user_code":"WDJB-MJHT","verification_uri":"https://a.test/device","expires_in":60}"#,
);
const PENDING: (u16, &str) = (400, r#"{"error":"authorization_pending"}"#);
const SLOW: (u16, &str) = (400, r#"{"error":"slow_down"}"#);
const GOOD: (u16, &str) = (200, r#"{"access_token":"c4nary-token"}"#);

fn url(text: &str) -> TokenUrl {
    TokenUrl::parse(text).unwrap()
}

async fn typed(script: &Script) -> (Result<Reply, Failed>, String) {
    let facts = Facts::for_tests(url("https://login.test/token"));
    let said = Mutex::new(String::new());
    let outcome =
        standard(&|line| said.lock().push_str(&line), &facts, &url("https://login.test/device"), script)
            .await;
    (outcome, said.into_inner())
}

#[tokio::test(start_paused = true)]
async fn a_no_and_a_code_that_ended_end_the_login() {
    for (answers, why) in [
        (&[BEGIN, PENDING, (400, r#"{"error":"access_denied"}"#)][..], "said no"),
        (&[BEGIN, (400, r#"{"error":"expired_token"}"#)], "while it was good"),
        (&[BEGIN, (400, r#"{"error":"invalid_grant","error_description":"c4nary"}"#)], "invalid_grant"),
        (&[BEGIN, (401, "c4nary")], "status 401"),
        (&[(400, r#"{"error":"invalid_client"}"#)], "invalid_client"),
        (&[(200, "{}")], "gave no code"),
        (
            &[(
                200,
                r#"{"device_code":"c4nary-device","user_code":"\u001b[2J","verification_uri":"https://a.test"}"#,
            )],
            "no code to type",
        ),
        (
            &[(200, r#"{"device_code":"c4nary-device","user_code":"A","verification_uri":"javascript:x"}"#)],
            "no code to type",
        ),
        (
            &[(
                200,
                r#"{"device_code":"c4nary-device","user_code":"A","verification_uri":"https://a.test","interval":"x"}"#,
            )],
            "a time that is none",
        ),
    ] {
        let script = Script::of(answers);
        let (outcome, said) = typed(&script).await;
        let failed = outcome.unwrap_err();
        assert!(failed.refusal.detail.contains(why), "{why}: {}", failed.refusal.detail);
        assert!(!failed.refusal.detail.contains("c4nary") && !said.contains("c4nary"));
        assert!(script.answers.lock().is_empty(), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_asks_as_often_as_it_was_told_and_less_often_when_told_so() {
    let begin = (
        200,
        r#"{"device_code":"c4nary-device","user_code":"WDJB-MJHT","verification_uri":"https://a.test/device","expires_in":600}"#,
    );
    let script = Script::of(&[begin, PENDING, SLOW, PENDING, (0, ""), (503, ""), GOOD]);
    let (outcome, said) = typed(&script).await;
    assert!(outcome.unwrap().status.is_success());
    // 5 s, then 10 s, then 15 and 20 after answers that did not come.
    assert_eq!(script.times(), [0, 5, 10, 20, 30, 45, 65]);
    assert!(said.contains("WDJB-MJHT") && said.contains("https://a.test/device"), "{said}");
    assert!(!said.contains("c4nary"), "{said}");
    assert_eq!(script.asked(0), "login.test:443/device client_id=the-client&scope=a%20b");
    assert_eq!(
        script.asked(1),
        "login.test:443/token grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&device_code=c4nary-device&client_id=the-client"
    );
}

#[tokio::test(start_paused = true)]
async fn it_stops_asking_when_the_code_is_no_good_any_more() {
    let script = Script::of(&[[BEGIN].as_slice(), &[PENDING; 11]].concat());
    let (outcome, _) = typed(&script).await;
    assert!(outcome.unwrap_err().refusal.detail.contains("while it was good"));
    assert_eq!(script.times().last(), Some(&55));
}

#[tokio::test(start_paused = true)]
async fn openais_own_way_ends_with_a_code_that_is_exchanged() {
    let spec = control::types::by_name("openai").unwrap().login().unwrap().device.as_ref().unwrap();
    let begin = (200, r#"{"device_auth_id":"c4nary-id","user_code":"ABCD-EFGHI","interval":"3"}"#);
    let granted = (
        200,
        r#"{"authorization_code":"c4nary-code","code_challenge":"x","code_verifier":"c4nary-verifier"}"#,
    );
    let script = Script::of(&[begin, (403, ""), (404, "{}"), (429, ""), granted, GOOD]);
    let facts = Facts::for_tests(url("https://auth.openai.com/oauth/token"));
    let said = Mutex::new(String::new());
    let reply = vendor(&|line| said.lock().push_str(&line), &facts, spec, &script).await.unwrap();
    assert!(reply.status.is_success());
    assert_eq!(script.times(), [0, 3, 6, 9, 17, 17]);
    assert_eq!(
        script.asked(0),
        "auth.openai.com:443/api/accounts/deviceauth/usercode {\"client_id\":\"the-client\"}"
    );
    assert_eq!(
        script.asked(1),
        "auth.openai.com:443/api/accounts/deviceauth/token {\"device_auth_id\":\"c4nary-id\",\"user_code\":\"ABCD-EFGHI\"}"
    );
    assert_eq!(
        script.asked(5),
        "auth.openai.com:443/oauth/token grant_type=authorization_code&code=c4nary-code&redirect_uri=https%3A%2F%2Fauth.openai.com%2Fdeviceauth%2Fcallback&code_verifier=c4nary-verifier&client_id=the-client"
    );
    let said = said.into_inner();
    assert!(said.contains("https://auth.openai.com/codex/device") && said.contains("ABCD-EFGHI"), "{said}");
    assert!(!said.contains("c4nary"), "{said}");
    for (answers, why) in [
        (&[begin, (403, r#"{"error":"access_denied"}"#)][..], "said no"),
        (&[begin, (400, "")], "status 400"),
        (&[begin, (200, "{}")], "gave no code"),
        (&[(404, "")], "status 404"),
    ] {
        let failed = vendor(&|_| {}, &facts, spec, &Script::of(answers)).await.unwrap_err();
        assert!(failed.refusal.detail.contains(why), "{why}: {}", failed.refusal.detail);
    }
}
