//! google-cloud-storage, azure-identity with its clients, and PyGithub as they come, before issuers that verify what doorward
//! signs and APIs that take the tokens of those issuers alone.

use std::collections::BTreeMap;
use std::path::Path;

use harness::Proxy;
use tempfile::TempDir;

use super::{Printed, Server, python, run, script};

struct Cloud {
    server: Server,
    proxy: Proxy,
    home: TempDir,
}

impl Cloud {
    /// `what` the server is, its hosts, and the provider's spec without the secret.
    async fn of(python: &Path, what: &str, hosts: &[&str], spec: &str) -> Self {
        let mut server = Server::start_for(python, "cloud_server.py", hosts, &[what]).await;
        let secrets: BTreeMap<String, String> = serde_json::from_str(&server.line().await).unwrap();
        let mut builder = Proxy::builder().provider("cloud", spec);
        for (key, value) in &secrets {
            builder = builder.public_value("cloud", key, value);
        }
        for host in hosts {
            builder = builder.route(host, 443, server.address());
        }
        let mut proxy = builder.start().await;
        for value in secrets.values().filter(|value| value.len() > 40) {
            // Of a key: a line of its own, which stands in no other text.
            let line =
                value.split(['\n', '"']).flat_map(|text| text.split("\\n")).filter(|line| line.len() == 64);
            proxy.watch(line.last().unwrap_or(value));
        }
        Self { server, proxy, home: tempfile::tempdir().unwrap() }
    }

    async fn run(&self, python: &Path, what: &str) -> Printed {
        run(&self.proxy, self.home.path(), python, &[&script("cloud_client.py"), what]).await
    }

    /// The server prints these lines in this order, maybe with others in between (libraries ask for more in threads of their
    /// own). The tokens that it issued are watched for from here on.
    async fn says(&mut self, lines: &[&str]) {
        let mut lines = lines.iter().peekable();
        while let Some(expected) = lines.peek() {
            let mut line = self.server.line().await;
            assert!(!line.starts_with("wrong "), "{line}, before {expected}");
            if let Some(issued) = line.strip_prefix("issued ") {
                let (audience, token) = issued.split_once(' ').unwrap();
                self.proxy.watch(token);
                assert!(expected.starts_with("issued "), "a second token for {audience}, before {expected}");
                line = format!("issued {audience}");
            }
            if line == **expected {
                lines.next();
            }
        }
    }
}

const GOOGLE: &[&str] = &["oauth2.googleapis.com", "storage.googleapis.com"];

async fn google(python: &Path, more: &str) -> Cloud {
    let spec = format!("type: gcp\nauth: {{secretRef: cloud}}\nconfig: {{project: acme-project}}\n{more}");
    Cloud::of(python, "google", GOOGLE, &spec).await
}

#[tokio::test]
async fn google_cloud_storage_is_refused_what_policy_and_scope_do_not_allow() {
    let Some(python) = python() else { return };
    let policy = "policy: {allow: [\"storage.objects.*\"], deny: [storage.objects.delete]}\nscope: {resources: [\"projects/_/buckets/acme/*\"]}";
    let cloud = google(&python, policy).await;
    let printed = cloud.run(&python, "google_refused").await.assert_ok();
    assert_eq!(printed.out.lines().collect::<Vec<_>>(), ["refused True"; 2]);
}

#[tokio::test]
async fn google_cloud_storage_starts_with_the_published_key_file_and_uses_the_real_one() {
    let Some(python) = python() else { return };
    let mut cloud = google(&python, "").await;
    let printed = cloud.run(&python, "google").await.assert_ok();
    printed.assert_says("put get").assert_says("list delete");
    // One token for all of it.
    cloud
        .says(&[
            "issued google",
            "POST oauth2.googleapis.com/token token",
            "POST storage.googleapis.com/upload/storage/v1/b/acme/o stored",
            "GET storage.googleapis.com/download/storage/v1/b/acme/o/plain read",
        ])
        .await;
}

#[tokio::test]
async fn googles_metadata_server_is_answered_for() {
    let Some(python) = python() else { return };
    let cloud = google(&python, "").await;
    cloud.run(&python, "metadata").await.assert_ok().assert_says("dummy token").assert_says("put");
}

const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
const AZURE: &[&str] = &[
    "login.microsoftonline.com",
    "management.azure.com",
    "acme.blob.core.windows.net",
    "v1.vault.azure.net",
];

#[tokio::test]
async fn azure_libraries_get_a_token_for_each_audience_by_secret_and_by_certificate() {
    let Some(python) = python() else { return };
    for what in ["azure", "azure-certificate"] {
        let spec = format!("type: azure\nauth: {{secretRef: cloud}}\nconfig: {{tenantId: {TENANT}}}");
        let mut cloud = Cloud::of(&python, what, AZURE, &spec).await;
        let printed = cloud.run(&python, "azure").await.assert_ok();
        printed.assert_says("blobs").assert_says("vault").assert_says("management");
        let token = format!("POST login.microsoftonline.com/{TENANT}/oauth2/v2.0/token token");
        cloud
            .says(&[
                "issued https://storage.azure.com/.default",
                &token,
                "PUT acme.blob.core.windows.net/logs/plain stored",
                "GET acme.blob.core.windows.net/logs/plain read",
                "DELETE acme.blob.core.windows.net/logs/plain deleted",
            ])
            .await;
    }
}

const GITHUB: &[&str] = &["api.github.com", "github.com"];

#[tokio::test]
async fn pygithub_and_git_use_an_apps_installation_token_for_one_repository() {
    let Some(python) = python() else { return };
    let spec = "type: github\nauth: {type: github-app, secretRef: cloud}\nconfig: {permissions: [\"contents:read\", \"issues:write\"]}\nscope: {repositories: [acme/api]}";
    let mut cloud = Cloud::of(&python, "github", GITHUB, spec).await;
    let printed = cloud.run(&python, "github").await.assert_ok();
    printed.assert_says("token").assert_says("app");
    cloud
        .says(&[
            "issued github",
            "POST api.github.com/app/installations/456/access_tokens token",
            "GET api.github.com/repos/acme/api repository",
            "POST api.github.com/repos/acme/api/issues issue",
            "GET api.github.com/repos/acme/api repository",
        ])
        .await;
    let git = Path::new("git");
    let url = "https://github.com/acme/api.git";
    let listed = run(&cloud.proxy, cloud.home.path(), git, &["ls-remote", url]).await;
    listed.assert_ok();
    cloud
        .says(&[
            "issued github",
            "POST api.github.com/app/installations/456/access_tokens token",
            "GET github.com/acme/api.git/info/refs git",
        ])
        .await;
}

#[tokio::test]
async fn pygithub_and_git_use_an_apps_installation_token_on_a_server_of_ones_own() {
    const HOST: &str = "git.corp.example";
    let Some(python) = python() else { return };
    let spec = "type: github\nhost: git.corp.example\nauth: {type: github-app, secretRef: cloud}\nconfig: {permissions: [\"contents:read\", \"issues:write\"]}\nscope: {repositories: [acme/api]}";
    let mut cloud = Cloud::of(&python, "github", &[HOST], spec).await;
    cloud.run(&python, "github_server").await.assert_ok().assert_says("token");
    let url = format!("https://{HOST}/acme/api.git");
    run(&cloud.proxy, cloud.home.path(), Path::new("git"), &["ls-remote", &url]).await.assert_ok();
    cloud
        .says(&[
            "issued github",
            &format!("POST {HOST}/api/v3/app/installations/456/access_tokens token"),
            &format!("GET {HOST}/api/v3/repos/acme/api repository"),
            &format!("POST {HOST}/api/v3/repos/acme/api/issues issue"),
            &format!("GET {HOST}/acme/api.git/info/refs git"),
        ])
        .await;
}
