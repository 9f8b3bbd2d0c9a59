//! Files of `NAME=VALUE` lines.
//!
//! The value is what stands there: nothing is expanded, because a `$` in a password is a `$`. Refuses lines that are not
//! of the form, names given twice and quotes that are never closed, each with its line and without its text.

use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

use super::{Exit, Failure};
use crate::secret::Secret;

/// The largest file.
const FILE_MAX: usize = 1024 * 1024;

/// One setting of such a file.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) number: usize,
    pub(crate) name: String,
    pub(crate) value: Secret,
}

/// The whole text of a file.
pub(crate) fn text(path: &Path) -> Result<Secret, Failure> {
    Ok(Secret::new(std::mem::take(&mut *bytes(path)?)))
}

fn bytes(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let shown = path.display();
    let failed = |error: std::io::Error| Failure::new(Exit::Error, format!("{shown}: {error}"));
    let file = std::fs::File::open(path).map_err(failed)?;
    let room = file.metadata().map_or(0, |meta| meta.len()).min(FILE_MAX as u64);
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(room).unwrap_or(0) + 1));
    file.take(FILE_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > FILE_MAX {
        return Err(Failure::new(Exit::Error, format!("{shown} is larger than {FILE_MAX} bytes")));
    }
    Ok(bytes)
}

/// Reads a file; all its mistakes at once.
pub(crate) fn read(path: &Path) -> Result<Vec<Line>, Failure> {
    let shown = path.display();
    let bytes = bytes(path)?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Failure::new(Exit::Error, format!("{shown} is not UTF-8 text")))?;
    parse(text).map_err(|mistakes| {
        let lines: Vec<_> =
            mistakes.iter().map(|(line, mistake)| format!("{shown}:{line}: {mistake}")).collect();
        Failure::new(Exit::Error, lines.join("\n"))
    })
}

/// Reads a text; all its mistakes, with their lines, and none with its text.
pub(crate) fn parse(text: &str) -> Result<Vec<Line>, Vec<(usize, &'static str)>> {
    let mut lines: Vec<Line> = Vec::new();
    let mut mistakes = Vec::new();
    for (index, text) in text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate() {
        let number = index + 1;
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        match line(text) {
            Ok((name, _)) if lines.iter().any(|line| line.name == name) => {
                mistakes.push((number, "the name is given twice"))
            }
            Ok((name, value)) => lines.push(Line { number, name: name.to_owned(), value }),
            Err(mistake) => mistakes.push((number, mistake)),
        }
    }
    if mistakes.is_empty() { Ok(lines) } else { Err(mistakes) }
}

fn line(text: &str) -> Result<(&str, Secret), &'static str> {
    let text = text.strip_prefix("export ").unwrap_or(text);
    let (name, raw) = text.split_once('=').ok_or("a line is NAME=VALUE")?;
    let name = name.trim();
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')) {
        return Err("a name is made of letters, digits, `.`, `_` and `-` and begins with a letter or `_`");
    }
    Ok((name, value(raw.trim())?))
}

fn value(raw: &str) -> Result<Secret, &'static str> {
    let mut value = Zeroizing::new(String::with_capacity(raw.len()));
    let mut chars = raw.chars();
    let rest = match raw.chars().next() {
        Some('\'') => {
            let (inner, rest) =
                raw.get(1..).and_then(|raw| raw.split_once('\'')).ok_or("the quote is never closed")?;
            value.push_str(inner);
            rest
        }
        Some('"') => {
            chars.next();
            loop {
                match chars.next().ok_or("the quote is never closed")? {
                    '"' => break chars.as_str(),
                    '\\' => match chars.next().ok_or("the quote is never closed")? {
                        'n' => value.push('\n'),
                        'r' => value.push('\r'),
                        't' => value.push('\t'),
                        c @ ('"' | '\\' | '$' | '`') => value.push(c),
                        _ => return Err("after a backslash stands n, r, t, `\"`, `\\`, `$` or a backquote"),
                    },
                    c => value.push(c),
                }
            }
        }
        _ => {
            // A comment begins after a blank: a `#` inside a password is part of it.
            let end = raw.find(" #").or_else(|| raw.find("\t#")).unwrap_or(raw.len());
            value.push_str(raw.get(..end).unwrap_or(raw).trim_end());
            ""
        }
    };
    let rest = rest.trim_start();
    if rest.is_empty() || rest.starts_with('#') {
        Ok(Secret::new(std::mem::take(&mut *value).into_bytes()))
    } else {
        Err("after the closing quote stands nothing but a comment")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_lines_that_could_be_read_in_two_ways() {
        for text in
            ["A", "=x", "1A=x", "A B=x", "A='x", "A=\"x", "A=\"x\\", "A=\"\\q\"", "A='x'y", "A=1\nA=2"]
        {
            assert!(parse(text).is_err(), "{text:?}");
        }
        let mistakes = parse("A=1\nhunter2\n\nB='\n").unwrap_err();
        assert_eq!(mistakes.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 4]);
        assert!(!format!("{mistakes:?}").contains("hunter2"));
    }

    #[test]
    fn takes_values_as_they_stand() {
        for (text, value) in [
            ("A=pa$$w0rd${HOME}", "pa$$w0rd${HOME}"),
            ("export A=b", "b"),
            ("A = b # note", "b"),
            ("A=b#c", "b#c"),
            ("A='b # c' # d", "b # c"),
            ("A=\"b\\n\\\"$c\\\\\"", "b\n\"$c\\"),
            ("A=", ""),
            ("A=b=c==", "b=c=="),
            ("A=it's", "it's"),
        ] {
            let lines = parse(text).unwrap();
            assert!(lines[0].value.matches(value.as_bytes()), "{text:?}");
            assert_eq!(lines[0].name, "A");
        }
        assert_eq!(parse("# c\r\n\r\nA=1\r\nB=2\r\n").unwrap().len(), 2);
    }
}
