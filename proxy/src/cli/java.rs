//! What a JVM is told: it reads no proxy variable, no PEM, and answers no 407 on CONNECT.
//!
//! So it gets its proxy and truststore as options, and a listener that knows it by its uid.

use std::path::{Path, PathBuf};

use control::cli::{Exit, Failure};

/// The truststore with the roots of the published bundle, written beside it.
pub(crate) fn truststore(published: &Path) -> Result<PathBuf, Failure> {
    let (bundle, store) = (published.join("ca-bundle.crt"), published.join("truststore.p12"));
    let text = std::fs::read(&bundle).map_err(|error| failed(format!("{}: {error}", bundle.display())))?;
    let bytes =
        certs::trust::java_truststore_of(&bundle, &text).map_err(|error| failed(error.to_string()))?;
    std::fs::write(&store, bytes).map_err(|error| failed(format!("{}: {error}", store.display())))?;
    Ok(store)
}

/// `JAVA_TOOL_OPTIONS`: ours behind what was inherited, so that ours hold.
pub(crate) fn options(inherited: Option<&str>, address: &str, truststore: &Path) -> String {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "3128"));
    let mut options: Vec<String> = inherited.map(str::to_owned).into_iter().collect();
    for scheme in ["http", "https"] {
        options.push(format!("-D{scheme}.proxyHost={host} -D{scheme}.proxyPort={port}"));
    }
    options.push("\"-Dhttp.nonProxyHosts=localhost|127.*|[::1]\"".to_owned());
    options.push(format!("\"-Djavax.net.ssl.trustStore={}\"", truststore.display()));
    let password = certs::trust::JAVA_TRUSTSTORE_PASSWORD;
    options
        .push(format!("-Djavax.net.ssl.trustStoreType=PKCS12 -Djavax.net.ssl.trustStorePassword={password}"));
    options.join(" ")
}

fn failed(why: impl Into<String>) -> Failure {
    Failure::new(Exit::Error, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_is_told_proxy_and_truststore() {
        let options = options(Some("-Xmx1g"), "127.0.0.1:41234", Path::new("/tmp/a b/t.p12"));
        assert!(options.starts_with("-Xmx1g -Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=41234 "));
        assert!(options.contains("\"-Djavax.net.ssl.trustStore=/tmp/a b/t.p12\""));
    }
}
