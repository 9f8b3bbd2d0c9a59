//! `doorward connect` for clouds, GitHub Enterprise and registries: the credential is exchanged where its type says, and the
//! call that tells whether it works goes where the provider is.

use super::*;

/// Tokens for whoever asks a login, keys for whoever asks STS, all else is fine.
fn issuing() -> answer::Answer {
    answer::made(|seen: &Seen| {
        let role = seen.method == "POST" && seen.authority.starts_with("sts.eu-west-1.");
        let token = seen.authority.starts_with("login.") || seen.target.starts_with("/token?");
        let body = match (role, token) {
            (true, _) => KEYS,
            (_, true) => {
                r#"{"access_token": "issued-c4nary-of-the-issuer", "token_type": "Bearer", "expires_in": 3600}"#
            }
            _ => "{}",
        };
        Response::builder().header("content-type", "application/json").body(answer::full(body)).unwrap()
    })
}

const KEYS: &str = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
    <AccessKeyId>ASIATEMPORARY</AccessKeyId><SecretAccessKey>temporary/secret</SecretAccessKey>\
    <SessionToken>issued-c4nary-session</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>\
    </AssumeRoleResult></AssumeRoleResponse>";

const TENANT: &str = "config.tenantId=72f988bf-86f1-41af-91ab-2d7cd011db47";

#[tokio::test]
async fn what_a_cloud_does_not_have_is_refused_before_a_value_is_read() {
    let world = World::with(&["api.example.com"], issuing()).await;
    for (words, told) in [
        (
            &["azure", "--from-stdin", "client_secret", "--set", TENANT, "--set", "config.cloud=moon"][..],
            "`config.cloud`",
        ),
        (
            &["aws", "--from-stdin", "secret_access_key", "--set", "config.assumeRole.arn=x"],
            "`config.assumeRole.arn`",
        ),
        (
            &[
                "docker-registry",
                "--host",
                "r.example.com",
                "--auth",
                "token-service",
                "--from-stdin",
                "password",
            ],
            "`config.tokenService` is missing",
        ),
    ] {
        world.connect(words).await.assert_fails(2, told);
    }
    assert_eq!(world.providers(), [] as [String; 0]);
    world.origin.assert_untouched();
}

#[tokio::test]
async fn a_role_is_assumed_before_it_is_verified() {
    let world = World::with(&["sts.eu-west-1.amazonaws.com", "sts.amazonaws.com"], issuing()).await;
    world.home.write("access_key_id", "AKIAREALREALREALREAL");
    let id = world.home.path("access_key_id");
    let role = "config.assumeRole.arn=arn:aws:iam::123456789012:role/bot";
    let words = ["aws", "--from-file", id.to_str().unwrap(), "--from-stdin", "secret_access_key"];
    let more = ["--set", "config.region=eu-west-1", "--set", role, "--set", "config.assumeRole.duration=900"];
    world.connect(&[&words[..], &more].concat()).await.assert_ok();
    let seen = world.origin.requests();
    let signed = |at: usize| seen[at].header("authorization").unwrap().to_owned();
    assert!(signed(0).contains("Credential=AKIAREALREALREALREAL/"), "{}", signed(0));
    assert!(signed(1).contains("Credential=ASIATEMPORARY/"), "{}", signed(1));
    assert_eq!(seen[1].header("x-amz-security-token"), Some("issued-c4nary-session"));
}

#[tokio::test]
async fn another_cloud_is_asked_at_its_own_login_and_management() {
    let world = World::with(&["login.chinacloudapi.cn", "management.chinacloudapi.cn"], issuing()).await;
    world.home.write("client_id", "11111111-2222-3333-4444-555555555555");
    let id = world.home.path("client_id");
    let words =
        ["azure", "--set", TENANT, "--set", "config.cloud=china", "--from-file", id.to_str().unwrap()];
    world.connect(&[&words[..], &["--from-stdin", "client_secret"]].concat()).await.assert_ok();
    let seen = world.origin.requests();
    assert_eq!(
        (&*seen[0].authority, &*seen[1].authority),
        ("login.chinacloudapi.cn", "management.chinacloudapi.cn")
    );
    assert_eq!(seen[1].header("authorization"), Some("Bearer issued-c4nary-of-the-issuer"));
}

#[tokio::test]
async fn github_enterprise_is_verified_at_its_own_api() {
    for (host, api, path) in [
        ("git.corp.example", "git.corp.example", "/api/v3/user"),
        ("acme.ghe.com", "api.acme.ghe.com", "/user"),
    ] {
        let world = World::with(&[api], issuing()).await;
        world.connect(&["github", "--host", host, "--from-stdin", "token"]).await.assert_ok();
        let seen = world.origin.only();
        assert_eq!((&*seen.authority, &*seen.target), (api, path));
        assert_eq!(seen.headers_named("authorization"), [format!("Bearer {}", world.secret)]);
    }
}

#[tokio::test]
async fn a_registrys_credential_goes_to_its_token_service_alone() {
    let world = World::with(&["ghcr.io"], issuing()).await;
    world.home.write("username", "acme");
    let user = world.home.path("username");
    let words = [
        "docker-registry",
        "--host",
        "ghcr.io",
        "--auth",
        "token-service",
        "--from-file",
        user.to_str().unwrap(),
    ];
    world.connect(&[&words[..], &["--from-stdin", "password"]].concat()).await.assert_ok();
    let seen = world.origin.requests();
    let pair = STANDARD.encode(format!("acme:{}", world.secret));
    assert_eq!(
        (&*seen[0].target, seen[0].header("authorization")),
        ("/token?service=ghcr.io", Some(&*format!("Basic {pair}")))
    );
    assert_eq!(
        (&*seen[1].target, seen[1].header("authorization")),
        ("/v2/", Some("Bearer issued-c4nary-of-the-issuer"))
    );
}

#[tokio::test]
async fn a_federated_identity_is_kept_with_both_of_googles_services() {
    let world = World::with(&["api.example.com"], issuing()).await;
    let file = serde_json::json!({
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool-1/providers/k8s",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": {"file": "/var/run/tokens/gcp"},
    });
    world.home.write("key.json", &file.to_string());
    let key = world.home.path("key.json");
    let words = ["gcp", "--auth", "workload-identity", "--from-file", key.to_str().unwrap()];
    let ran = world.connect(&words).await;
    assert!(ran.stderr.contains("config.subjectTokenFile"), "{}", ran.stderr);
    let words = [words.as_slice(), &["--set", "config.subjectTokenFile=/var/run/tokens/gcp"]].concat();
    // The file lies where the proxy will run.
    world.connect(&words).await.assert_fails(1, "the subject token's file cannot be read");
    world.assert_nothing_kept();
    let ran = world.connect(&[words.as_slice(), &["--no-verify"]].concat()).await;
    let told = &ran.assert_ok().stderr;
    assert!(told.contains("*.googleapis.com") && told.contains("sts.googleapis.com"), "{told}");
    assert_eq!(world.providers(), ["gcp.yaml"]);
}
