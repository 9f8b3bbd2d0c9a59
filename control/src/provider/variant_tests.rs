//! Other clouds and GitHub Enterprise: what follows from one word of the file.

use super::parse_text;
use super::testing::SCHEMES;
use crate::catalog::Fields;
use crate::target::Target;

fn spec(text: &str) -> String {
    format!("apiVersion: doorward.dev/v1alpha1\nkind: Provider\nmetadata: {{name: p}}\nspec:\n{text}")
}

/// Hosts, then for each of these targets scheme and fields.
fn loaded(text: &str) -> std::sync::Arc<super::Provider> {
    let loaded = parse_text("p.yaml", &spec(text), SCHEMES);
    std::sync::Arc::clone(&loaded.unwrap_or_else(|mistakes| panic!("{mistakes:?}")).providers[0])
}

fn mistake(text: &str) -> String {
    let mistakes = parse_text("p.yaml", &spec(text), SCHEMES).unwrap_err();
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn at<'p>(provider: &'p super::Provider, host: &str) -> (&'static str, &'p Fields) {
    let target = Target::parse_host(host, 443).unwrap();
    let injection = provider.auth.as_ref().unwrap().injection_for(&target).unwrap();
    (injection.scheme, &injection.fields)
}

fn hosts(provider: &super::Provider) -> Vec<String> {
    provider.hosts.iter().map(ToString::to_string).collect()
}

#[test]
fn a_cloud_that_is_none_and_hosts_of_another_cloud_are_refused() {
    let azure = |more: &str| format!("  type: azure\n  auth: {{secretRef: s}}\n{more}");
    let told = mistake(&azure("  config: {tenantId: t, cloud: moon}\n"));
    assert!(told.contains("p.yaml:7:") && told.contains("`config.cloud` has to be one of"), "{told}");
    for (cloud, host) in [
        ("usgovernment", "management.azure.com"),
        ("china", "acme.blob.core.windows.net"),
        ("public", "management.usgovcloudapi.net"),
        ("usgovernment", "*.vault.azure.cn"),
    ] {
        let told =
            mistake(&azure(&format!("  host: \"{host}\"\n  config: {{tenantId: t, cloud: {cloud}}}\n")));
        assert!(told.contains("gets tokens for the hosts of its vendor"), "{cloud} {host}: {told}");
    }
}

#[test]
fn another_cloud_has_its_own_hosts_login_audiences_and_authority() {
    for (cloud, manager, vault, login) in [
        (
            "usgovernment",
            "management.usgovcloudapi.net",
            "vault.usgovcloudapi.net",
            "login.microsoftonline.us",
        ),
        ("china", "management.chinacloudapi.cn", "vault.azure.cn", "login.chinacloudapi.cn"),
        ("public", "management.azure.com", "vault.azure.net", "login.microsoftonline.com"),
    ] {
        let provider = loaded(&format!(
            "  type: azure\n  auth: {{secretRef: s}}\n  config: {{tenantId: t, cloud: {cloud}}}\n"
        ));
        assert!(hosts(&provider).contains(&manager.to_owned()), "{:?}", hosts(&provider));
        let urls = &provider.auth.as_ref().unwrap().token_urls;
        assert_eq!(urls.iter().map(ToString::to_string).collect::<Vec<_>>(), [format!("https://{login}/")]);
        let (_, fields) = at(&provider, &format!("v1.{vault}"));
        assert_eq!(fields.text("audience"), Some(&*format!("https://{vault}")));
        assert_eq!(provider.verify.as_ref().unwrap().target.to_string(), format!("{manager}:443"));
        let authority = provider.agent_env.iter().find(|(name, _)| name == "AZURE_AUTHORITY_HOST");
        let expected = (cloud != "public").then(|| format!("https://{login}"));
        assert_eq!(authority.map(|(_, value)| value.clone()), expected);
    }
}

#[test]
fn a_server_of_github_enterprise_is_one_host_with_its_api_below_api() {
    for auth in ["pat", "github-app"] {
        let provider = loaded(&format!(
            "  type: github\n  host: git.corp.example:8443\n  auth: {{type: {auth}, secretRef: s}}\n"
        ));
        assert_eq!(hosts(&provider), ["git.corp.example:8443"]);
        let (scheme, fields) = at(&provider, "git.corp.example:8443");
        let path = provider.verify.as_ref().unwrap().path_and_query.clone();
        let dummy = provider.auth.as_ref().unwrap().dummy().to_owned();
        for pair in [("GH_HOST", "git.corp.example:8443"), ("GH_ENTERPRISE_TOKEN", &*dummy)] {
            assert!(provider.agent_env.contains(&(pair.0.to_owned(), pair.1.to_owned())), "{pair:?}");
        }
        if auth == "pat" {
            assert_eq!((scheme, path.as_str()), ("github-server", "/api/v3/user"));
        } else {
            assert_eq!((scheme, path.as_str()), ("github-app", "/api/v3/installation/repositories"));
            assert_eq!(fields.text("as"), Some("by-path"));
            assert_eq!(fields.text("tokenUrl"), Some("https://git.corp.example:8443/api/v3"));
        }
    }
}

#[test]
fn a_host_of_ghe_com_that_is_no_tenant_is_refused_where_it_stands_for_an_installation() {
    for host in ["api.acme.ghe.com", "ghe.com", "acme.ghe.com:8443", "\"*.ghe.com\""] {
        let told = mistake(&format!("  type: github\n  host: {host}\n  auth: {{secretRef: s}}\n"));
        assert!(told.contains("p.yaml:6:") && told.contains("`TENANT.ghe.com`"), "{host}: {told}");
    }
}

#[test]
fn a_tenant_of_ghe_com_has_a_host_for_each_part() {
    let provider = loaded("  type: github\n  host: Acme.ghe.com\n  auth: {type: github-app, secretRef: s}\n");
    let own = ["api.acme.ghe.com", "acme.ghe.com", "uploads.acme.ghe.com", "codeload.acme.ghe.com"];
    assert_eq!(hosts(&provider), own);
    for (host, puts) in
        [("api.acme.ghe.com", "bearer"), ("acme.ghe.com", "basic"), ("codeload.acme.ghe.com", "bearer")]
    {
        let (_, fields) = at(&provider, host);
        assert_eq!(
            (fields.text("as"), fields.text("tokenUrl")),
            (Some(puts), Some("https://api.acme.ghe.com/"))
        );
    }
    let pat = loaded("  type: github\n  host: acme.ghe.com\n  auth: {secretRef: s}\n");
    assert_eq!((at(&pat, "api.acme.ghe.com").0, at(&pat, "acme.ghe.com").0), ("header", "basic"));
    assert_eq!(pat.verify.as_ref().unwrap().target.to_string(), "api.acme.ghe.com:443");
}
