//! `doorward trust`: hands out the CA's certificate, in the forms that clients read. Reads no key.
//!
//! Changing the system's trust store needs root and differs by system: it is named, not done.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::{Args, Subcommand, ValueEnum};
use control::cli::{Env, Exit, Failure, Format};
use control::config::Home;
use serde_json::json;

use crate::publish::{self, Readers};

/// Hand out or look at the CA that agents trust.
#[derive(Subcommand, Clone, Debug)]
pub enum Trust {
    /// Write the CA's certificate where a client finds it.
    Export(Export),
    /// Show the CA and whether the system trusts it.
    Status(Source),
    /// Not done by doorward; says how to do it.
    Install(Source),
    /// Not done by doorward; says how to do it.
    Uninstall(Source),
}

/// Which CA.
#[derive(Args, Clone, Debug)]
pub struct Source {
    /// The folder of the kept CA; default: the home's.
    #[arg(long, env = "DOORWARD_CA_DIR", value_name = "DIR")]
    ca_dir: Option<PathBuf>,
}

/// Which form, and where.
#[derive(Args, Clone, Debug)]
pub struct Export {
    #[command(flatten)]
    source: Source,
    /// pem: the CA alone; bundle: with the system's roots; java: a PKCS#12 truststore, password changeit.
    #[arg(long, value_enum, default_value = "pem")]
    form: Form,
    /// The file; without it, standard output.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// The CA alone.
    Pem,
    /// The CA and the system's roots.
    Bundle,
    /// The same as a PKCS#12 truststore.
    Java,
}

const INSTALL: &str = "doorward does not change the system's trust store: agents get the CA by their environment (doorward env, doorward run). \
To do it by hand on Debian or Ubuntu: doorward trust export /usr/local/share/ca-certificates/doorward.crt && update-ca-certificates; \
on Fedora: doorward trust export /etc/pki/ca-trust/source/anchors/doorward.crt && update-ca-trust";
const UNINSTALL: &str = "doorward does not change the system's trust store. To do it by hand on Debian or Ubuntu: \
rm /usr/local/share/ca-certificates/doorward.crt && update-ca-certificates --fresh; \
on Fedora: rm /etc/pki/ca-trust/source/anchors/doorward.crt && update-ca-trust";

impl Trust {
    /// Runs it.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        match self {
            Self::Export(export) => export.run(env),
            Self::Status(source) => source.status(env),
            Self::Install(_) => Err(Failure::new(Exit::Usage, INSTALL)),
            Self::Uninstall(_) => Err(Failure::new(Exit::Usage, UNINSTALL)),
        }
    }
}

impl Source {
    fn certificate(&self, env: &Env) -> Result<(PathBuf, String), Failure> {
        let folder = match &self.ca_dir {
            Some(folder) => folder.clone(),
            None => Home::find(env).map_err(|error| failed(error.to_string()))?.ca_dir(),
        };
        let path = folder.join("ca.crt");
        let text = std::fs::read_to_string(&path).map_err(|error| {
            let hint = "a proxy with --ca-dir makes it; one without keeps its CA in memory and hands it out by --publish";
            Failure::new(Exit::NotFound, format!("{}: {error}; {hint}", path.display()))
        })?;
        Ok((path, text))
    }

    fn status(&self, env: &Env) -> Result<Exit, Failure> {
        let (path, text) = self.certificate(env)?;
        let facts = certs::trust::describe(&path, text.as_bytes(), SystemTime::now())
            .map_err(|error| failed(error.to_string()))?;
        let roots = certs::Roots::system();
        let source = match roots.source() {
            certs::trust::Source::File(file) => file.display().to_string(),
            certs::trust::Source::BuiltIn => "built in".to_owned(),
        };
        let is_trusted = roots.certificates().contains(&facts.certificate);
        match env.globals.output {
            Format::Json | Format::Jsonl => env.output.data(json!({
                "ca": path,
                "fingerprint_sha256": facts.fingerprint,
                "not_after": facts.not_after,
                "valid": facts.is_valid,
                "system_roots": source,
                "in_system_roots": is_trusted,
            })),
            Format::Yaml | Format::Sh | Format::Dotenv | Format::Docker | Format::Name => {
                return Err(Failure::new(Exit::Usage, "trust status prints -o table or json"));
            }
            Format::Table | Format::Wide => {
                env.output.data(format!("CA            {}", path.display()));
                env.output.data(format!("SHA-256       {}", facts.fingerprint));
                env.output.data(format!(
                    "valid until   {}{}",
                    facts.not_after,
                    if facts.is_valid { "" } else { " (not valid now)" }
                ));
                let trusted = if is_trusted { "yes" } else { "no: agents trust it by their environment" };
                env.output.data(format!("in {source}: {trusted}"));
            }
        }
        Ok(if facts.is_valid { Exit::Ok } else { Exit::Unhealthy })
    }
}

impl Export {
    fn run(&self, env: &Env) -> Result<Exit, Failure> {
        let (path, pem) = self.source.certificate(env)?;
        let bytes = self.form.bytes(&path, &pem)?;
        match (&self.file, self.form) {
            (Some(file), _) => {
                let written = publish::write(file, &bytes, Readers::All);
                written.map_err(|error| failed(format!("{}: {error}", file.display())))?;
                env.output.say(format!("written: {}", file.display()));
            }
            (None, Form::Java) => {
                return Err(Failure::new(Exit::Usage, "--form java needs a FILE: it is not text"));
            }
            (None, Form::Pem | Form::Bundle) => env.output.data(String::from_utf8_lossy(&bytes).trim_end()),
        }
        Ok(Exit::Ok)
    }
}

impl Form {
    fn bytes(self, path: &Path, pem: &str) -> Result<Vec<u8>, Failure> {
        let bundle = || format!("{pem}{}", certs::Roots::system().pem());
        match self {
            Self::Pem => Ok(pem.as_bytes().to_vec()),
            Self::Bundle => Ok(bundle().into_bytes()),
            Self::Java => certs::trust::java_truststore_of(path, bundle().as_bytes())
                .map_err(|error| failed(error.to_string())),
        }
    }
}

fn failed(why: impl Into<String>) -> Failure {
    Failure::new(Exit::Error, why)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use control::cli::{Globals, Output};

    use super::*;

    fn env() -> Env {
        Env { vars: BTreeMap::new(), globals: Globals::default(), schemes: &[], output: Output }
    }

    fn kept() -> (tempfile::TempDir, Source) {
        let folder = tempfile::tempdir().unwrap();
        certs::Authority::load_or_create(folder.path(), SystemTime::now()).unwrap();
        let source = Source { ca_dir: Some(folder.path().to_owned()) };
        (folder, source)
    }

    #[test]
    fn refuses_to_change_the_system_and_says_how_to() {
        let (_folder, source) = kept();
        let failure = Trust::Install(source).run(&env()).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.message.contains("update-ca-certificates"));
    }

    #[test]
    fn refuses_a_truststore_on_standard_output_and_a_folder_without_a_ca() {
        let (_folder, source) = kept();
        let export = Export { source, form: Form::Java, file: None };
        assert_eq!(export.run(&env()).unwrap_err().exit, Exit::Usage);
        let nowhere = Source { ca_dir: Some("/nonexistent".into()) };
        assert_eq!(nowhere.status(&env()).unwrap_err().exit, Exit::NotFound);
    }

    #[test]
    fn exports_every_form_without_the_key() {
        let (folder, source) = kept();
        let (path, pem) = source.certificate(&env()).unwrap();
        assert!(!pem.contains("PRIVATE"));
        let bundle = Form::Bundle.bytes(&path, &pem).unwrap();
        assert!(bundle.len() > pem.len() && bundle.starts_with(pem.as_bytes()));
        let file = folder.path().join("t.p12");
        let export = Export { source: source.clone(), form: Form::Java, file: Some(file.clone()) };
        assert_eq!(export.run(&env()).unwrap(), Exit::Ok);
        assert_eq!(std::fs::read(file).unwrap().first(), Some(&0x30));
        assert_eq!(source.status(&env()).unwrap(), Exit::Ok);
    }
}
