//! Values from outside: a command's output, an inherited descriptor; each with a deadline and a bound.
//!
//! Commands run without a shell, in a process group of their own that is ended with them, with nothing on their input
//! and their error output thrown away: it may quote what they were handed.

use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use zeroize::Zeroizing;

/// How long a command or descriptor may take: some ask a person to touch a token.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Why a command gave no value.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The line cannot be split into words.
    #[error("the command is empty or a quote in it is never closed")]
    Words,
    /// It did not start.
    #[error("`{0}` did not start: {1}")]
    Start(String, #[source] io::Error),
    /// It took too long.
    #[error("`{0}` took longer than {1:?}")]
    Deadline(String, Duration),
    /// It failed.
    #[error("`{0}` ended with {1}; run it by hand to see why")]
    Status(String, String),
    /// It wrote too much.
    #[error("`{0}` wrote more than {1} bytes")]
    TooLarge(String, usize),
    /// Its output could not be read.
    #[error("the output of `{0}` could not be read: {1}")]
    Output(String, #[source] io::Error),
}

/// Splits a command line into words as a shell does for plain words, single quotes, double quotes and backslashes.
/// Nothing is expanded, and no shell is run: `$HOME`, `|` and `*` are plain text.
pub fn split_words(line: &str) -> Result<Vec<String>, CommandError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, ' ' | '\t' | '\n' | '\r') => words.extend(word.take()),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), c) if open == c => quote = None,
            (None, '\\') => word.get_or_insert_default().push(chars.next().ok_or(CommandError::Words)?),
            (Some('"'), '\\') => {
                let next = chars.next().ok_or(CommandError::Words)?;
                let word = word.get_or_insert_default();
                if !matches!(next, '"' | '\\' | '$' | '`') {
                    word.push('\\');
                }
                word.push(next);
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if quote.is_some() || words.is_empty() { Err(CommandError::Words) } else { Ok(words) }
}

/// Runs a program and returns its output. Blocks the thread until it ends or the deadline passes.
pub(crate) fn output(
    argv: &[String],
    deadline: Duration,
    max: usize,
) -> Result<Zeroizing<Vec<u8>>, CommandError> {
    let (program, arguments) = argv.split_first().ok_or(CommandError::Words)?;
    let started = Instant::now();
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| CommandError::Start(program.clone(), error))?;
    let result = collect(&mut child, program, deadline, started, max);
    // The group, not the child alone: a grandchild that keeps the pipe open would keep our reader with it.
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
        && result.is_err()
    {
        rustix::process::kill_process_group(group, Signal::KILL).ok();
        child.wait().ok();
    }
    result
}

fn collect(
    child: &mut Child,
    program: &str,
    deadline: Duration,
    started: Instant,
    max: usize,
) -> Result<Zeroizing<Vec<u8>>, CommandError> {
    let late = || CommandError::Deadline(program.to_owned(), deadline);
    let Some(stdout) = child.stdout.take() else { return Err(late()) };
    let bytes = read_within(stdout, max, deadline)
        .map_err(|error| CommandError::Output(program.to_owned(), error))?
        .ok_or_else(late)?;
    if bytes.len() > max {
        return Err(CommandError::TooLarge(program.to_owned(), max));
    }
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            // It closed its output and still runs: that is short, so looking now and then is enough.
            Ok(None) if started.elapsed() < deadline => std::thread::sleep(Duration::from_millis(2)),
            Ok(None) => return Err(late()),
            Err(error) => return Err(CommandError::Output(program.to_owned(), error)),
        }
    };
    match (status.success(), status.code(), status.signal()) {
        (true, ..) => Ok(bytes),
        (_, Some(code), _) => Err(CommandError::Status(program.to_owned(), format!("code {code}"))),
        (_, None, signal) => {
            Err(CommandError::Status(program.to_owned(), format!("signal {}", signal.unwrap_or(0))))
        }
    }
}

/// Reads an inherited descriptor to its end.
pub(crate) fn read_descriptor(number: u32, max: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    // Opened anew by its name: taking over a bare number is not possible in safe Rust.
    let file = std::fs::File::open(format!("/dev/fd/{number}"))?;
    read_within(file, max, DEADLINE)?.ok_or_else(|| io::ErrorKind::TimedOut.into())
}

/// Reads at most one byte more than `max`; `None` when the time is over.
fn read_within(
    source: impl Read + Send + 'static,
    max: usize,
    deadline: Duration,
) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::Builder::new().name("doorward-read".into()).spawn(move || {
        // All of its room at once: growing would leave copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(max + 1));
        let read = source.take(max as u64 + 1).read_to_end(&mut bytes).map(|_| bytes);
        // Nobody waits any more when the time is over.
        sender.send(read).ok();
    })?;
    match receiver.recv_timeout(deadline) {
        Ok(read) => read.map(Some),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn refuses_commands_that_fail_are_late_or_say_too_much() {
        assert!(matches!(output(&[], DEADLINE, 9), Err(CommandError::Words)));
        assert!(matches!(output(&argv(&["/no/such/program"]), DEADLINE, 9), Err(CommandError::Start(..))));
        assert!(matches!(output(&argv(&["false"]), DEADLINE, 9), Err(CommandError::Status(..))));
        assert!(matches!(
            output(&argv(&["printf", "0123456789"]), DEADLINE, 9),
            Err(CommandError::TooLarge(..))
        ));
        let short = Duration::from_millis(50);
        let started = Instant::now();
        for late in [argv(&["sleep", "100"]), argv(&["sh", "-c", "sleep 100 & exec sleep 100"])] {
            assert!(matches!(output(&late, short, 9), Err(CommandError::Deadline(..))));
        }
        let closed = argv(&["sh", "-c", "exec >&-; exec sleep 100"]);
        assert!(matches!(output(&closed, short, 9), Err(CommandError::Deadline(..))));
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn returns_what_the_command_wrote() {
        assert_eq!(output(&argv(&["printf", "012345678"]), DEADLINE, 9).unwrap().as_slice(), b"012345678");
    }

    #[test]
    fn runs_no_shell() {
        let words = split_words("printf %s '$HOME' \"a b\\\"\" c\\ d $HOME|x \"\"").unwrap();
        assert_eq!(words, ["printf", "%s", "$HOME", "a b\"", "c d", "$HOME|x", ""]);
        for line in ["", "  ", "a 'b", "a \"b", "a \\"] {
            assert!(split_words(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn reads_a_descriptor_to_its_end() {
        use std::io::Write;
        use std::os::fd::AsRawFd;
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"abc").unwrap();
        drop(writer);
        let number = u32::try_from(reader.as_raw_fd()).unwrap();
        assert_eq!(read_descriptor(number, 8).unwrap().as_slice(), b"abc");
        assert!(read_descriptor(4_000_000, 8).is_err());
    }
}
