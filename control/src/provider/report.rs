//! Mistakes with their places: all of them at once, none of which shows a value.

use std::fmt;

use super::tree::Place;

/// A mistake (or a warning) in a file. Shows as `PATH:LINE:COL: message`, and never holds a value of the file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// The file, as it was named.
    pub path: String,
    /// The line, from 1.
    pub line: u64,
    /// The column, from 1.
    pub column: u64,
    /// What, and how to fix it.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.path, self.line, self.column, self.message)
    }
}

impl std::error::Error for Mistake {}

impl Mistake {
    /// A mistake of a file as a whole.
    pub(crate) fn of_file(path: &str, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line: 1, column: 1, message: message.into() }
    }
}

/// The most mistakes of one file: whoever makes more is told these first.
const MISTAKES_MAX: usize = 1000;

/// Collects what is found in one file.
#[derive(Debug)]
pub(super) struct Report<'a> {
    /// The file as it was named.
    pub(super) path: &'a str,
    /// The file as refusals show it, without the folder that was named.
    pub(super) label: &'a str,
    pub(super) mistakes: Vec<Mistake>,
    pub(super) warnings: Vec<Mistake>,
}

impl<'a> Report<'a> {
    pub(super) fn new(path: &'a str, label: &'a str) -> Self {
        Self { path, label, mistakes: Vec::new(), warnings: Vec::new() }
    }

    pub(super) fn mistake(&mut self, at: Place, message: impl Into<String>) {
        if self.mistakes.len() >= MISTAKES_MAX {
            return;
        }
        let mistake = self.made(at, message);
        // An alias brings one mistake to several places of the tree.
        if !self.mistakes.contains(&mistake) {
            self.mistakes.push(mistake);
        }
    }

    pub(super) fn warn(&mut self, at: Place, message: impl Into<String>) {
        let warning = self.made(at, message);
        self.warnings.push(warning);
    }

    fn made(&self, at: Place, message: impl Into<String>) -> Mistake {
        Mistake { path: self.path.to_owned(), line: at.line, column: at.column, message: message.into() }
    }

    /// The place as refusals show it: `github.yaml:12`.
    pub(super) fn place(&self, at: Place) -> String {
        format!("{}:{}", self.label, at.line)
    }
}

/// The known word that was probably meant, as `; did you mean "token"?`, or nothing.
pub(super) fn suggestion<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    let close =
        |candidate: &&str| strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase());
    known
        .into_iter()
        .map(|candidate| (close(&candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min()
        .map_or_else(String::new, |(_, candidate)| format!("; did you mean \"{candidate}\"?"))
}

/// An unknown key as a message may show it: keys are names, but a value can slip into their place.
pub(super) fn shown_key(key: &str) -> String {
    let is_name =
        key.len() <= 32 && key.bytes().all(|b| b.is_ascii_alphabetic() || matches!(b, b'_' | b'-' | b'.'));
    if is_name { format!(" \"{key}\"") } else { String::new() }
}
