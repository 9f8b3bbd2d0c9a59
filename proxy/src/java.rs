//! What a JVM is told: it reads no proxy variable, no PEM, and answers no 407 on CONNECT.
//!
//! So it gets its proxy and truststore as options, and a listener that asks it for nothing.

use std::path::Path;

/// The variable that every JVM reads.
pub(crate) const VARIABLE: &str = "JAVA_TOOL_OPTIONS";

/// The value of [`VARIABLE`] for a proxy on `address`.
pub(crate) fn options(address: &str, truststore: &Path) -> String {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "3128"));
    let mut options = Vec::new();
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

/// Ours behind what was there already, so that ours hold.
pub(crate) fn joined(inherited: Option<&str>, ours: &str) -> String {
    inherited.map_or_else(|| ours.to_owned(), |theirs| format!("{theirs} {ours}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_is_told_proxy_and_truststore() {
        let options = joined(Some("-Xmx1g"), &options("127.0.0.1:41234", Path::new("/tmp/a b/t.p12")));
        assert!(options.starts_with("-Xmx1g -Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=41234 "));
        assert!(options.contains("\"-Djavax.net.ssl.trustStore=/tmp/a b/t.p12\""));
    }
}
