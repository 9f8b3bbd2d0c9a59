//! `doorward check leak`: looks for the values of the vault's secrets in what an agent could read, in every form that is scrubbed.
//!
//! Says where a value is and how it is written there, never the value. What could not be read is counted, and the check then fails:
//! nothing is said of it. Values of a server never leave it, so they are not looked for.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::listing::{Item, Listing};
use super::remote::server;
use super::vault::{VaultArgs, block_on, project};
use super::{Env, Exit, Failure};
use crate::leak::{Found, Sought};

/// How much of a file is looked through at once, in bytes.
const WINDOW: u64 = 1 << 20;
/// What the kernel shows of itself is no file; processes are named with `--pid`.
const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Where to look.
#[derive(Args, Clone, Debug)]
pub struct CheckLeak {
    /// Files and folders, `-` for stdin; default: the folder that this runs in. The environment that this runs in is always looked at.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Also the environment and command line of a running process (repeatable).
    #[arg(long, value_name = "PID")]
    pid: Vec<u32>,
    #[command(flatten)]
    vault: VaultArgs,
}

impl CheckLeak {
    /// Runs the command.
    pub fn run(self, env: &Env) -> Result<Exit, Failure> {
        if server(env)?.is_some() {
            let why =
                "values of a server never leave it; look for those of a vault here with --context local";
            return Err(Failure::new(Exit::Usage, why));
        }
        let project = project(env)?;
        let sought = block_on(async { Ok(self.vault.unlock(env).await?.sought(project).await?) })?;
        if sought.is_empty() {
            let why = format!("project {project} has no secret to look for");
            return Err(Failure::new(Exit::NotFound, why));
        }
        let mut look = Look::new(&sought);
        for (name, value) in &env.vars {
            let entry = [name.as_encoded_bytes(), b"=", value.as_encoded_bytes()].concat();
            look.at(&format!("environment: {}", name.display()), &mut entry.as_slice());
        }
        for pid in &self.pid {
            ["environ", "cmdline"]
                .iter()
                .for_each(|file| look.file(&PathBuf::from(format!("/proc/{pid}/{file}"))));
        }
        let here = [PathBuf::from(".")];
        let paths = if self.paths.is_empty() && self.pid.is_empty() { &here[..] } else { &self.paths };
        paths.iter().for_each(|path| look.named(path));
        look.say(env, project);
        let (unread, is_clean) = (look.unread, look.found.is_empty());
        look.listing().print(env)?;
        match (is_clean, unread) {
            (true, 0) => Ok(Exit::Ok),
            (true, _) => Err(Failure::new(Exit::Error, format!("{unread} places could not be read"))),
            (false, _) => Ok(Exit::Deny),
        }
    }
}

/// What was looked at so far.
struct Look<'a> {
    sought: &'a Sought,
    places: usize,
    bytes: u64,
    unread: usize,
    found: Vec<(String, Found)>,
}

impl<'a> Look<'a> {
    fn new(sought: &'a Sought) -> Self {
        Self { sought, places: 0, bytes: 0, unread: 0, found: Vec::new() }
    }

    /// A path as it was given: a link is followed.
    fn named(&mut self, path: &Path) {
        if path == Path::new("-") {
            self.at("stdin", &mut io::stdin());
        } else if path.is_dir() {
            self.folder(path);
        } else {
            self.file(path);
        }
    }

    /// Everything below; links to folders are not followed, since they may lead back here.
    fn folder(&mut self, folder: &Path) {
        let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let Ok(entries) = entries else {
            self.unread += 1;
            return;
        };
        let mut paths: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
        paths.sort();
        for path in paths {
            let Ok(link) = fs::symlink_metadata(&path) else { continue };
            if link.is_dir() {
                let is_kernels =
                    path.canonicalize().is_ok_and(|path| KERNEL.iter().any(|own| path == Path::new(own)));
                if !is_kernels {
                    self.folder(&path);
                }
            } else if fs::metadata(&path).is_ok_and(|target| target.is_file()) {
                // Sockets, pipes and devices hold nothing.
                self.file(&path);
            }
        }
    }

    fn file(&mut self, path: &Path) {
        match File::open(path) {
            Ok(mut file) => self.at(&path.display().to_string(), &mut file),
            Err(_) => self.unread += 1,
        }
    }

    /// Looks through a stream, by windows that overlap by the longest form.
    fn at(&mut self, place: &str, stream: &mut dyn Read) {
        self.places += 1;
        let (mut window, first) = (Vec::new(), self.found.len());
        loop {
            let kept = window.len();
            let Ok(read) = Read::take(&mut *stream, WINDOW).read_to_end(&mut window) else {
                self.unread += 1;
                return;
            };
            self.bytes += read as u64;
            for found in self.sought.find(&window) {
                let is_known =
                    |(_, known): &(String, Found)| known.secret == found.secret && known.key == found.key;
                if !self.found.iter().skip(first).any(is_known) {
                    self.found.push((place.to_owned(), found));
                }
            }
            if read as u64 != WINDOW {
                return;
            }
            let len = kept + read;
            window.drain(..len.saturating_sub(self.sought.span()));
        }
    }

    fn say(&self, env: &Env, project: &str) {
        let (values, places, kib) = (self.sought.len(), self.places, self.bytes.div_ceil(1024));
        env.output
            .say(format!("looked for {values} values of project {project} in {places} places, {kib} KiB"));
    }

    fn listing(self) -> Listing {
        let item = |(place, Found { secret, key, form }): (String, Found)| Item {
            cells: vec![place.clone(), secret.name.to_string(), key.clone(), form.to_owned()],
            object: json!({"where": place, "secret": secret.name.as_str(), "key": key, "form": form}),
            name: place,
        };
        let columns = &["WHERE", "SECRET", "KEY", "FORM"];
        Listing {
            kind: "leak",
            columns,
            wide_from: columns.len(),
            items: self.found.into_iter().map(item).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{Secret, SecretRef};

    #[test]
    fn finds_a_value_wherever_it_lies_across_windows_and_once_in_a_place() {
        let mut sought = Sought::default();
        let secret = SecretRef { project: "default".into(), name: "s".parse().unwrap() };
        sought.add(&secret, "token".to_owned(), Secret::new(b"ghp_Zz00Yy11Xx22".to_vec()));
        let window = WINDOW as usize;
        for at in [0, window - 16, window - 15, window - 1, window, window + 1, 2 * window - 7] {
            let mut text = vec![b' '; 3 * window];
            text[at..at + 16].copy_from_slice(b"ghp_Zz00Yy11Xx22");
            text[3 * window - 16..].copy_from_slice(b"ghp_Zz00Yy11Xx22");
            let mut look = Look::new(&sought);
            look.at("before", &mut &text[..at]);
            assert!(look.found.is_empty());
            look.at("here", &mut text.as_slice());
            assert_eq!((look.found.len(), look.places), (1, 2), "{at}");
            assert_eq!(look.found[0].0, "here");
        }
    }
}
