//! The one module that prints.

use std::io::{self, Write};

/// Prints data to stdout and everything else to stderr. A closed pipe is not an error of ours.
#[derive(Clone, Copy, Debug, Default)]
pub struct Output;

impl Output {
    /// One line of data.
    pub fn data(&self, line: impl std::fmt::Display) {
        if writeln!(io::stdout().lock(), "{line}").is_err() {
            // The reader went away (`| head`): there is nobody left to tell.
        }
    }

    /// One line for people.
    pub fn say(&self, line: impl std::fmt::Display) {
        if writeln!(io::stderr().lock(), "{line}").is_err() {
            // As above.
        }
    }
}
