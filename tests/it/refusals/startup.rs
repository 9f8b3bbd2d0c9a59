//! What `doorward proxy` refuses to start with, and how it says so.

use harness::proxy::Failure;
use harness::{Proxy, ProxyBuilder};

use crate::world::{HOST, bearer, bearer_and, token};

async fn fails(builder: ProxyBuilder) -> Failure {
    match builder.try_start().await {
        Ok(_) => panic!("it started"),
        Err(failure) => failure,
    }
}

/// The file is refused with its place, and the message holds `words`.
async fn file_fails(spec: &str, words: &[&str]) {
    let failure = fails(Proxy::builder().provider("bad", spec)).await;
    assert_eq!(failure.code, Some(1), "{spec}\n{}", failure.stderr);
    let place = failure.stderr.lines().find(|line| line.contains("bad.yaml:"));
    let place = place.unwrap_or_else(|| panic!("no place for\n{spec}\n{}", failure.stderr));
    let numbers = place.split("bad.yaml:").nth(1).unwrap().splitn(3, ':').take(2);
    assert_eq!(numbers.filter(|n| n.parse::<u32>().is_ok()).count(), 2, "{place}");
    for word in words {
        assert!(failure.stderr.contains(word), "{word:?} is not in\n{}", failure.stderr);
    }
}

#[tokio::test]
async fn refuses_unknown_fields_with_their_place_and_a_suggestion() {
    file_fails(&bearer().replace("secretRef", "secretReff"), &["secretReff", "secretRef"]).await;
    file_fails(&bearer_and("polcy: {}"), &["polcy", "policy"]).await;
}

#[tokio::test]
async fn tells_all_mistakes_of_all_files_at_once() {
    let failure = fails(
        Proxy::builder()
            .provider("one", &bearer_and("polcy: {}\nlimts: {}"))
            .provider("two", &bearer().replace("type: http-token", "type: http-tokn")),
    )
    .await;
    assert_eq!(failure.code, Some(1));
    for word in ["one.yaml:", "polcy", "limts", "two.yaml:", "http-token"] {
        assert!(failure.stderr.contains(word), "{word:?} is not in\n{}", failure.stderr);
    }
}

#[tokio::test]
async fn refuses_values_where_a_reference_belongs_without_repeating_them() {
    let value = "sk-live-0123456789abcdefghij+/not a name";
    let failure = fails(
        Proxy::builder()
            .provider("bad", &bearer().replace("secretRef: canary", &format!("secretRef: \"{value}\""))),
    )
    .await;
    assert_eq!(failure.code, Some(1));
    assert!(!failure.stderr.contains("0123456789abcdefghij"), "{}", failure.stderr);
}

#[tokio::test]
async fn refuses_duplicate_keys() {
    file_fails(&bearer_and("host: other.example.com"), &["host"]).await;
}

#[tokio::test]
async fn refuses_a_wildcard_on_a_public_suffix() {
    for host in ["\"*.com\"", "\"*.co.uk\"", "\"*.github.io\"", "\"*\""] {
        file_fails(&bearer().replace(HOST, host), &[]).await;
    }
}

#[tokio::test]
async fn refuses_hosts_outside_the_strict_grammar() {
    for host in [
        "\"api.*.com\"",
        "\"a*.example.com\"",
        "127.1",
        "\"user@api.example.com\"",
        "\"api.example.com:0443\"",
        "\"https://api.example.com\"",
    ] {
        file_fails(&bearer().replace("host: api.example.com", &format!("host: {host}")), &[]).await;
    }
}

#[tokio::test]
async fn refuses_two_equally_specific_providers_and_names_both() {
    let failure = fails(Proxy::builder().provider("one", &bearer()).provider("two", &bearer())).await;
    assert_eq!(failure.code, Some(1));
    assert!(failure.stderr.contains("one.yaml") && failure.stderr.contains("two.yaml"), "{}", failure.stderr);
}

#[tokio::test]
async fn refuses_a_placeholder_in_a_header_that_servers_reflect() {
    for name in ["User-Agent", "Referer", "Origin", "Cookie", "Accept"] {
        let auth = format!(
            "placeholder: ghp_dw0dummy0123, inject: [{{hosts: [{HOST}], placeholder: {{in: [\"header:{name}\"]}}}}]"
        );
        file_fails(&token(&auth), &[]).await;
    }
}

#[tokio::test]
async fn refuses_fields_that_the_type_does_not_have() {
    file_fails(&token("type: header, header: X-Key, param: key"), &["param"]).await;
    file_fails(&token("type: header"), &["header"]).await;
}

#[tokio::test]
async fn refuses_a_listener_off_loopback_without_a_token_file() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let failure = fails(Proxy::builder().no_token().listen(&[address])).await;
        assert!(matches!(failure.code, Some(1 | 2)), "{failure:?}");
        assert!(failure.stderr.contains("token"), "{}", failure.stderr);
    }
}

#[tokio::test]
async fn refuses_a_cidr_that_covers_only_metadata_addresses() {
    for cidr in ["169.254.169.254/32", "fd00:ec2::254/128"] {
        let failure = fails(Proxy::builder().allow_cidr(cidr)).await;
        assert!(matches!(failure.code, Some(1 | 2)), "{failure:?}");
    }
}

#[tokio::test]
async fn refuses_unknown_flags_and_malformed_values_as_usage_errors() {
    for args in [
        ["--no-such-flag", "x"],
        ["--allow-cidr", "nonsense"],
        ["--resolve", "nonsense"],
        ["--limit", "no-such-limit=1"],
        ["--audit-durability", "often"],
    ] {
        let failure = fails(Proxy::builder().arg(args[0]).arg(args[1])).await;
        assert_eq!(failure.code, Some(2), "{args:?}: {failure:?}");
    }
}

#[tokio::test]
async fn a_ca_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca");
    let kept = Proxy::builder().arg("--ca-dir").arg(ca.to_str().unwrap()).start().await;
    drop(kept);
    let key = ca.join("ca.key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let failure = fails(Proxy::builder().arg("--ca-dir").arg(ca.to_str().unwrap())).await;
    assert_eq!(failure.code, Some(1), "{failure:?}");
}
