//! Audit files on this machine: which they are, and their lines as they grow.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::show::{Printer, Stream};
use crate::audit::MAX_LINE;
use crate::audit::search::{Facts, Filter, clean};
use crate::cli::{Env, Exit, Failure};

/// How often `-f` looks for new lines.
const FOLLOW: Duration = Duration::from_millis(200);

/// The files given, or those of the directory, oldest first.
pub(super) fn files_of(given: &[PathBuf], folder: &Path) -> Result<Vec<PathBuf>, Failure> {
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

pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Error };
    Failure::new(exit, format!("{}: {error}", path.display()))
}

/// The last lines of all files by their time, and, with `follow`, those that come.
pub(super) fn tail(
    env: &Env,
    files: &[PathBuf],
    filter: &Filter,
    lines: usize,
    follow: bool,
) -> Result<Exit, Failure> {
    let mut printer = Printer::new(env, if follow { Stream::Endless } else { Stream::Ends })?;
    let mut followed: Vec<_> = files.iter().cloned().map(Followed::new).collect();
    let mut last: Vec<(Facts, String)> = Vec::new();
    // Files overlap in time where several processes write.
    let trim = |last: &mut Vec<(Facts, String)>| {
        last.sort_by(|a, b| a.0.ts.cmp(&b.0.ts));
        last.drain(..last.len().saturating_sub(lines));
    };
    for file in &mut followed {
        file.read(filter, |line, raw| {
            last.push((line, raw));
            if last.len() > 2 * lines + 1000 {
                trim(&mut last);
            }
        })?;
    }
    trim(&mut last);
    for (line, raw) in last {
        printer.print(&line, &raw);
    }
    if !follow {
        printer.end();
        return Ok(Exit::Ok);
    }
    loop {
        std::thread::sleep(FOLLOW);
        for file in &mut followed {
            file.read(filter, |line, raw| printer.print(&line, &raw))?;
        }
    }
}

/// A file that is read as it grows; after a rotation the new file is read from its start.
#[derive(Debug, Default)]
pub(super) struct Followed {
    path: PathBuf,
    inode: u64,
    offset: u64,
}

impl Followed {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, ..Self::default() }
    }

    /// Shows the whole lines that are wanted and were not read yet.
    pub(super) fn read(
        &mut self,
        filter: &Filter,
        mut take: impl FnMut(Facts, String),
    ) -> Result<(), Failure> {
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
            // What is longer than any line is passed over in parts.
            let part = reader.by_ref().take(MAX_LINE as u64).read_until(b'\n', &mut line);
            let read = part.map_err(|error| unreadable(&self.path, &error))?;
            if !line.ends_with(b"\n") && read < MAX_LINE {
                return Ok(());
            }
            self.offset += read as u64;
            let text = clean(&String::from_utf8_lossy(line.trim_ascii_end()));
            match Facts::of(&text) {
                Some(facts) if filter.takes(&facts) => take(facts, text),
                // Torn lines are `verify`'s business.
                Some(_) | None => {}
            }
        }
    }
}
