//! Workload identity federation's credential files (`type: external_account`): who vouches for whom, and where the subject
//! token lies.
//!
//! Refuses sources that would have doorward ask another host, run a program or act as a machine's own role, each by its name
//! with the reason; token endpoints other than Google's; and fields whose meaning is not kept. Nothing in such a file is
//! secret but for what it points to, yet faults tell only the names of its fields.

use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{KeyFileFault, visible};

/// Google's security token service.
pub const STS: &str = "https://sts.googleapis.com/v1/token";
/// What stands around the account in the URL by which it is impersonated.
const IMPERSONATE: (&str, &str) =
    ("https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/", ":generateAccessToken");
/// The kinds of subject tokens that a file can hold.
const TYPES: &[&str] = &[
    "urn:ietf:params:oauth:token-type:jwt",
    "urn:ietf:params:oauth:token-type:id_token",
    "urn:ietf:params:oauth:token-type:saml2",
];
/// How long an impersonated account's token may live, in seconds.
const LIFE: std::ops::RangeInclusive<u32> = 600..=43_200;

/// A federated identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalAccount {
    /// The pool's provider that takes the subject token.
    pub audience: String,
    /// What kind of token it is.
    pub subject_token_type: &'static str,
    /// The file that holds it.
    pub file: PathBuf,
    /// The field of a JSON file in which it stands; `None`: the file is the token.
    pub json_field: Option<String>,
    /// The service account that is impersonated with what the service gives.
    pub impersonated: Option<String>,
    /// How long the account's token is asked for, in seconds.
    pub seconds: u32,
}

#[derive(Deserialize)]
struct File<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    audience: Option<Cow<'a, str>>,
    #[serde(borrow)]
    subject_token_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    token_url: Option<Cow<'a, str>>,
    #[serde(borrow)]
    service_account_impersonation_url: Option<Cow<'a, str>>,
    service_account_impersonation: Option<Impersonation>,
    #[serde(borrow)]
    credential_source: Option<Source<'a>>,
    #[serde(borrow)]
    universe_domain: Option<Cow<'a, str>>,
    // What would change what is asked.
    client_id: Option<IgnoredAny>,
    client_secret: Option<IgnoredAny>,
    workforce_pool_user_project: Option<IgnoredAny>,
    quota_project_id: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Impersonation {
    token_lifetime_seconds: Option<u32>,
}

#[derive(Deserialize)]
struct Source<'a> {
    #[serde(borrow)]
    file: Option<Cow<'a, str>>,
    #[serde(borrow)]
    format: Option<Format<'a>>,
    url: Option<IgnoredAny>,
    executable: Option<IgnoredAny>,
    environment_id: Option<IgnoredAny>,
    certificate: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Format<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    subject_token_field_name: Option<Cow<'a, str>>,
}

impl ExternalAccount {
    /// Reads a credential file.
    pub fn read(text: &[u8]) -> Result<Self, KeyFileFault> {
        let file: File<'_> = serde_json::from_slice(text).map_err(|_| KeyFileFault::ExternalForm)?;
        match file.kind.as_deref() {
            Some("external_account") => {}
            Some("service_account") => return Err(KeyFileFault::NotExternal),
            _ => return Err(KeyFileFault::Invalid("type", "`external_account`")),
        }
        let changing = [
            ("client_id", file.client_id.is_some()),
            ("client_secret", file.client_secret.is_some()),
            ("workforce_pool_user_project", file.workforce_pool_user_project.is_some()),
            // Another project would be charged than the file says: the agent names it in `x-goog-user-project`.
            ("quota_project_id", file.quota_project_id.is_some()),
        ];
        if let Some((field, _)) = changing.into_iter().find(|(_, given)| *given) {
            return Err(KeyFileFault::Unserved(field));
        }
        if file.universe_domain.is_some_and(|domain| domain != "googleapis.com") {
            return Err(KeyFileFault::Invalid("universe_domain", "`googleapis.com`"));
        }
        if file.token_url.ok_or(KeyFileFault::Missing("token_url"))? != STS {
            return Err(KeyFileFault::Invalid(
                "token_url",
                "Google's (`https://sts.googleapis.com/v1/token`)",
            ));
        }
        let audience = visible(file.audience, "audience")?
            .filter(|audience| is_pool(audience))
            .ok_or(KeyFileFault::Invalid("audience", "a provider of a workload identity pool"))?;
        let kind = file.subject_token_type.ok_or(KeyFileFault::Missing("subject_token_type"))?;
        let kind = TYPES.iter().find(|known| **known == kind).copied();
        let kind = kind.ok_or(KeyFileFault::Invalid("subject_token_type", "a JWT, an ID token or SAML 2"))?;
        let impersonated = file.service_account_impersonation_url.map(|url| account(&url)).transpose()?;
        let seconds = file.service_account_impersonation.and_then(|one| one.token_lifetime_seconds);
        let seconds = Some(seconds.unwrap_or(3600)).filter(|seconds| LIFE.contains(seconds));
        let source = file.credential_source.ok_or(KeyFileFault::Missing("credential_source"))?;
        let (file, json_field) = source.read()?;
        Ok(Self {
            audience,
            subject_token_type: kind,
            file,
            json_field,
            impersonated,
            seconds: seconds.ok_or(KeyFileFault::Invalid("token_lifetime_seconds", "from 600 to 43200"))?,
        })
    }
}

impl Source<'_> {
    fn read(self) -> Result<(PathBuf, Option<String>), KeyFileFault> {
        let others = [
            ("url", "another host would be asked, which no policy knows", self.url.is_some()),
            ("executable", "a program would be run with the proxy's rights", self.executable.is_some()),
            ("environment_id", "it acts as the machine's own AWS role", self.environment_id.is_some()),
            ("certificate", "it asks by a client certificate", self.certificate.is_some()),
        ];
        if let Some((kind, why, _)) = others.into_iter().find(|(_, _, given)| *given) {
            return Err(KeyFileFault::Source(kind, why));
        }
        let path = self.file.ok_or(KeyFileFault::Missing("credential_source.file"))?;
        if !is_path(&path) {
            return Err(KeyFileFault::Invalid("credential_source.file", "an absolute path without `..`"));
        }
        let field = match self.format {
            None => None,
            Some(format) => match format.kind.as_deref() {
                None | Some("text") => None,
                Some("json") => visible(format.subject_token_field_name, "subject_token_field_name")?,
                Some(_) => return Err(KeyFileFault::Invalid("format.type", "`text` or `json`")),
            },
        };
        Ok((PathBuf::from(path.as_ref()), field))
    }
}

/// Whether a text is a path that means the same from everywhere.
pub(crate) fn is_path(text: &str) -> bool {
    let plain = !text.contains(char::is_control) && text.len() <= 1024;
    plain && text.starts_with('/') && !text.split('/').any(|part| part == "..")
}

/// The folders at the top that are the system's.
const SYSTEM: &[&str] = &[
    "bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "media", "mnt", "opt", "private",
    "proc", "root", "run", "sbin", "srv", "sys", "tmp", "usr", "var",
];

/// Whether the proxy may read all of a folder because a token lies in it: not so the root, a folder of the system itself,
/// and what the kernel makes up.
pub fn is_folder_of_tokens(folder: &Path) -> bool {
    let parts = folder.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_str().unwrap_or_default()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => None,
    });
    match parts.collect::<Vec<_>>().as_slice() {
        [] | ["proc" | "sys" | "dev", ..] | ["var", "run" | "lib"] => false,
        [top] => !SYSTEM.contains(top),
        _ => true,
    }
}

/// `//iam.googleapis.com/projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER`
fn is_pool(audience: &str) -> bool {
    let parts: Vec<&str> = audience.split('/').collect();
    let name = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    match parts.as_slice() {
        [
            "",
            "",
            "iam.googleapis.com",
            "projects",
            number,
            "locations",
            "global",
            "workloadIdentityPools",
            pool,
            "providers",
            provider,
        ] => number.bytes().all(|b| b.is_ascii_digit()) && !number.is_empty() && name(pool) && name(provider),
        _ => false,
    }
}

/// The account in an impersonation URL, which has to be Google's own.
fn account(url: &str) -> Result<String, KeyFileFault> {
    let between = url.strip_prefix(IMPERSONATE.0).and_then(|rest| rest.strip_suffix(IMPERSONATE.1));
    let is_email = |text: &&str| {
        let is_byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._@".contains(&b);
        text.bytes().all(is_byte) && text.split('@').filter(|part| !part.is_empty()).count() == 2
    };
    between.filter(is_email).filter(|text| text.len() <= 256 && text.matches('@').count() == 1).map(str::to_owned).ok_or(
        KeyFileFault::Invalid(
            "service_account_impersonation_url",
            "Google's (`https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/ACCOUNT:generateAccessToken`)",
        ),
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn file() -> serde_json::Value {
        serde_json::json!({
            "type": "external_account",
            "audience": "//iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/pool-1/providers/k8s",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": STS,
            "token_info_url": "https://sts.googleapis.com/v1/introspect",
            "service_account_impersonation_url": "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/bot@p.iam.gserviceaccount.com:generateAccessToken",
            "service_account_impersonation": {"token_lifetime_seconds": 1800},
            "credential_source": {
                "file": "/var/run/tokens/subject",
                "format": {"type": "json", "subject_token_field_name": "id_token"},
            },
        })
    }

    fn fault(change: impl FnOnce(&mut serde_json::Value)) -> String {
        let mut file = file();
        change(&mut file);
        ExternalAccount::read(file.to_string().as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn refuses_sources_that_are_no_file_by_their_name_with_the_reason() {
        for (source, name, why) in [
            (serde_json::json!({"url": "https://evil.example/c4nary"}), "`url`", "another host"),
            (serde_json::json!({"executable": {"command": "/bin/c4nary"}}), "`executable`", "program"),
            (serde_json::json!({"environment_id": "aws1"}), "`environment_id`", "AWS role"),
            (serde_json::json!({"certificate": {}}), "`certificate`", "client certificate"),
            (
                serde_json::json!({"file": "/a", "url": "https://evil.example/c4nary"}),
                "`url`",
                "another host",
            ),
            (serde_json::json!({}), "credential_source.file", "lacks"),
            (serde_json::json!({"file": "c4nary"}), "credential_source.file", "absolute"),
            (serde_json::json!({"file": "/run/../etc/c4nary"}), "credential_source.file", "absolute"),
            (
                serde_json::json!({"file": "/a", "format": {"type": "json"}}),
                "subject_token_field_name",
                "lacks",
            ),
            (serde_json::json!({"file": "/a", "format": {"type": "xml"}}), "format.type", "text"),
        ] {
            let told = fault(|file| file["credential_source"] = source.clone());
            assert!(
                told.contains(name) && told.contains(why) && !told.contains("c4nary"),
                "{source}: {told}"
            );
        }
    }

    #[test]
    fn refuses_every_endpoint_but_googles() {
        for url in [
            "https://evil.example/v1/token",
            "https://sts.googleapis.com.evil.example/v1/token",
            "https://sts.googleapis.com@evil.example/v1/token",
            "http://sts.googleapis.com/v1/token",
            "https://sts.googleapis.com/v1/token?x",
            "https://sts.googleapis.com:444/v1/token",
            "https://storage.googleapis.com/v1/token",
        ] {
            assert!(fault(|file| file["token_url"] = url.into()).contains("token_url"), "{url}");
        }
        let own = file()["service_account_impersonation_url"].as_str().unwrap().to_owned();
        for url in [
            own.replace("iamcredentials.googleapis.com", "evil.example"),
            own.replace("https:", "http:"),
            own.replace("bot@", "bot@x@"),
            own.replace("bot@", "a/../b@"),
            own.replace("bot@", "%2e@"),
            own.replace(":generateAccessToken", ":signBlob"),
            own.replace(":generateAccessToken", ":generateAccessToken?x:generateAccessToken"),
        ] {
            let told = fault(|file| file["service_account_impersonation_url"] = url.clone().into());
            assert!(told.contains("service_account_impersonation_url"), "{url}");
        }
    }

    #[test]
    fn a_token_opens_no_folder_of_the_system() {
        for folder in [
            "/",
            "//",
            "/.",
            "/etc",
            "/etc/",
            "/run",
            "/var/run",
            "/proc/self",
            "/sys/a/b",
            "/dev/shm",
            "/root",
            "/tmp",
        ] {
            assert!(!is_folder_of_tokens(Path::new(folder)), "{folder}");
        }
        for folder in ["/tokens", "/var/run/tokens", "/run/secrets/gcp", "/etc/gcp", "/tmp/x"] {
            assert!(is_folder_of_tokens(Path::new(folder)), "{folder}");
        }
    }

    #[test]
    fn refuses_what_would_be_asked_otherwise() {
        for (field, value) in [
            ("type", "authorized_user"),
            ("audience", "//iam.googleapis.com/locations/global/workforcePools/p/providers/x"),
            ("audience", "https://evil.example"),
            ("subject_token_type", "urn:ietf:params:aws:token-type:aws4_request"),
            ("client_id", "c4nary"),
            ("client_secret", "c4nary"),
            ("workforce_pool_user_project", "c4nary"),
            ("quota_project_id", "c4nary"),
            ("universe_domain", "c4nary.example"),
        ] {
            let told = fault(|file| file[field] = value.into());
            assert!(told.contains(field) && !told.contains("c4nary"), "{field}: {told}");
        }
        for field in ["audience", "subject_token_type", "token_url", "credential_source"] {
            let told = fault(|file| drop(file.as_object_mut().unwrap().remove(field)));
            assert!(told.contains(field), "{told}");
        }
        for seconds in [0, 599, 43_201] {
            let told = fault(|file| {
                file["service_account_impersonation"]["token_lifetime_seconds"] = seconds.into()
            });
            assert!(told.contains("token_lifetime_seconds"), "{told}");
        }
        let twice = file().to_string().replacen("{", "{\"token_url\":\"https://evil.example\",", 1);
        assert_eq!(ExternalAccount::read(twice.as_bytes()).unwrap_err(), KeyFileFault::ExternalForm);
        assert_eq!(ExternalAccount::read(b"[]").unwrap_err(), KeyFileFault::ExternalForm);
    }

    #[test]
    fn reads_what_gcloud_writes() {
        let account = ExternalAccount::read(file().to_string().as_bytes()).unwrap();
        assert_eq!(account.file, PathBuf::from("/var/run/tokens/subject"));
        assert_eq!((account.json_field.as_deref(), account.seconds), (Some("id_token"), 1800));
        assert_eq!(account.impersonated.as_deref(), Some("bot@p.iam.gserviceaccount.com"));
        let mut plain = file();
        plain["credential_source"] = serde_json::json!({"file": "/a", "format": {"type": "text"}});
        for field in ["service_account_impersonation_url", "service_account_impersonation"] {
            plain.as_object_mut().unwrap().remove(field);
        }
        let account = ExternalAccount::read(plain.to_string().as_bytes()).unwrap();
        assert_eq!((account.json_field, account.impersonated, account.seconds), (None, None, 3600));
    }
}
