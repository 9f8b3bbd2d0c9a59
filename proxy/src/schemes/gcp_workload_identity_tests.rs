//! What is read, what is asked of whom, and what is believed.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use control::catalog::FieldValue;
use control::refusal::Code;
use futures_util::FutureExt as _;
use parking_lot::Mutex;

use super::*;
use crate::schemes::conformance::{fields, opened};
use crate::schemes::exchanges::{GOOD, Scripted};
use crate::schemes::shared::issuer::{Asking, Reading};

const FEDERATED: &str = r#"{"access_token":"c4nary-federated-token","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":3600}"#;
const IMPERSONATED: &str =
    r#"{"accessToken":"ya29.c4nary-of-the-account","expireTime":"2027-01-15T08:30:00Z"}"#;

/// Google's two services, and a file.
struct Scene {
    sts: Scripted,
    iam: Scripted,
    file: &'static str,
    read: Mutex<VecDeque<String>>,
}

impl Issuer for Scene {
    fn ask<'a>(&'a self, ask: Ask) -> Asking<'a> {
        let of = if ask.target.to_string().starts_with("sts.") { &self.sts } else { &self.iam };
        of.ask(ask)
    }

    fn now(&self) -> std::time::SystemTime {
        self.sts.now()
    }

    fn file<'a>(&'a self, path: &'a Path) -> Reading<'a> {
        self.read.lock().push_back(path.display().to_string());
        Box::pin(async move { Ok(Secret::new(self.file.as_bytes().to_vec())) })
    }
}

fn scene(file: &'static str, sts: &str, iam: &str) -> Scene {
    Scene { sts: Scripted::new(200, sts), iam: Scripted::new(200, iam), file, read: Mutex::default() }
}

fn key(impersonate: bool, json: bool) -> String {
    let mut file = serde_json::json!({
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/pool-1/providers/k8s",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": STS,
        "credential_source": {"file": "/var/run/tokens/subject"},
    });
    if impersonate {
        file["service_account_impersonation_url"] = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/bot@p.iam.gserviceaccount.com:generateAccessToken".into();
        file["service_account_impersonation"] = serde_json::json!({"token_lifetime_seconds": 1800});
    }
    if json {
        file["credential_source"]["format"] =
            serde_json::json!({"type": "json", "subject_token_field_name": "id_token"});
    }
    file.to_string()
}

fn obtained(key: &str, more: &[(&'static str, &str)], scene: &Scene) -> Result<Issued, Failed> {
    let text = |text: &str| FieldValue::Text(text.to_owned());
    let mut all = fields([
        ("tokenUrl", text(STS)),
        ("impersonationUrl", text("https://iamcredentials.googleapis.com/")),
        ("subjectTokenFile", text("/run/t/s")),
        ("scopes", text("https://www.googleapis.com/auth/devstorage.read_only")),
    ]);
    all.0.extend(more.iter().map(|(name, value)| (*name, text(value))));
    let scheme = build(&all).unwrap();
    let opened = opened(&[("key.json", key)]);
    let exchange = scheme.exchange().unwrap();
    let outcome =
        exchange.obtain(scene, Values::new(&opened, &["key.json".to_owned()])).now_or_never().unwrap();
    assert!(!format!("{outcome:?} {scheme:?}").contains("c4nary"));
    outcome
}

#[test]
fn refuses_credential_files_and_subject_files_that_are_none_and_asks_nobody() {
    let good = key(false, false);
    let service_account = r#"{"type":"service_account","client_email":"c4nary@x"}"#.to_owned();
    let by_url = good.replace("\"file\":", "\"url\":\"https://c4nary.example\",\"file\":");
    for (key, file, told) in [
        (&service_account, "c4nary-subject", "use auth type `gcp-service-account`"),
        (&by_url, "c4nary-subject", "`url`, which is refused"),
        (&good, "", "holds no token"),
        (&good, "c4nary", "holds no token"),
        (&good, "c4nary subject", "holds no token"),
        (&good, "c4nary\u{0}subject", "holds no token"),
        (&key(false, true), "c4nary-subject", "not the JSON object"),
        (&key(false, true), r#"{"other":"c4nary-subject"}"#, "not the JSON object"),
        (&key(false, true), r#"{"id_token":"c4nary-one","id_token":"c4nary-two"}"#, "not the JSON object"),
    ] {
        let scene = scene(file, FEDERATED, IMPERSONATED);
        let failed = obtained(key, &[], &scene).unwrap_err();
        assert_eq!(failed.refusal.code, Code::Dw1004, "{file}");
        let detail = &failed.refusal.detail;
        assert!(detail.contains(told) && !detail.contains("c4nary"), "{detail}");
        assert!(scene.sts.asked.lock().is_empty());
    }
}

#[test]
fn the_subject_token_is_exchanged_for_the_scopes_that_are_asked_for() {
    let scene = scene("  c4nary.subject.token\n", FEDERATED, "");
    let issued = obtained(&key(false, false), &[], &scene).unwrap();
    assert!(issued.token.matches(b"c4nary-federated-token"));
    // Not the credential file's own.
    assert_eq!(scene.read.lock().pop_back().unwrap(), "/run/t/s");
    assert_eq!(
        scene.sts.asked.lock().as_slice(),
        ["POST sts.googleapis.com:443/v1/token\naccept: application/json\n\
          content-type: application/x-www-form-urlencoded\n\
          grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange\
          &audience=%2F%2Fiam.googleapis.com%2Fprojects%2F123%2Flocations%2Fglobal%2FworkloadIdentityPools%2Fpool-1%2Fproviders%2Fk8s\
          &scope=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fdevstorage.read_only\
          &requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token\
          &subject_token=c4nary.subject.token&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt"]
    );
    assert!(scene.iam.asked.lock().is_empty());
}

#[test]
fn an_account_is_impersonated_with_the_federated_token_alone() {
    let scene = scene(r#"{"id_token":"c4nary.subject.token"}"#, FEDERATED, IMPERSONATED);
    let issued = obtained(&key(true, true), &[], &scene).unwrap();
    assert!(issued.token.matches(b"ya29.c4nary-of-the-account") && issued.life == Duration::from_secs(1800));
    assert_eq!(scene.read.lock().pop_back().unwrap(), "/run/t/s");
    let asked = scene.sts.asked.lock().pop().unwrap();
    assert!(asked.contains("&scope=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fcloud-platform&"), "{asked}");
    assert_eq!(
        scene.iam.asked.lock().as_slice(),
        [
            "POST iamcredentials.googleapis.com:443/v1/projects/-/serviceAccounts/bot@p.iam.gserviceaccount.com:generateAccessToken\n\
          accept: application/json\ncontent-type: application/json\nauthorization: Bearer c4nary-federated-token\n\
          {\"lifetime\":\"1800s\",\"scope\":[\"https://www.googleapis.com/auth/devstorage.read_only\"]}"
        ]
    );
}

#[test]
fn refuses_a_scheme_without_the_operators_own_file() {
    let text = |text: &str| FieldValue::Text(text.to_owned());
    let without = fields([("tokenUrl", text(STS)), ("impersonationUrl", text(STS))]);
    assert_eq!(build(&without).unwrap_err(), BuildError::Missing("subjectTokenFile"));
}

#[test]
fn a_file_that_is_just_being_written_and_a_token_that_has_just_ended_are_no_lasting_no() {
    for file in ["", "c4nary", "{"] {
        let failed = obtained(&key(false, true), &[], &scene(file, FEDERATED, "")).unwrap_err();
        assert_eq!(failed.because, Because::Unavailable(None), "{file}");
    }
    for (said, because) in
        [("invalid_grant", Because::Unavailable(None)), ("invalid_target", Because::Refused)]
    {
        let mut scene = scene("c4nary.subject.token", "", "");
        scene.sts = Scripted::new(400, &format!(r#"{{"error":"{said}"}}"#));
        assert_eq!(obtained(&key(false, false), &[], &scene).unwrap_err().because, because);
    }
}

#[test]
fn an_accounts_token_is_not_used_for_longer_than_was_asked_for() {
    let far = IMPERSONATED.replace("2027", "2099");
    let issued = obtained(&key(true, false), &[], &scene("c4nary.subject.token", FEDERATED, &far)).unwrap();
    assert_eq!(issued.life, Duration::from_secs(1800));
}

#[test]
fn no_answer_is_believed_that_is_no_token() {
    for (sts, iam) in [
        ("{}", IMPERSONATED),
        (r#"{"access_token":"c4nary-federated","token_type":"N_A","expires_in":1}"#, IMPERSONATED),
        (FEDERATED, "{}"),
        (FEDERATED, r#"{"accessToken":"c4nary-of-the-account"}"#),
        (FEDERATED, r#"{"accessToken":"c4nary-of-the-account","expireTime":"soon"}"#),
        (FEDERATED, r#"{"accessToken":"c4nary-of-the-account","expireTime":"2020-01-01T00:00:00Z"}"#),
    ] {
        let scene = scene("c4nary.subject.token", sts, iam);
        assert_eq!(
            obtained(&key(true, false), &[], &scene).unwrap_err().refusal.code,
            Code::Dw2010,
            "{sts} {iam}"
        );
    }
    let mut scene = scene("c4nary.subject.token", GOOD, "");
    scene.iam = Scripted::new(403, r#"{"error":{"code":403,"message":"c4nary"}}"#);
    let failed = obtained(&key(true, false), &[], &scene).unwrap_err();
    assert!(failed.refusal.code == Code::Dw1005 && !failed.refusal.detail.contains("c4nary"));
}
