//! `doorward trust`: hands out the CA's certificate, in the forms that clients read. Reads no key.
//!
//! Changing the system's trust store needs root and differs by system: it is named, not done.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::{Args, Subcommand};
use control::cli::{Env, Exit, Failure, Format, listing};
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

/// Where; which form is settled by -o.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "-o pem (the default): the CA alone; -o bundle: with the system's roots; -o java: the same as a PKCS#12 \
truststore, password changeit, into a FILE; -o json, yaml: the CA with its facts."
)]
pub struct Export {
    #[command(flatten)]
    source: Source,
    /// The file; without it, standard output.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
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
        let object = json!({
            "ca": path,
            "fingerprint_sha256": facts.fingerprint,
            "not_after": facts.not_after,
            "valid": facts.is_valid,
            "system_roots": source,
            "in_system_roots": is_trusted,
        });
        let shown = path.display().to_string();
        let end = if facts.is_valid { "" } else { " (not valid now)" };
        let trusted = if is_trusted { "yes" } else { "no: agents trust it by their environment" };
        let lines = [
            ("CA", shown.clone()),
            ("SHA-256", facts.fingerprint.clone()),
            ("Valid until", format!("{}{end}", facts.not_after)),
            ("In the system's roots", format!("{trusted} ({source})")),
        ];
        listing::describe(env, &shown, &lines, &object)?;
        Ok(if facts.is_valid { Exit::Ok } else { Exit::Unhealthy })
    }
}

impl Export {
    fn run(&self, env: &Env) -> Result<Exit, Failure> {
        let (path, pem) = self.source.certificate(env)?;
        let format = env.globals.output;
        let Some(bytes) = bytes(format, &path, &pem)? else {
            return self.describe(env, &path, &pem);
        };
        match &self.file {
            Some(file) => {
                let written = publish::write(file, &bytes, Readers::All);
                written.map_err(|error| failed(format!("{}: {error}", file.display())))?;
                env.output.say(format!("written: {}", file.display()));
            }
            None if format == Format::Java => {
                return Err(Failure::new(Exit::Usage, "-o java needs a FILE: it is not text"));
            }
            None => env.output.data(String::from_utf8_lossy(&bytes).trim_end()),
        }
        Ok(Exit::Ok)
    }

    /// What machines read: the certificate with its facts.
    fn describe(&self, env: &Env, path: &Path, pem: &str) -> Result<Exit, Failure> {
        if self.file.is_some() {
            return Err(Failure::new(Exit::Usage, "a FILE takes -o pem, bundle or java"));
        }
        let facts = certs::trust::describe(path, pem.as_bytes(), SystemTime::now())
            .map_err(|error| failed(error.to_string()))?;
        let object = json!({
            "ca": path,
            "fingerprint_sha256": facts.fingerprint,
            "not_after": facts.not_after,
            "pem": pem,
        });
        listing::describe(env, &path.display().to_string(), &[], &object)
    }
}

/// The certificates in a form that clients read; `None`: the format is one for objects.
fn bytes(format: Format, path: &Path, pem: &str) -> Result<Option<Vec<u8>>, Failure> {
    let bundle = || format!("{pem}{}", certs::Roots::system().pem());
    Ok(Some(match format {
        Format::Table | Format::Wide | Format::Pem => pem.as_bytes().to_vec(),
        Format::Bundle => bundle().into_bytes(),
        Format::Java => certs::trust::java_truststore_of(path, bundle().as_bytes())
            .map_err(|error| failed(error.to_string()))?,
        Format::Json | Format::Jsonl | Format::Yaml | Format::Name => return Ok(None),
        Format::Sh | Format::Dotenv | Format::Docker => {
            return Err(Failure::new(
                Exit::Usage,
                "trust export writes -o pem, bundle, java, json, jsonl, yaml or name",
            ));
        }
    }))
}

fn failed(why: impl Into<String>) -> Failure {
    Failure::new(Exit::Error, why)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use control::cli::{Globals, Output};

    use super::*;

    fn env(output: Format) -> Env {
        let globals = Globals { output, ..Globals::default() };
        Env {
            vars: BTreeMap::new(),
            globals,
            schemes: &[],
            output: Output,
            tls: control::cli::no_tls,
            browse: control::cli::no_browser,
        }
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
        let failure = Trust::Install(source).run(&env(Format::Table)).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.message.contains("update-ca-certificates"));
    }

    #[test]
    fn refuses_a_truststore_on_standard_output_forms_that_nothing_reads_and_a_folder_without_a_ca() {
        let (folder, source) = kept();
        let export = Export { source: source.clone(), file: None };
        for format in [Format::Java, Format::Sh, Format::Docker] {
            assert_eq!(export.run(&env(format)).unwrap_err().exit, Exit::Usage, "{format:?}");
        }
        let file = folder.path().join("f");
        let export = Export { source, file: Some(file.clone()) };
        assert_eq!(export.run(&env(Format::Json)).unwrap_err().exit, Exit::Usage);
        assert!(!file.exists());
        let nowhere = Source { ca_dir: Some("/nonexistent".into()) };
        assert_eq!(nowhere.status(&env(Format::Table)).unwrap_err().exit, Exit::NotFound);
    }

    #[test]
    fn exports_every_form_without_the_key() {
        let (folder, source) = kept();
        let (path, pem) = source.certificate(&env(Format::Table)).unwrap();
        assert!(!pem.contains("PRIVATE"));
        let bundle = bytes(Format::Bundle, &path, &pem).unwrap().unwrap();
        assert!(bundle.len() > pem.len() && bundle.starts_with(pem.as_bytes()));
        let file = folder.path().join("t");
        let export = Export { source: source.clone(), file: Some(file.clone()) };
        for (format, first) in [(Format::Java, 0x30), (Format::Table, b'-'), (Format::Pem, b'-')] {
            assert_eq!(export.run(&env(format)).unwrap(), Exit::Ok);
            assert_eq!(std::fs::read(&file).unwrap().first(), Some(&first), "{format:?}");
        }
        let export = Export { source: source.clone(), file: None };
        for format in [Format::Table, Format::Wide, Format::Json, Format::Jsonl, Format::Yaml, Format::Name] {
            assert_eq!(source.status(&env(format)).unwrap(), Exit::Ok, "{format:?}");
            assert_eq!(export.run(&env(format)).unwrap(), Exit::Ok, "{format:?}");
        }
    }
}
