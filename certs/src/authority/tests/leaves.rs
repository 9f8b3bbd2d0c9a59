//! What a leaf says, and that clients accept it.

use super::*;

fn parsed(der: &CertificateDer<'_>, check: impl FnOnce(&X509Certificate<'_>)) {
    let (rest, certificate) = X509Certificate::from_der(der).unwrap();
    assert!(rest.is_empty());
    check(&certificate);
}

#[test]
fn our_ca_says_what_a_ca_must() {
    let at = now();
    let (one, other) = (Authority::generate(at).unwrap(), Authority::generate(at).unwrap());
    assert_ne!(one.fingerprint(), other.fingerprint());
    assert_eq!(one.fingerprint(), crypto::sha256_hex(one.certificate_der()));
    parsed(one.certificate_der(), |ca| {
        let constraints = ca.basic_constraints().unwrap().unwrap();
        assert!(constraints.critical && constraints.value.ca);
        assert_eq!(constraints.value.path_len_constraint, Some(0));
        let usage = ca.key_usage().unwrap().unwrap();
        assert!(usage.critical);
        assert_eq!(usage.value.flags, 0b110_0000, "keyCertSign and cRLSign only");
        let valid = ca.validity();
        assert_eq!(valid.not_before.timestamp(), seconds(at - HOUR));
        assert_eq!(valid.not_after.timestamp(), seconds(at - HOUR + LIFETIME));
        let name = ca.subject().to_string();
        assert!(name.starts_with("CN=doorward CA ") && name.len() == 23, "{name}");
        assert_ne!(name, certificate_name(&other));
        assert!(key_id(ca).is_some());
    });
}

fn certificate_name(authority: &Authority) -> String {
    let mut name = String::new();
    parsed(authority.certificate_der(), |ca| name = ca.subject().to_string());
    name
}

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

fn key_id(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.iter_extensions().find_map(|extension| {
        let ParsedExtension::SubjectKeyIdentifier(id) = extension.parsed_extension() else { return None };
        Some(id.0.to_vec())
    })
}

fn authority_key_id(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.iter_extensions().find_map(|extension| {
        let ParsedExtension::AuthorityKeyIdentifier(id) = extension.parsed_extension() else { return None };
        id.key_identifier.as_ref().map(|id| id.0.to_vec())
    })
}

#[test]
fn a_leaf_says_exactly_its_host_and_nothing_more() {
    let authority = Authority::generate(now()).unwrap();
    let long = format!("{}.{}.example", "a".repeat(63), "b".repeat(63));
    for name in ["api.example.com", "localhost", "my_service", "192.0.2.7", "2001:db8::7", &long] {
        let leaf = authority.sign(&host(name), now()).unwrap();
        assert_eq!(leaf.certified.cert.len(), 1, "the root is not sent");
        parsed(&leaf.certified.cert[0], |leaf| {
            let san = leaf.subject_alternative_name().unwrap().unwrap();
            let expected = match name.parse::<std::net::IpAddr>() {
                Ok(std::net::IpAddr::V4(address)) => address.octets().to_vec(),
                Ok(std::net::IpAddr::V6(address)) => address.octets().to_vec(),
                Err(_) => name.as_bytes().to_vec(),
            };
            match san.value.general_names.as_slice() {
                [GeneralName::DNSName(dns)] => assert_eq!(dns.as_bytes(), expected),
                [GeneralName::IPAddress(address)] => assert_eq!(*address, expected),
                other => panic!("{other:?}"),
            }
            let short = name.len() <= 64;
            assert_eq!(san.critical, !short, "RFC 5280 4.2.1.6: critical when the subject is empty");
            assert_eq!(leaf.subject().to_string(), if short { format!("CN={name}") } else { String::new() });
        });
    }
}

#[test]
fn a_leaf_has_the_extensions_that_strict_verifiers_ask_for() {
    let authority = Authority::generate(now()).unwrap();
    let leaf = authority.sign(&host("api.example.com"), now()).unwrap();
    let mut issuer_id = None;
    parsed(authority.certificate_der(), |ca| issuer_id = key_id(ca));
    parsed(&leaf.certified.cert[0], |leaf| {
        assert!(issuer_id.is_some());
        assert_eq!(authority_key_id(leaf), issuer_id);
        assert!(key_id(leaf).is_some_and(|id| Some(id) != issuer_id));
        let constraints = leaf.basic_constraints().unwrap().unwrap();
        assert!(!constraints.value.ca);
        let usage = leaf.key_usage().unwrap().unwrap();
        assert!(usage.critical && usage.value.flags == 1, "digitalSignature only");
        let extended = leaf.extended_key_usage().unwrap().unwrap().value;
        assert!(extended.server_auth && !extended.any && !extended.client_auth && extended.other.is_empty());
        assert_eq!(leaf.public_key().parsed().unwrap().key_size(), 256);
    });
}

#[test]
fn each_leaf_has_a_serial_and_a_key_of_its_own() {
    let authority = Authority::generate(now()).unwrap();
    let mut serials = std::collections::HashSet::new();
    let mut keys = std::collections::HashSet::new();
    for _ in 0..200 {
        let leaf = authority.sign(&host("api.example.com"), now()).unwrap();
        parsed(&leaf.certified.cert[0], |leaf| {
            let raw = leaf.raw_serial();
            assert_eq!((raw.len(), raw[0]), (17, 1), "positive, 128 random bits");
            assert!(serials.insert(raw.to_vec()));
            assert!(keys.insert(leaf.public_key().raw.to_vec()));
            parsed(authority.certificate_der(), |ca| assert_ne!(ca.public_key().raw, leaf.public_key().raw));
        });
    }
}

#[test]
fn a_leaf_lives_a_day_and_never_longer_than_its_ca() {
    let at = now();
    let authority = Authority::generate(at).unwrap();
    let leaf = authority.sign(&host("a.example"), at + DAY).unwrap();
    parsed(&leaf.certified.cert[0], |leaf| {
        let valid = leaf.validity();
        assert_eq!(valid.not_before.timestamp(), seconds(at + DAY - HOUR));
        // Both ends count (RFC 5280, 4.1.2.5): 24 h to the second.
        assert_eq!(valid.not_after.timestamp() - valid.not_before.timestamp() + 1, 24 * 3600);
    });
    let first = authority.sign(&host("a.example"), at - HOUR).unwrap();
    assert_eq!(first.not_before, at - HOUR, "not before its CA");

    let end = authority.not_after();
    let last = authority.sign(&host("a.example"), end - HOUR).unwrap();
    assert_eq!(last.not_after, end);
    parsed(&last.certified.cert[0], |leaf| assert_eq!(leaf.validity().not_after.timestamp(), seconds(end)));
    assert!(matches!(authority.sign(&host("a.example"), end + HOUR), Err(Error::Expired)));
    assert!(matches!(authority.sign(&host("a.example"), at - DAY), Err(Error::NotYetValid)));
}

#[test]
fn refuses_hosts_that_are_not_canonical() {
    let authority = Authority::generate(now()).unwrap();
    for name in ["Api.example.com", "api.example.com.", "API"] {
        assert!(matches!(authority.sign(&host(name), now()), Err(Error::HostNotCanonical)), "{name}");
    }
    for name in
        ["*.example.com", "*", "a.*.example", "", "a b", "[::1]", "1.2.3", "a..b", "ä.example", "a\0b"]
    {
        assert!(ServerName::try_from(name).is_err(), "{name} cannot even be asked for");
    }
}

#[test]
fn refuses_a_time_that_no_certificate_can_say() {
    assert!(matches!(Authority::generate(SystemTime::UNIX_EPOCH), Err(Error::Clock)));
    let far = SystemTime::UNIX_EPOCH + Duration::from_secs(400_000_000_000);
    assert!(matches!(Authority::generate(far), Err(Error::Clock)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_host_appears_in_the_certificate_of_another(
        one in "[a-z][a-z0-9-]{10,30}[a-z]\\.example", other in "[a-z][a-z0-9-]{10,30}[a-z]\\.test"
    ) {
        let authority = Authority::generate(now()).unwrap();
        authority.sign(&host(&one), now()).unwrap();
        let leaf = authority.sign(&host(&other), now()).unwrap();
        let der = leaf.certified.cert[0].as_ref();
        let holds = |text: &str| der.windows(text.len()).any(|window| window == text.as_bytes());
        prop_assert!(holds(&other) && !holds(&one));
    }
}
