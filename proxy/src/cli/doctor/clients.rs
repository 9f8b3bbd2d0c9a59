//! What clients obey, as measured (one line each): which proxy variables, which CA variables.

/// In which case a client reads the proxy variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    /// `https_proxy` or `HTTPS_PROXY`.
    Either,
    /// `https_proxy` alone.
    LowerOnly,
    /// Either, when this variable is set to this.
    Only(&'static str, &'static str),
    /// None: it takes its proxy from the options in this variable.
    Options(&'static str),
    /// Either, when the program says so in its code.
    IfProgrammed(&'static str),
}

/// One client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    pub(super) name: &'static str,
    /// What is looked for: in PATH, or among Python's packages.
    pub(super) program: &'static str,
    pub(super) proxy: Reads,
    /// The variables that name its roots; any of them will do. Empty: it reads none.
    pub(super) roots: &'static [&'static str],
    /// What people should know.
    pub(super) note: &'static str,
}

pub(super) const fn client(
    name: &'static str,
    program: &'static str,
    proxy: Reads,
    roots: &'static [&'static str],
    note: &'static str,
) -> Client {
    Client { name, program, proxy, roots, note }
}

/// The table, from measurements of 2026-11 with each variable alone.
pub(super) const CLIENTS: &[Client] = &[
    client(
        "curl",
        "curl",
        Reads::Either,
        &["SSL_CERT_FILE", "CURL_CA_BUNDLE"],
        "for http:// it reads http_proxy in lower case only",
    ),
    client(
        "git",
        "git",
        Reads::Either,
        &["GIT_SSL_CAINFO"],
        "sends its token at once only with http.proxyAuthMethod=basic",
    ),
    client(
        "wget",
        "wget",
        Reads::LowerOnly,
        &[],
        "reads no CA variable: give --ca-certificate=$SSL_CERT_FILE",
    ),
    client("pip", "pip", Reads::Either, &["PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"], ""),
    client(
        "npm",
        "npm",
        Reads::Either,
        &["NPM_CONFIG_CAFILE", "NODE_EXTRA_CA_CERTS"],
        "a `cafile` in .npmrc overrides both",
    ),
    client("cargo", "cargo", Reads::Either, &["CARGO_HTTP_CAINFO", "SSL_CERT_FILE"], ""),
    client("uv", "uv", Reads::Either, &["SSL_CERT_FILE"], ""),
    client("python: urllib", "python3", Reads::Either, &["SSL_CERT_FILE"], ""),
    client("AWS CLI", "aws", Reads::Either, &["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"], ""),
    client(
        "node: grpc-js",
        "node",
        Reads::LowerOnly,
        &["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "NODE_EXTRA_CA_CERTS"],
        "",
    ),
    client(
        "node fetch",
        "node",
        Reads::Only("NODE_USE_ENV_PROXY", "1"),
        &["NODE_EXTRA_CA_CERTS"],
        "from Node 24; older ones need undici's EnvHttpProxyAgent or axios",
    ),
    client("deno", "deno", Reads::Either, &["DENO_CERT"], ""),
    client("bun", "bun", Reads::Either, &["NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"], ""),
    client(
        "go programs",
        "go",
        Reads::Either,
        &["SSL_CERT_FILE"],
        "on Linux; elsewhere Go asks the system's store",
    ),
    client(
        "java",
        "java",
        Reads::Options("JAVA_TOOL_OPTIONS"),
        &["JAVA_TOOL_OPTIONS"],
        "cannot answer a proxy's 407; doorward run sets proxy and truststore",
    ),
];

impl Client {
    /// What it obeys, for people.
    pub(super) fn obeys(&self) -> String {
        let proxy = match self.proxy {
            Reads::Either => "https_proxy or HTTPS_PROXY".to_owned(),
            Reads::LowerOnly => "https_proxy (lower case only)".to_owned(),
            Reads::Only(name, value) => format!("https_proxy or HTTPS_PROXY, with {name}={value}"),
            Reads::Options(name) => format!("{name} only"),
            Reads::IfProgrammed(how) => format!("https_proxy or HTTPS_PROXY, only with {how} in its code"),
        };
        let roots = if self.roots.is_empty() { "no variable".to_owned() } else { self.roots.join(" or ") };
        let note = if self.note.is_empty() { String::new() } else { format!("; {}", self.note) };
        format!("proxy: {proxy}; CA: {roots}{note}")
    }
}
