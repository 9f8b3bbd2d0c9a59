//! Refusals of files that name their entry, independence of the environment, and what agents are given.

use std::process::Command;

use tempfile::TempDir;

use super::*;
use crate::testing::{handshake, host, now};
use crate::{Leaves, crypto};

fn authority() -> Authority {
    Authority::generate(now()).unwrap()
}

fn file(dir: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    path
}

fn refusal(text: &str) -> String {
    let dir = TempDir::new().unwrap();
    let path = file(&dir, "corp.pem", text);
    let error = Roots::built_in().with_extra(&[&path]).unwrap_err().to_string();
    error.replace(&format!("{}/", dir.path().display()), "")
}

#[test]
fn refuses_extra_roots_naming_the_file_and_the_entry() {
    let good = authority().certificate_pem().to_owned();
    let garbage = pem::certificates([&CertificateDer::from(b"garbage".to_vec())]);
    assert_eq!(
        refusal(&format!("{good}{garbage}")),
        "corp.pem: certificate 2 is not a valid X.509 certificate"
    );
    let cut = good.replace("-----END CERTIFICATE-----", "");
    assert_eq!(refusal(&format!("{good}{good}{cut}")), "corp.pem: certificate 3 is not valid PEM");
    assert_eq!(refusal("not pem"), "corp.pem holds no PEM certificate");
    assert_eq!(refusal(""), "corp.pem holds no PEM certificate");
}

#[test]
fn refuses_extra_roots_that_are_missing_or_too_large() {
    let dir = TempDir::new().unwrap();
    let missing = Roots::built_in().with_extra(&[dir.path().join("none.pem")]);
    assert!(matches!(missing, Err(Error::Io { action: "read", .. })));
    let large = file(&dir, "large.pem", "");
    fs::File::options().write(true).open(&large).unwrap().set_len(FILE_MAX + 1).unwrap();
    assert!(matches!(Roots::built_in().with_extra(&[large]), Err(Error::TooLarge { .. })));
}

#[test]
fn one_bad_file_among_the_extra_roots_refuses_all() {
    let dir = TempDir::new().unwrap();
    let good = file(&dir, "good.pem", authority().certificate_pem());
    let bad = file(&dir, "bad.pem", "bad");
    assert!(Roots::built_in().with_extra(&[good, bad]).is_err());
}

#[test]
fn extra_roots_are_added_to_the_others_and_leave_them_as_they_were() {
    let dir = TempDir::new().unwrap();
    let (one, other) = (authority(), authority());
    let path = file(&dir, "corp.pem", &format!("{}{}", one.certificate_pem(), other.certificate_pem()));
    let before = Roots::built_in();
    let after = before.with_extra(&[path]).unwrap();
    assert_eq!(after.store().len(), before.store().len() + 2);
    assert_eq!(after.certificates().len(), before.certificates().len() + 2);
    assert!(!before.certificates().contains(one.certificate_der()));
    assert!(after.certificates().contains(one.certificate_der()));
}

#[test]
fn the_first_bundle_with_a_usable_certificate_is_taken() {
    let dir = TempDir::new().unwrap();
    let ca = authority();
    let empty = file(&dir, "empty.pem", "# nothing\n");
    let good = file(&dir, "good.pem", ca.certificate_pem());
    let later = file(&dir, "later.pem", authority().certificate_pem());
    let none = dir.path().join("none.pem");
    let roots = Roots::first_of([&none, &empty, &good, &later].map(PathBuf::as_path));
    assert_eq!(roots.source(), &Source::File(good));
    assert_eq!(roots.certificates(), [ca.certificate_der().clone()]);
}

#[test]
fn a_bundle_with_a_broken_entry_still_gives_the_others_each_once() {
    let dir = TempDir::new().unwrap();
    let (one, other) = (authority(), authority());
    let garbage = pem::certificates([&CertificateDer::from(b"garbage".to_vec())]);
    let broken = one.certificate_pem().replace("MII", "!!!");
    let (first, second) = (one.certificate_pem(), other.certificate_pem());
    let path = file(&dir, "bundle.pem", &format!("{first}{garbage}{broken}{second}{first}"));
    let roots = Roots::first_of([path.as_path()]);
    assert_eq!(roots.certificates(), [one.certificate_der().clone(), other.certificate_der().clone()]);
    assert_eq!(roots.store().len(), 2);
}

#[test]
fn without_a_bundle_mozillas_roots_are_used_and_can_be_written_as_pem() {
    let roots = Roots::first_of([]);
    assert_eq!(roots.source(), &Source::BuiltIn);
    assert!(roots.certificates().len() > 100);
    assert_eq!(roots.store().len(), roots.certificates().len(), "all of them usable");
    let read = pem::read_certificates(Path::new("roots"), roots.pem().as_bytes()).unwrap();
    assert_eq!(read, roots.certificates());
}

/// Run by the test below in a process of its own, whose environment differs.
#[test]
#[ignore = "a part of the_environment_has_no_say, which runs it"]
fn prints_the_system_roots() {
    let roots = Roots::system();
    println!("ROOTS {:?} {}", roots.source(), crypto::sha256_hex(roots.pem().as_bytes()));
}

#[test]
fn the_environment_has_no_say() {
    let dir = TempDir::new().unwrap();
    let planted = file(&dir, "planted.pem", authority().certificate_pem());
    let run = |plant: bool| {
        let mut test = Command::new(std::env::current_exe().unwrap());
        test.args(["--exact", "trust::tests::prints_the_system_roots", "--ignored", "--nocapture"]);
        for name in
            ["SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"]
        {
            test.env_remove(name);
            if plant {
                test.env(name, if name == "SSL_CERT_DIR" { dir.path() } else { &planted });
            }
        }
        let out = String::from_utf8(test.output().unwrap().stdout).unwrap();
        out.lines().find(|line| line.contains("ROOTS")).unwrap().to_owned()
    };
    assert_eq!(run(true), run(false));
}

#[test]
fn the_bundle_for_agents_holds_our_ca_first_and_then_every_root() {
    let (ca, roots) = (authority(), Roots::built_in());
    let bundle = combined_bundle(&ca, &roots);
    let read = pem::read_certificates(Path::new("bundle"), bundle.as_bytes()).unwrap();
    assert_eq!(read.first(), Some(ca.certificate_der()));
    assert_eq!(read[1..], *roots.certificates());
    assert!(!bundle.contains("PRIVATE"));
}

#[test]
fn the_java_truststore_holds_each_certificate_as_a_trusted_entry_and_no_key() {
    let (ca, roots) = (authority(), Roots::built_in());
    let store = java_truststore(&ca, &roots);
    let count = |needle: &[u8]| store.windows(needle.len()).filter(|window| *window == needle).count();
    let entries = roots.certificates().len() + 1;
    // Oracle's trustedKeyUsage with anyExtendedKeyUsage, in each bag.
    let trusted = b"\x06\x0c\x60\x86\x48\x01\x86\xf9\x66\xad\xca\x7b\x01\x01\x31\x06\x06\x04\x55\x1d\x25\x00";
    assert_eq!(count(trusted), entries);
    for certificate in roots.certificates().iter().chain([ca.certificate_der()]) {
        assert_eq!(count(certificate), 1);
    }
    // keyBag and pkcs8ShroudedKeyBag.
    assert_eq!(count(b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x01"), 0);
    assert_eq!(count(b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x02"), 0);
    assert_well_formed(&store);
}

/// Walks all constructed elements: each length must end exactly where its parent ends.
fn assert_well_formed(mut der: &[u8]) {
    use x509_parser::der_parser::asn1_rs::{Any, FromDer as _};
    while !der.is_empty() {
        let (rest, element) = Any::from_der(der).unwrap();
        if element.header.is_constructed() {
            assert_well_formed(element.data);
        }
        der = rest;
    }
}

/// Prints how many issuers the truststore gives, then what a TLS handshake for each host at its port says.
const JAVA: &str = r#"
import java.net.Socket;
import java.security.KeyStore;
import javax.net.ssl.*;
public class Trust {
    public static void main(String[] args) throws Exception {
        TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        factory.init((KeyStore) null);
        System.out.println("issuers " + ((X509TrustManager) factory.getTrustManagers()[0]).getAcceptedIssuers().length);
        for (int i = 0; i < args.length; i += 2) {
            int port = Integer.parseInt(args[i + 1]);
            Socket plain = new Socket("127.0.0.1", port);
            SSLSocket socket = (SSLSocket) SSLContext.getDefault().getSocketFactory().createSocket(plain, args[i], port, true);
            SSLParameters parameters = socket.getSSLParameters();
            parameters.setEndpointIdentificationAlgorithm("HTTPS");
            socket.setSSLParameters(parameters);
            socket.startHandshake();
            System.out.println("handshake " + socket.getSession().getProtocol());
            socket.close();
        }
    }
}
"#;

/// One TLS connection, accepted with the leaf of `name`.
fn serve_once(leaves: &Leaves, name: &str) -> (u16, std::thread::JoinHandle<()>) {
    let config = leaves.config_for(&host(name), now()).unwrap();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut tls = rustls::ServerConnection::new(config).unwrap();
        while tls.complete_io(&mut socket).is_ok_and(|(read, _)| read > 0) {}
    };
    (port, std::thread::spawn(serve))
}

#[test]
#[ignore = "needs a JDK (java, keytool): run with --ignored"]
fn java_reads_the_truststore_and_accepts_a_leaf() {
    let dir = TempDir::new().unwrap();
    let (ca, roots) = (Arc::new(authority()), Roots::built_in());
    let store = dir.path().join("truststore.p12");
    fs::write(&store, java_truststore(&ca, &roots)).unwrap();

    let list = Command::new("keytool")
        .args(["-list", "-storetype", "PKCS12", "-storepass", JAVA_TRUSTSTORE_PASSWORD, "-keystore"])
        .arg(&store)
        .output()
        .unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let entries = roots.certificates().len() + 1;
    assert_eq!(list.matches("trustedCertEntry").count(), entries, "{list}");

    let source = dir.path().join("Trust.java");
    fs::write(&source, JAVA).unwrap();
    let leaves = Leaves::new(Arc::clone(&ca), 8).unwrap();
    let long = format!("{}.{}.example", "a".repeat(63), "b".repeat(63));
    let hosts = ["localhost", "127.0.0.1", &long];
    let served = hosts.map(|name| (name, serve_once(&leaves, name)));
    let run = Command::new("java")
        .arg(format!("-Djavax.net.ssl.trustStore={}", store.display()))
        .arg("-Djavax.net.ssl.trustStoreType=PKCS12")
        .arg(format!("-Djavax.net.ssl.trustStorePassword={JAVA_TRUSTSTORE_PASSWORD}"))
        .arg(&source)
        .args(served.iter().flat_map(|(name, (port, _))| [name.to_string(), port.to_string()]))
        .output()
        .unwrap();
    let (out, errors) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(out.contains(&format!("issuers {entries}\n")), "{out}{errors}");
    assert_eq!(out.matches("handshake TLSv1.3").count(), hosts.len(), "{out}{errors}");
    for (_, (_, server)) in served {
        server.join().unwrap();
    }
}

#[test]
fn upstream_verification_refuses_what_the_roots_do_not_know() {
    let ca = Arc::new(authority());
    let leaves = Leaves::new(Arc::clone(&ca), 8).unwrap();
    let config = leaves.config_for(&host("a.example"), now()).unwrap();
    let with_store = |store: Arc<RootCertStore>| {
        let config = rustls::ClientConfig::builder_with_provider(crypto::provider());
        let config = config.with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_root_certificates(store).with_no_client_auth())
    };
    let name = host("a.example");
    let roots = Roots::built_in();
    assert!(handshake(&config, &with_store(roots.store()), &name).is_err());

    let dir = TempDir::new().unwrap();
    let path = file(&dir, "corp.pem", ca.certificate_pem());
    let roots = roots.with_extra(&[path]).unwrap();
    assert!(handshake(&config, &with_store(roots.store()), &name).is_ok());
}
