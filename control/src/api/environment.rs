//! Which environment variables of an agent somebody may set through an attachment.
//!
//! A variable is configuration for the agent's own code. Refused are the names by which a loader, shell, runtime or common tool
//! takes code to run or load, a command to start, or whom it trusts and asks: who may only manage agents must not run code in
//! them. Whole families are refused where new members appear with new versions. Case does not count.

/// A family of names, what it does, and where that is written.
struct Family {
    /// `NAME`, `PREFIX*` or `*SUFFIX`, parted by blanks.
    names: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "for readers and for the test"))]
    source: &'static str,
}

const fn family(names: &'static str, source: &'static str) -> Family {
    Family { names, source }
}

/// The one table.
const REFUSED: &[Family] = &[
    family("LD_*", "ld.so(8): LD_PRELOAD, LD_AUDIT, LD_LIBRARY_PATH"),
    family("DYLD_* __XPC_DYLD_*", "dyld(1), macOS"),
    family(
        "GCONV_PATH GETCONF_DIR GLIBC_TUNABLES MALLOC_* LOCPATH NLSPATH NIS_PATH TZDIR",
        "ld.so(8), secure-execution mode: what glibc itself does not trust",
    ),
    family("HOSTALIASES LOCALDOMAIN RES_OPTIONS RESOLV_*", "resolver(5), hostname(7)"),
    family(
        "PATH HOME USER LOGNAME PWD OLDPWD CDPATH TMPDIR TMP TEMP XDG_*",
        "environ(7), XDG base directories: where programs and their files are found",
    ),
    family(
        "SHELL SHELLOPTS BASHOPTS BASH_* ENV IFS PROMPT_COMMAND PS0 PS1 PS2 PS3 PS4 FPATH ZDOTDIR KSH_* \
         FCEDIT HISTFILE INPUTRC EXECIGNORE GLOBIGNORE TERM* NCURSES_*",
        "bash(1), zsh(1), dash(1), terminfo(5)",
    ),
    family(
        "PAGER *_PAGER EDITOR *_EDITOR VISUAL BROWSER LESS* MANOPT MAN_* MORE *_ASKPASS *_COMMAND *_CMD",
        "less(1), man(1), environ(7): names that hold commands",
    ),
    family("GIT_*", "git(1): GIT_SSH_COMMAND, GIT_CONFIG_*, GIT_EXTERNAL_DIFF, GIT_EXEC_PATH"),
    family("SSH_* SVN_* HG* CVS_* RSYNC_* GNUPGHOME GPG_*", "ssh(1), svn, hg(1), rsync(1), gpg(1)"),
    family(
        "PYTHON* PIP_* VIRTUAL_ENV CONDA_* UV_* POETRY_* PDM_* PIPENV_* IPYTHON* JUPYTER_*",
        "python(1), pip and uv: configuration by environment",
    ),
    family("PERL* PERL5*", "perlrun(1): PERL5OPT, PERL5LIB, PERL5DB"),
    family("RUBY* GEM_* BUNDLE_* BUNDLER_* IRBRC", "ruby(1), bundle-config(1)"),
    family(
        "NODE_* NPM_* YARN_* PNPM_* COREPACK_* BUN_* DENO_* ELECTRON_* TS_NODE_*",
        "node(1): NODE_OPTIONS, NODE_PATH; npm-config(7); deno and bun: environment",
    ),
    family(
        "JAVA_* _JAVA_* JDK_* JRE_* CLASSPATH MAVEN_* MVN_* GRADLE_* ANT_* SBT_* KOTLIN_* SCALA_* GROOVY_* \
         LEIN_*",
        "java(1): JAVA_TOOL_OPTIONS, JDK_JAVA_OPTIONS, _JAVA_OPTIONS; mvn, gradle",
    ),
    family("DOTNET_* CORECLR_* COR_* COMPLUS_* MONO_* NUGET_* MSBUILD*", ".NET: startup hooks and profilers"),
    family("PHP* PHPRC COMPOSER*", "php(1): PHPRC, PHP_INI_SCAN_DIR"),
    family(
        "LUA_* LUAROCKS_* GUILE_* ERL_* ELIXIR_* MIX_* HEX_* JULIA_* R_HOME R_PROFILE* R_ENVIRON* R_LIBS* \
         RENV_* TCLLIBPATH TCL_* AWKPATH AWKLIBPATH OCAML* CAML_* GHC*",
        "each runtime's manual: load paths and start-up files",
    ),
    family(
        "GOFLAGS GOPATH GOROOT GOPROXY GOENV GOTOOL* GODEBUG GOBIN GOCACHE* GOSUMDB GOINSECURE GOPRIVATE \
         GONO* GOVCS GOEXPERIMENT GOMOD* GOWORK GOTMPDIR GOAUTH GCCGO* CGO_* CARGO* RUST* CC CXX CPP LD AR AS \
         NM *FLAGS MAKE* CMAKE_* CPATH *_INCLUDE_PATH LIBRARY_PATH COMPILER_PATH GCC_* PKG_CONFIG* \
         CONFIG_SITE M4PATH DISTCC_* CCACHE_* BAZEL*",
        "go help environment; cargo: environment; gcc(1), make(1)",
    ),
    family(
        "OPENSSL_* SSL* *_CA_BUNDLE *_CA_CERTS *_CERT_FILE CURL_* WGETRC NETRC REQUESTS_* KRB5* *_PROXY \
         GRPC_* AIOHTTP_*",
        "openssl-env(7), curl(1): engines, roots, and whom a client asks",
    ),
    family(
        "DOCKER_* CONTAINER_* PODMAN_* KUBE* HELM_* TF_CLI_* TF_DATA_DIR TF_PLUGIN* TF_REATTACH* TERRAFORM_* \
         ANSIBLE_* VAGRANT_* PACKER_* PULUMI_*",
        "each tool's manual: plug-ins, sockets and files of configuration",
    ),
    family(
        "AWS_CONFIG_FILE AWS_SHARED_CREDENTIALS_FILE AWS_ENDPOINT_URL* AWS_CA_BUNDLE AWS_DATA_PATH \
         AWS_CONTAINER_* BOTO_* CLOUDSDK_* GOOGLE_APPLICATION_CREDENTIALS AZURE_CONFIG_DIR AZURE_EXTENSION_*",
        "the clouds' tools: credential_process, plug-ins, end points",
    ),
    family(
        "PSQLRC PGSYSCONFDIR PGSERVICEFILE MYSQL_HOME MYSQL_TEST_* LIBMYSQL_* ODBC* ORACLE_HOME TNS_ADMIN",
        "psql(1), mysql(1): start-up files and plug-ins",
    ),
    family(
        "QT_* GTK_* GIO_* GST_* GDK_* GSETTINGS_* DBUS_* DISPLAY XAUTHORITY WAYLAND_* LIBGL_* VK_* ALSA_* \
         PULSE_*",
        "desktop libraries: modules and sockets",
    ),
    family(
        "EMACS* VIM* VIMINIT EXINIT MYVIMRC NVIM_* TMUX* SCREENRC FZF_* RIPGREP_CONFIG_PATH BAT_* ACK_*",
        "each program's manual: commands and start-up files",
    ),
    family(
        "ASAN_* LSAN_* MSAN_* TSAN_* UBSAN_* LLVM_* VALGRIND_* COVERAGE_*",
        "sanitizers: log paths and programs that are started",
    ),
    family(
        "CLAUDE_CONFIG_DIR CLAUDE_CODE_* CLAUDE_ENV_FILE CODEX_* OPENAI_BASE_URL ANTHROPIC_BASE_URL \
         *_API_BASE *_BASE_URL",
        "agents' own: hooks, settings, and where they send what they are given",
    ),
    family("DOORWARD*", "ours"),
];

/// Within the families: data by its name, of which a credential for the agent to see is the usual case.
const DATA: &[&str] = &[
    "*_TOKEN",
    "*_API_KEY",
    "*_ACCESS_KEY",
    "*_PASSWORD",
    "*_SECRET",
    "*_USERNAME",
    "NODE_ENV",
    "RUST_LOG",
    "RUST_BACKTRACE",
];

/// Whether an attachment may set this variable.
pub(super) fn is_settable(name: &str) -> bool {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let fits = starts && name.len() <= 253 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let upper = name.to_ascii_uppercase();
    let is_of = |pattern: &str| match (pattern.strip_suffix('*'), pattern.strip_prefix('*')) {
        (Some(head), _) => upper.starts_with(head),
        (None, Some(tail)) => upper.ends_with(tail),
        (None, None) => upper == *pattern,
    };
    let is_ours = upper.starts_with("DOORWARD");
    if fits && !is_ours && DATA.iter().any(|pattern| is_of(pattern)) {
        return true;
    }
    fits && !REFUSED.iter().any(|family| family.names.split_ascii_whitespace().any(is_of))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_variables_that_decide_what_a_program_runs_or_whom_it_asks() {
        for name in [
            "",
            "1A",
            "A-B",
            "A=B",
            "ä",
            "LD_PRELOAD",
            "ld_library_path",
            "PATH",
            "HTTPS_PROXY",
            "no_proxy",
            "GIT_SSH_COMMAND",
            "GIT_CONFIG_COUNT",
            "GIT_ASKPASS",
            "PROMPT_COMMAND",
            "PS4",
            "BASH_ENV",
            "PERL5OPT",
            "PERL5LIB",
            "RUBYOPT",
            "JAVA_TOOL_OPTIONS",
            "_JAVA_OPTIONS",
            "JDK_JAVA_OPTIONS",
            "LESSOPEN",
            "PAGER",
            "NODE_OPTIONS",
            "npm_config_script_shell",
            "PYTHONSTARTUP",
            "PYTHONPATH",
            "PYTHONHOME",
            "DOTNET_STARTUP_HOOKS",
            "CORECLR_PROFILER",
            "PHPRC",
            "OPENSSL_CONF",
            "SSL_CERT_FILE",
            "CURL_HOME",
            "GCONV_PATH",
            "GOFLAGS",
            "RUSTC_WRAPPER",
            "CARGO_HOME",
            "MAKEFLAGS",
            "CFLAGS",
            "KUBECONFIG",
            "DOCKER_HOST",
            "AWS_CONFIG_FILE",
            "VIMINIT",
            "R_PROFILE",
            "EDITOR",
            "SUDO_ASKPASS",
            "OPENAI_BASE_URL",
            "DOORWARD_TOKEN_FILE",
            "NODE_EXTRA_CA_CERTS",
            "REQUESTS_CA_BUNDLE",
            "GRADLE_OPTS",
            "ERL_FLAGS",
            "LUA_INIT",
        ] {
            assert!(!is_settable(name), "{name}");
        }
        for name in
            ["GITHUB_TOKEN", "_x1", "REGION", "AWS_REGION", "LOG_LEVEL", "DATABASE_URL", "API_KEY", "MODE"]
        {
            assert!(is_settable(name), "{name}");
        }
    }

    #[test]
    fn every_family_says_where_it_is_written() {
        assert!(REFUSED.iter().all(|family| !family.names.is_empty() && !family.source.is_empty()));
        for pattern in REFUSED.iter().flat_map(|family| family.names.split_ascii_whitespace()) {
            let inner = pattern.trim_matches('*');
            let is_plain = inner.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
            assert!(is_plain && !inner.is_empty(), "{pattern}");
        }
    }
}
