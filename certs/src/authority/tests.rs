//! Refusals first: files, then chains; then what a leaf says, and that clients accept it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::PathBuf;

use proptest::prelude::*;
use rcgen::{
    CidrSubnet, DnValue, ExtendedKeyUsagePurpose, GeneralSubtree, NameConstraints, SerialNumber,
    SignatureAlgorithm,
};
use rustls_pki_types::pem::PemObject as _;
use tempfile::TempDir;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::*;
use crate::testing::{DAY, HOUR, host, now};

mod leaves;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A directory with a pair that doorward made.
fn kept() -> (TempDir, PathBuf, PathBuf) {
    let dir = TempDir::new().unwrap();
    Authority::load_or_create(dir.path(), now()).unwrap();
    let (certificate, key) = (dir.path().join("ca.crt"), dir.path().join("ca.key"));
    (dir, certificate, key)
}

fn load(dir: &TempDir) -> Result<Authority, Error> {
    Authority::load_or_create(dir.path(), now())
}

/// A CA of the user's own, as `change` would have it.
struct Own {
    params: CertificateParams,
    key: KeyPair,
    certificate: CertificateDer<'static>,
}

fn own_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn own(algorithm: &'static SignatureAlgorithm, change: impl FnOnce(&mut CertificateParams)) -> Own {
    let mut params = own_params("corp root");
    change(&mut params);
    let key = KeyPair::generate_for(algorithm).unwrap();
    let certificate = params.self_signed(&key).unwrap().into();
    Own { params, key, certificate }
}

fn p256(change: impl FnOnce(&mut CertificateParams)) -> Own {
    own(&rcgen::PKCS_ECDSA_P256_SHA256, change)
}

fn below(root: &Own, change: impl FnOnce(&mut CertificateParams)) -> Own {
    let mut params = own_params("corp issuing");
    params.use_authority_key_identifier_extension = true;
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &Issuer::from_params(&root.params, &root.key)).unwrap().into();
    Own { params, key, certificate }
}

/// Puts a chain and a key where doorward looks for them.
fn install(chain: &[&Own], key: &KeyPair) -> TempDir {
    let dir = TempDir::new().unwrap();
    let text = pem::certificates(chain.iter().map(|own| &own.certificate));
    fs::write(dir.path().join("ca.crt"), text).unwrap();
    fs::write(dir.path().join("ca.key"), key.serialize_pem()).unwrap();
    set_mode(&dir.path().join("ca.crt"), 0o644);
    set_mode(&dir.path().join("ca.key"), 0o600);
    dir
}

fn refusal(own: &Own) -> String {
    load(&install(&[own], &own.key)).unwrap_err().to_string()
}

// ---- files

#[test]
fn refuses_a_key_that_others_can_read() {
    for bits in [0o640, 0o604, 0o620, 0o602, 0o610, 0o666] {
        let (dir, _, key) = kept();
        set_mode(&key, bits);
        assert!(matches!(load(&dir), Err(Error::KeyExposed { mode, .. }) if mode == bits), "{bits:o}");
        assert_eq!(mode(&key), bits, "the mode is the operator's to mend");
    }
}

#[test]
fn refuses_a_certificate_that_others_can_write() {
    for bits in [0o664, 0o646] {
        let (dir, certificate, _) = kept();
        set_mode(&certificate, bits);
        assert!(
            matches!(load(&dir), Err(Error::CertificateWritable { mode, .. }) if mode == bits),
            "{bits:o}"
        );
    }
}

#[test]
fn refuses_files_of_another_user() {
    for name in ["ca.key", "ca.crt"] {
        let (dir, ..) = kept();
        let path = dir.path().join(name);
        // Giving a file away needs root; without it, the same check is reached by claiming to be another user.
        if chown(&path, Some(4242), None).is_ok() {
            let refused = load(&dir);
            assert!(matches!(refused, Err(Error::ForeignOwner { owner: 4242, .. })), "{name}: {refused:?}");
        } else {
            kept::refuses_an_owner_outside(&path);
        }
    }
}

#[test]
fn refuses_symbolic_links() {
    for name in ["ca.key", "ca.crt"] {
        let (dir, ..) = kept();
        let path = dir.path().join(name);
        fs::rename(&path, dir.path().join("real")).unwrap();
        symlink("real", &path).unwrap();
        assert!(matches!(load(&dir), Err(Error::NotRegular { path: refused }) if refused == path), "{name}");
    }
}

#[test]
fn refuses_a_dangling_link_and_creates_nothing_behind_it() {
    let dir = TempDir::new().unwrap();
    let elsewhere = TempDir::new().unwrap();
    symlink(elsewhere.path().join("stolen"), dir.path().join("ca.key")).unwrap();
    assert!(matches!(load(&dir), Err(Error::HalfPair { .. })));
    assert!(!elsewhere.path().join("stolen").exists());
}

#[test]
fn refuses_a_directory_and_a_pipe_in_place_of_a_file() {
    let (dir, certificate, key) = kept();
    fs::remove_file(&certificate).unwrap();
    fs::create_dir(&certificate).unwrap();
    assert!(matches!(load(&dir), Err(Error::NotRegular { .. })));

    fs::remove_file(&key).unwrap();
    assert!(std::process::Command::new("mkfifo").arg("-m600").arg(&key).status().unwrap().success());
    assert!(matches!(load(&dir), Err(Error::NotRegular { .. })), "and does not wait for a writer");
}

#[test]
fn refuses_half_a_pair_and_overwrites_nothing() {
    for (gone, left) in [("ca.key", "ca.crt"), ("ca.crt", "ca.key")] {
        let (dir, ..) = kept();
        fs::remove_file(dir.path().join(gone)).unwrap();
        let before = fs::read(dir.path().join(left)).unwrap();
        let Err(Error::HalfPair { present, missing }) = load(&dir) else { panic!("half a pair was taken") };
        assert_eq!((present, missing), (dir.path().join(left), dir.path().join(gone)));
        assert_eq!(fs::read(dir.path().join(left)).unwrap(), before);
        assert!(!dir.path().join(gone).exists());
    }
}

#[test]
fn refuses_files_that_are_too_large() {
    let (dir, _, key) = kept();
    fs::write(&key, vec![b'x'; 65 * 1024]).unwrap();
    assert!(matches!(load(&dir), Err(Error::TooLarge { .. })));
}

#[test]
fn refuses_a_key_file_without_a_readable_key_and_repeats_nothing_of_it() {
    let texts = [
        "",
        "canary-8213",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nY2FuYXJ5\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\nY2FuYXJ5\n-----END PRIVATE KEY-----\n",
    ];
    for text in texts {
        let (dir, _, key) = kept();
        fs::write(&key, text).unwrap();
        let error = load(&dir).unwrap_err();
        assert!(matches!(error, Error::NoKey { .. } | Error::KeyKind), "{error}");
        let said = format!("{error} {error:?}");
        assert!(!said.contains("canary") && !said.contains("Y2Fu"), "{said}");
    }
}

#[test]
fn makes_the_directory_0700_the_key_0600_and_leaves_nothing_else() {
    let above = TempDir::new().unwrap();
    let dir = above.path().join("data").join("ca");
    Authority::load_or_create(&dir, now()).unwrap();
    assert_eq!((mode(&dir), mode(&dir.join("ca.key"))), (0o700, 0o600));
    assert_eq!(mode(&dir.join("ca.crt")) & 0o022, 0);
    let mut names: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["ca.crt", "ca.key", "ca.lock"]);
}

#[test]
fn what_a_killed_process_left_half_written_is_not_used() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("ca.key.new"), "half").unwrap();
    set_mode(&dir.path().join("ca.key.new"), 0o666);
    load(&dir).unwrap();
    assert_eq!(mode(&dir.path().join("ca.key")), 0o600);
    assert!(!dir.path().join("ca.key.new").exists());
}

#[test]
fn a_kept_ca_is_the_same_after_a_restart() {
    let (dir, certificate, _) = kept();
    let (first, second) = (load(&dir).unwrap(), load(&dir).unwrap());
    assert_eq!(first.fingerprint(), second.fingerprint());
    assert_eq!(first.certificate_pem(), fs::read_to_string(certificate).unwrap());
}

#[test]
fn many_that_start_at_once_agree_on_one_ca() {
    for _ in 0..20 {
        let dir = TempDir::new().unwrap();
        let dir = dir.path().join("ca");
        let start = std::sync::Barrier::new(8);
        let seen: Vec<String> = std::thread::scope(|scope| {
            let starters: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        Authority::load_or_create(&dir, now()).unwrap().fingerprint().to_owned()
                    })
                })
                .collect();
            starters.into_iter().map(|starter| starter.join().unwrap()).collect()
        });
        assert!(seen.iter().all(|fingerprint| *fingerprint == seen[0]));
    }
}

#[test]
fn no_debug_text_shows_the_key() {
    let (dir, _, key) = kept();
    let authority = load(&dir).unwrap();
    let key = fs::read_to_string(key).unwrap();
    let body = key.lines().nth(1).unwrap();
    assert!(!format!("{authority:?}").contains(body));
}

// ---- chains

#[test]
fn refuses_a_key_of_another_ca() {
    let (one, other) = (p256(|_| {}), p256(|_| {}));
    assert!(matches!(load(&install(&[&one], &other.key)), Err(Error::KeyMismatch)));
}

#[test]
fn refuses_a_ca_outside_its_validity() {
    let expired = p256(|params| params.not_after = (now() - HOUR).into());
    assert!(matches!(load(&install(&[&expired], &expired.key)), Err(Error::Expired)));
    let early = p256(|params| params.not_before = (now() + HOUR).into());
    assert!(matches!(load(&install(&[&early], &early.key)), Err(Error::NotYetValid)));
    // No proof by signing is made for this one.
    let constrained = p256(|params| {
        params.not_after = (now() - HOUR).into();
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("corp.example".into())],
            excluded_subtrees: Vec::new(),
        });
    });
    assert!(matches!(load(&install(&[&constrained], &constrained.key)), Err(Error::Expired)));
}

#[test]
fn refuses_what_is_not_a_ca() {
    type Change = fn(&mut CertificateParams);
    let cases: [(&str, Change); 4] = [
        ("its basic constraints do not say CA:TRUE", |params| params.is_ca = IsCa::NoCa),
        ("its basic constraints do not say CA:TRUE", |params| params.is_ca = IsCa::ExplicitNoCa),
        ("its key usage lacks keyCertSign", |params| params.key_usages = vec![KeyUsagePurpose::CrlSign]),
        ("its extended key usage excludes serverAuth", |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection];
        }),
    ];
    for (reason, change) in cases {
        assert_eq!(refusal(&p256(change)), format!("certificate 1 cannot act as the CA: {reason}"));
    }
    assert!(refusal(&p256(|params| params.key_usages.clear())).contains("lacks keyCertSign"));
}

#[test]
fn refuses_keys_that_clients_do_not_accept() {
    let ca = own(&rcgen::PKCS_ED25519, |_| {});
    assert!(matches!(load(&install(&[&ca], &ca.key)), Err(Error::KeyKind)));
}

#[test]
fn refuses_a_chain_without_its_root_or_out_of_order() {
    let root = p256(|_| {});
    let issuing = below(&root, |_| {});
    let stranger = p256(|params| params.distinguished_name.push(DnType::OrganizationName, "other"));
    for chain in [&[&issuing][..], &[&issuing, &stranger], &[&issuing, &root, &issuing]] {
        let refused = load(&install(chain, &issuing.key));
        assert!(matches!(refused, Err(Error::ChainBroken { .. })), "{refused:?}");
    }
    assert!(matches!(load(&install(&[&root, &issuing], &issuing.key)), Err(Error::ChainBroken { entry: 1 })));
}

#[test]
fn refuses_a_root_of_the_right_name_that_has_not_signed() {
    let (root, impostor) = (p256(|_| {}), p256(|_| {}));
    let issuing = below(&root, |_| {});
    let refused = load(&install(&[&issuing, &impostor], &issuing.key));
    assert!(matches!(refused, Err(Error::Unusable { .. })), "{refused:?}");
}

#[test]
fn refuses_a_path_length_that_is_too_short() {
    let root = p256(|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let issuing = below(&root, |_| {});
    let error = load(&install(&[&issuing, &root], &issuing.key)).unwrap_err().to_string();
    assert!(error.starts_with("certificate 2 cannot act as the CA: its path length"), "{error}");
}

#[test]
fn refuses_trailing_bytes_and_garbage_in_place_of_a_certificate() {
    let ca = p256(|_| {});
    let dir = install(&[&ca], &ca.key);
    for der in [[ca.certificate.as_ref(), b"x"].concat(), b"garbage".to_vec()] {
        fs::write(dir.path().join("ca.crt"), pem::certificates([&der.into()])).unwrap();
        assert!(matches!(load(&dir), Err(Error::NotACa { entry: 1, .. })));
    }
}

#[test]
fn refuses_hosts_outside_the_name_constraints_and_signs_those_inside() {
    let ca = p256(|params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![
                GeneralSubtree::DnsName("corp.example".into()),
                GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([10, 0, 0, 0], 8)),
            ],
            excluded_subtrees: vec![GeneralSubtree::DnsName("vault.corp.example".into())],
        });
    });
    let authority = load(&install(&[&ca], &ca.key)).unwrap();
    for allowed in ["corp.example", "git.corp.example", "10.1.2.3"] {
        authority.sign(&host(allowed), now()).unwrap();
    }
    for refused in ["example.com", "notcorp.example", "vault.corp.example", "192.0.2.1", "::1"] {
        let refused = authority.sign(&host(refused), now());
        assert!(matches!(refused, Err(Error::HostNotAllowed { .. })), "{refused:?}");
    }
}

#[test]
fn takes_a_ca_of_the_users_own_in_every_supported_kind() {
    let kinds = [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ECDSA_P521_SHA512,
        &rcgen::PKCS_RSA_SHA256,
    ];
    for kind in kinds {
        let ca = own(kind, |_| {});
        let authority = load(&install(&[&ca], &ca.key)).unwrap();
        assert_eq!(authority.certificate_der(), &ca.certificate);
    }
}

#[test]
fn takes_a_ca_below_a_root_and_sends_the_intermediate() {
    let root = p256(|_| {});
    let issuing = below(&root, |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let authority = load(&install(&[&issuing, &root], &issuing.key)).unwrap();
    let leaf = authority.sign(&host("api.example"), now()).unwrap();
    assert_eq!(leaf.certified.cert[1..], *std::slice::from_ref(&issuing.certificate), "and not the root");
    assert_eq!(authority.chain().last(), Some(&root.certificate));
    assert_eq!(CertificateDer::pem_slice_iter(authority.certificate_pem().as_bytes()).count(), 2);
}

#[test]
fn a_ca_with_a_rich_name_signs_under_exactly_that_name() {
    let ca = p256(|params| {
        params
            .distinguished_name
            .push(DnType::OrganizationName, DnValue::PrintableString("Corp".try_into().unwrap()));
        params
            .distinguished_name
            .push(DnType::CountryName, DnValue::PrintableString("DE".try_into().unwrap()));
        params.serial_number = Some(SerialNumber::from(vec![7]));
    });
    load(&install(&[&ca], &ca.key)).unwrap();
}

// ---- the CA and its leaves
