//! `doorward audit tail|search|verify`: reads audit files; never writes one.
//!
//! What a file holds is shown with control characters replaced: it may have been changed since it was written.

mod show;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use show::{Printer, Shown, Stream, clean};

use super::{Env, Exit, Failure, Format};
use crate::audit::verify::verify;
use crate::refusal::Code;

/// How often `-f` looks for new lines.
const FOLLOW: Duration = Duration::from_millis(200);

/// Read and verify the audit.
#[derive(Args, Clone, Debug)]
pub struct Audit {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Clone, Debug)]
enum Verb {
    /// Show the last lines.
    Tail {
        /// Wait for more lines.
        #[arg(short, long)]
        follow: bool,
        /// How many lines.
        #[arg(long, short = 'l', default_value_t = 20)]
        lines: usize,
        #[command(flatten)]
        filter: Filter,
        /// The files; default: all of the audit directory.
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Show all lines that match.
    Search {
        #[command(flatten)]
        filter: Filter,
        /// The files; default: all of the audit directory.
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Check the chain of hashes (exit 1 where it is broken).
    Verify {
        /// The files, each verified by itself; default: all of the audit directory.
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The files are one chain: each continues the one before it.
        #[arg(long)]
        chained: bool,
    },
}

/// Which lines are shown; all that is given has to match.
#[derive(Args, Clone, Debug, Default)]
struct Filter {
    /// Of this agent.
    #[arg(long)]
    agent: Option<String>,
    /// Of this provider.
    #[arg(long)]
    provider: Option<String>,
    /// To this host.
    #[arg(long)]
    host: Option<String>,
    /// With this verdict: allow, deny, would-deny or error.
    #[arg(long, value_parser = ["allow", "deny", "would-deny", "error"])]
    verdict: Option<String>,
    /// With this code (`DW1002`).
    #[arg(long)]
    code: Option<String>,
    /// Of this request (`Doorward-Request-Id`).
    #[arg(long)]
    request: Option<String>,
}

impl Audit {
    /// Runs the command; `folder` is where the audit is kept when no file is given.
    pub fn run(&self, env: &Env, folder: &Path) -> Result<Exit, Failure> {
        match &self.verb {
            Verb::Tail { follow, lines, filter, files } => {
                let filter = filter.checked()?;
                tail(env, &files_of(files, folder)?, &filter, *lines, *follow)
            }
            Verb::Search { filter, files } => search(env, &files_of(files, folder)?, &filter.checked()?),
            Verb::Verify { files, chained } => verify_all(env, &files_of(files, folder)?, *chained),
        }
    }
}

impl Filter {
    fn checked(&self) -> Result<Self, Failure> {
        let code = match &self.code {
            Some(text) => {
                let code = Code::parse(text).ok_or_else(|| {
                    Failure::new(Exit::Usage, "--code is not a code; `doorward explain` lists all")
                })?;
                Some(code.name().to_owned())
            }
            None => None,
        };
        Ok(Self { code, ..self.clone() })
    }

    fn takes(&self, line: &Shown) -> bool {
        let fits = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        fits(&self.agent, &line.agent)
            && fits(&self.provider, &line.provider)
            && fits(&self.host, &line.host)
            && fits(&self.verdict, &line.verdict)
            && fits(&self.code, &line.code)
            && fits(&self.request, &line.req)
    }
}

/// The files given, or those of the directory, oldest first.
fn files_of(given: &[PathBuf], folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    if !given.is_empty() {
        return Ok(given.to_vec());
    }
    let mut found = Vec::new();
    for entry in folder.read_dir().map_err(|error| unreadable(folder, &error))? {
        let path = entry.map_err(|error| unreadable(folder, &error))?.path();
        let is_audit = path.file_name().is_some_and(|name| name.to_string_lossy().contains(".jsonl"));
        if is_audit && path.is_file() {
            let changed = path.metadata().and_then(|meta| meta.modified()).ok();
            found.push((changed, path));
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(Failure::new(Exit::NotFound, format!("no audit file in {}", folder.display())));
    }
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Error };
    Failure::new(exit, format!("{}: {error}", path.display()))
}

fn tail(env: &Env, files: &[PathBuf], filter: &Filter, lines: usize, follow: bool) -> Result<Exit, Failure> {
    let printer = Printer::new(env, if follow { Stream::Endless } else { Stream::Ends })?;
    let mut followed: Vec<_> =
        files.iter().map(|path| Followed { path: path.clone(), ..Followed::default() }).collect();
    let mut last = VecDeque::new();
    for file in &mut followed {
        file.read(filter, |line, raw| {
            last.push_back((line.ts.clone(), line, raw));
        })?;
        // Files overlap in time where several processes write: the last lines of all are the last by their time.
        last.make_contiguous().sort_by(|a, b| a.0.cmp(&b.0));
        last.drain(..last.len().saturating_sub(lines));
    }
    printer.print(last.into_iter().map(|(_, line, raw)| (line, raw)));
    if !follow {
        return Ok(Exit::Ok);
    }
    loop {
        std::thread::sleep(FOLLOW);
        for file in &mut followed {
            file.read(filter, |line, raw| printer.print(std::iter::once((line, raw))))?;
        }
    }
}

fn search(env: &Env, files: &[PathBuf], filter: &Filter) -> Result<Exit, Failure> {
    let printer = Printer::new(env, Stream::Ends)?;
    let mut found = Vec::new();
    for path in files {
        let mut file = Followed { path: path.clone(), ..Followed::default() };
        if env.globals.output == Format::Json {
            file.read(filter, |line, raw| found.push((line, raw)))?;
        } else {
            file.read(filter, |line, raw| printer.print(std::iter::once((line, raw))))?;
        }
    }
    if env.globals.output == Format::Json {
        printer.print(found.into_iter());
    }
    Ok(Exit::Ok)
}

/// A file that is read as it grows; after a rotation the new file is read from its start.
#[derive(Debug, Default)]
struct Followed {
    path: PathBuf,
    inode: u64,
    offset: u64,
}

impl Followed {
    fn read(&mut self, filter: &Filter, mut take: impl FnMut(Shown, String)) -> Result<(), Failure> {
        let failed = |error| unreadable(&self.path, &error);
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            // Rotated away, and the next one is not there yet.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && self.offset > 0 => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        let meta = file.metadata().map_err(failed)?;
        if meta.ino() != self.inode || meta.len() < self.offset {
            self.offset = 0;
        }
        self.inode = meta.ino();
        file.seek(SeekFrom::Start(self.offset)).map_err(|error| unreadable(&self.path, &error))?;
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line).map_err(|error| unreadable(&self.path, &error))?;
            if !line.ends_with(b"\n") {
                return Ok(());
            }
            self.offset += read as u64;
            let text = clean(&String::from_utf8_lossy(line.trim_ascii_end()));
            match serde_json::from_str::<Shown>(&text) {
                Ok(shown) if filter.takes(&shown) => take(shown, text),
                // Torn lines are `verify`'s business.
                Ok(_) | Err(_) => {}
            }
        }
    }
}

fn verify_all(env: &Env, files: &[PathBuf], chained: bool) -> Result<Exit, Failure> {
    let mut exit = Exit::Ok;
    let mut after = None;
    let mut reports = Vec::new();
    for path in files {
        let file = File::open(path).map_err(|error| unreadable(path, &error))?;
        let outcome = verify(BufReader::new(file), after.filter(|_| chained));
        let name = path.display().to_string();
        reports.push(match outcome {
            Ok(verified) => {
                after = Some(verified.end);
                (serde_json::json!({
                    "file": name, "ok": true, "lines": verified.lines, "first_seq": verified.first_seq,
                    "last_seq": verified.end.seq, "last_hash": verified.end.hash.to_string(), "recovered": verified.recovered,
                }), format!("{name}: ok: {verified}"))
            }
            Err(broken) => {
                exit = Exit::Error;
                after = None;
                (serde_json::json!({
                    "file": name, "ok": false, "line": broken.line, "reason": broken.fault.to_string(),
                }), format!("{name}:{}: broken: {}", broken.line, broken.fault))
            }
        });
    }
    match env.globals.output {
        Format::Json => {
            env.output.data(reports.into_iter().map(|(object, _)| object).collect::<serde_json::Value>());
        }
        Format::Jsonl => reports.iter().for_each(|(object, _)| env.output.data(object)),
        Format::Table | Format::Wide => reports.iter().for_each(|(_, text)| env.output.data(text)),
        Format::Yaml
        | Format::Name
        | Format::Sh
        | Format::Dotenv
        | Format::Docker
        | Format::Pem
        | Format::Bundle
        | Format::Java => {
            return Err(Failure::new(Exit::Usage, "audit verify prints -o table, json or jsonl"));
        }
    }
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::show::row;
    use super::*;
    use crate::cli::{Globals, Output};

    const LINE: &str = r#"{"ts":"2027-01-15T08:00:00.123000Z","kind":"request","req":"0a-1","agent":"coder","provider":"github","method":"GET","host":"api.github.com","port":443,"path":"/user","verdict":"deny","code":"DW1002","status":403,"elapsed_us":1500}"#;

    fn env(output: Format) -> Env {
        let globals = Globals { output, ..Globals::default() };
        Env { vars: std::collections::BTreeMap::new(), globals, schemes: &[], output: Output }
    }

    fn read(file: &mut Followed, filter: &Filter) -> Vec<String> {
        let mut paths = Vec::new();
        file.read(filter, |line, _| paths.push(line.path.unwrap())).unwrap();
        paths
    }

    #[test]
    fn refuses_formats_that_do_not_fit_and_codes_that_do_not_exist() {
        assert_eq!(
            Printer::new(&env(Format::Json), Stream::Endless).err().map(|f| f.exit),
            Some(Exit::Usage)
        );
        assert_eq!(Printer::new(&env(Format::Dotenv), Stream::Ends).err().map(|f| f.exit), Some(Exit::Usage));
        let filter = Filter { code: Some("DW9".into()), ..Filter::default() };
        assert_eq!(filter.checked().err().map(|f| f.exit), Some(Exit::Usage));
    }

    #[test]
    fn says_not_found_where_there_is_no_audit() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path(), &folder.path().join("none")] {
            assert_eq!(files_of(&[], path).err().map(|f| f.exit), Some(Exit::NotFound));
        }
    }

    #[test]
    fn exits_1_when_a_chain_is_broken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        fs::write(&path, format!("{LINE}\n")).unwrap();
        let command = Audit { verb: Verb::Verify { files: Vec::new(), chained: false } };
        assert_eq!(command.run(&env(Format::Json), folder.path()).unwrap(), Exit::Error);
        fs::write(&path, "").unwrap();
        assert_eq!(command.run(&env(Format::Table), folder.path()).unwrap(), Exit::Ok);
    }

    #[test]
    fn a_row_moves_no_cursor() {
        let shown = Shown {
            path: Some("/\u{1b}[2J\n\u{202e}".into()),
            reason: Some("\r".into()),
            ..Shown::default()
        };
        let row = row(&shown, true);
        assert!(!row.chars().any(|c| c.is_control() || crate::audit::is_format(c)), "{row:?}");
    }

    #[test]
    fn a_row_shows_what_when_who_and_why() {
        let shown: Shown = serde_json::from_str(LINE).unwrap();
        let row = row(&shown, true);
        for part in [
            "2027-01-15T08:00:00.123",
            "deny",
            "coder",
            "GET",
            "403",
            "1ms",
            "api.github.com/user",
            "DW1002",
            "req=0a-1",
        ] {
            assert!(row.contains(part), "{row}");
        }
    }

    #[test]
    fn a_filter_takes_lines_that_fit_in_every_part() {
        let shown: Shown = serde_json::from_str(LINE).unwrap();
        let with = |code: &str, agent: &str| {
            let filter = Filter { code: Some(code.into()), agent: Some(agent.into()), ..Filter::default() };
            filter.checked().unwrap().takes(&shown)
        };
        assert!(with("1002", "coder") && !with("1001", "coder") && !with("1002", "other"));
        assert!(Filter::default().takes(&shown));
    }

    #[test]
    fn follows_a_file_that_grows_and_is_rotated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let mut file = File::create(&path).unwrap();
        let mut followed = Followed { path: path.clone(), ..Followed::default() };
        write!(file, "{LINE}\ntorn\n{LINE}").unwrap();
        assert_eq!(read(&mut followed, &Filter::default()).len(), 1);
        writeln!(file).unwrap();
        assert_eq!(read(&mut followed, &Filter::default()).len(), 1);
        fs::rename(&path, folder.path().join("old")).unwrap();
        assert!(read(&mut followed, &Filter::default()).is_empty());
        fs::write(&path, format!("{}\n", LINE.replace("/user", "/new"))).unwrap();
        assert_eq!(read(&mut followed, &Filter::default()), ["/new"]);
    }
}
