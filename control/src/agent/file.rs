//! The token file: a line per agent, `token`, `name:token` or `name:uid=N`, optionally ` expires=RFC3339`.
//!
//! Blank lines and comments (`#` at the start of a line or after a space) are skipped. All mistakes are reported at once,
//! each with its place, and none repeats text of the file: a mistyped line is most often a token.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use super::{AgentName, Agents, Identity, Proof, digest};
use crate::secret::Secret;

/// The longest name of an agent: it is part of a file's name (`agent-NAME.env`).
const MAX_NAME: usize = 63;
/// The shortest token: 16 characters hold 64 bits and more when they are made by a machine.
const MIN_TOKEN: usize = 16;
/// The longest token.
pub(super) const MAX_TOKEN: usize = 512;
/// The longest token file: some ten thousand agents.
const MAX_FILE: u64 = 4 << 20;

/// A mistake in a file, with its place. Repeats nothing of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file.
    pub path: Arc<str>,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.path, self.line, self.column, self.message)
    }
}

/// All mistakes of a file, one in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, mistake) in self.0.iter().enumerate() {
            write!(f, "{}{mistake}", if at == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// Reads a token file's text; it is wiped when dropped.
pub fn read_token_file(path: &Path) -> io::Result<Zeroizing<String>> {
    let file = std::fs::File::open(path)?;
    // Room for the whole text from the start: a vector that grows leaves unwiped copies behind.
    let room = usize::try_from(file.metadata()?.len().min(MAX_FILE)).unwrap_or_default();
    let mut text = Zeroizing::new(String::with_capacity(room.saturating_add(1)));
    let read = file.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_FILE {
        Err(io::Error::new(io::ErrorKind::FileTooLarge, "the token file is over 4 MiB"))
    } else {
        Ok(text)
    }
}

/// Whether the tokens leave this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tokens {
    /// Only digests are kept.
    Forget,
    /// They are published.
    HandOut,
}

type Parsed = (Agents, Vec<(AgentName, Secret)>);

pub(super) fn parse(label: &str, text: &str, tokens: Tokens) -> Result<Parsed, Mistakes> {
    let mut reader = Reader { path: label.into(), tokens, ..Reader::default() };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (number, line) in (1..).zip(text.lines()) {
        if let Err((column, message)) = reader.line(number, line) {
            reader.mistakes.push(Mistake { path: Arc::clone(&reader.path), line: number, column, message });
        }
    }
    if reader.mistakes.is_empty() {
        Ok((Agents::new(reader.entries), reader.published))
    } else {
        Err(Mistakes(reader.mistakes))
    }
}

/// A mistake in the line at hand: column and message.
type Wrong = (usize, String);

#[derive(Debug)]
struct Reader {
    path: Arc<str>,
    tokens: Tokens,
    entries: Vec<Identity>,
    published: Vec<(AgentName, Secret)>,
    mistakes: Vec<Mistake>,
    // Where each was seen first.
    proofs: HashMap<Proof, usize>,
    named: HashMap<(AgentName, Kind), usize>,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            path: "".into(),
            tokens: Tokens::Forget,
            entries: Vec::new(),
            published: Vec::new(),
            mistakes: Vec::new(),
            proofs: HashMap::new(),
            named: HashMap::new(),
        }
    }
}

/// One agent may have one line of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Token,
    Uid,
}

impl Reader {
    fn line(&mut self, number: usize, line: &str) -> Result<(), Wrong> {
        let mut words = words(line);
        let Some((column, word)) = words.next() else { return Ok(()) };
        let expires = expiry(words)?;
        let (name, value_column, value) = match word.split_once(':') {
            Some((name, value)) => (agent_name(column, name)?, column + name.chars().count() + 1, value),
            None => (AgentName::local(), column, word),
        };
        let (kind, proof) = match value.strip_prefix("uid=").filter(|_| word.contains(':')) {
            Some(uid) => (Kind::Uid, Proof::Uid(user_id(value_column, uid)?)),
            None => (Kind::Token, Proof::Token(digest(token(value_column, value)?))),
        };
        if let Some(first) = self.proofs.insert(proof, number) {
            let what = if kind == Kind::Uid { "uid" } else { "token" };
            return Err((
                value_column,
                format!("the same {what} as in line {first}; each agent needs its own"),
            ));
        }
        if let Some(first) = self.named.insert((name.clone(), kind), number) {
            let message = if word.contains(':') || kind == Kind::Uid {
                format!("the same name as in line {first}")
            } else {
                format!("the same name as in line {first}; with several agents write NAME:TOKEN")
            };
            return Err((column, message));
        }
        if self.tokens == Tokens::HandOut && kind == Kind::Token {
            self.published.push((name.clone(), Secret::new(value.as_bytes().to_vec())));
        }
        self.entries.push(Identity { name, proof, expires });
        Ok(())
    }
}

/// The words of a line with their columns, up to a comment.
fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut column = 1;
    line.split([' ', '\t', '\r'])
        .map(move |word| {
            let at = column;
            column += word.chars().count() + 1;
            (at, word)
        })
        .filter(|(_, word)| !word.is_empty())
        .take_while(|(_, word)| !word.starts_with('#'))
}

fn expiry<'a>(words: impl Iterator<Item = (usize, &'a str)>) -> Result<Option<SystemTime>, Wrong> {
    let mut expires = None;
    for (column, word) in words {
        let Some(date) = word.strip_prefix("expires=") else {
            return Err((column, "only `expires=` and a date may follow the token".to_owned()));
        };
        if expires.is_some() {
            return Err((column, "`expires=` is given twice".to_owned()));
        }
        let date = OffsetDateTime::parse(date, &Rfc3339).map_err(|_| {
            (column, "the date is not RFC 3339; write for example expires=2030-12-31T23:59:59Z".to_owned())
        })?;
        expires = Some(SystemTime::from(date));
    }
    Ok(expires)
}

fn agent_name(column: usize, name: &str) -> Result<AgentName, Wrong> {
    let fits = name.len() <= MAX_NAME
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if fits {
        Ok(AgentName::new(name))
    } else {
        let rule = "a name is 1 to 63 letters, digits, `-`, `_` and `.`, and starts with a letter or digit; a token has no colon";
        Err((column, rule.to_owned()))
    }
}

fn user_id(column: usize, text: &str) -> Result<u32, Wrong> {
    let canonical = text.bytes().all(|b| b.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    text.parse::<u32>()
        .ok()
        // The highest value is the kernel's "no user".
        .filter(|uid| canonical && *uid != u32::MAX)
        .ok_or((column, "`uid=` takes a user's number".to_owned()))
}

fn token(column: usize, text: &str) -> Result<&[u8], Wrong> {
    let bytes = text.as_bytes();
    let wrong = if text.len() < MIN_TOKEN {
        format!("a token has at least {MIN_TOKEN} characters")
    } else if text.len() > MAX_TOKEN {
        format!("a token has at most {MAX_TOKEN} characters")
    } else if !bytes.iter().all(|b| b.is_ascii_graphic() && *b != b':') {
        "a token is made of visible ASCII characters without a colon".to_owned()
    } else {
        return Ok(bytes);
    };
    Err((column, wrong))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOKEN: &str = "canary-0123456789abcdef";

    fn mistakes(text: &str) -> String {
        Agents::parse("t", text).map(drop).expect_err(text).to_string()
    }

    #[test]
    fn refuses_bad_lines_with_their_place_and_without_their_text() {
        for (text, place) in [
            (format!("a b:{TOKEN}"), "t:1:3: only"),
            (format!("-a:{TOKEN}"), "t:1:1: a name"),
            (format!("../a:{TOKEN}"), "t:1:1: a name"),
            (format!(":{TOKEN}"), "t:1:1: a name"),
            (format!("{}:{TOKEN}", "n".repeat(64)), "t:1:1: a name"),
            (format!("{TOKEN}:{TOKEN}:x"), "t:1:25: a token is made"),
            ("a:canary".into(), "t:1:3: a token has at least 16"),
            (format!("a:{}", "canary".repeat(90)), "t:1:3: a token has at most 512"),
            (format!("a:{TOKEN}ä"), "t:1:3: a token is made"),
            ("a:uid=x".into(), "t:1:3: `uid=`"),
            ("a:uid=01".into(), "t:1:3: `uid=`"),
            ("a:uid=+1".into(), "t:1:3: `uid=`"),
            ("a:uid=4294967295".into(), "t:1:3: `uid=`"),
            (format!("a:{TOKEN} expires=tomorrow"), "t:1:27: the date"),
            (format!("a:{TOKEN} expires=2030-01-01"), "t:1:27: the date"),
            (
                format!("a:{TOKEN} expires=2030-01-01T00:00:00Z expires=2031-01-01T00:00:00Z"),
                "t:1:56: `expires=` is given twice",
            ),
            (format!("a:{TOKEN} expire=2030-01-01T00:00:00Z"), "t:1:27: only"),
        ] {
            let shown = mistakes(&text);
            assert!(shown.starts_with(place), "{text:?}: {shown}");
            assert!(!shown.contains("canary") && !shown.contains("tomorrow"), "{shown}");
        }
    }

    #[test]
    fn refuses_duplicate_names_tokens_and_uids() {
        let other = "another-token-another-token";
        assert!(
            mistakes(&format!("a:{TOKEN}\n\nb:{TOKEN}")).starts_with("t:3:3: the same token as in line 1")
        );
        assert!(mistakes(&format!("a:{TOKEN}\n a:{other}")).starts_with("t:2:2: the same name as in line 1"));
        assert!(mistakes("a:uid=1\nb:uid=1").starts_with("t:2:3: the same uid as in line 1"));
        assert!(mistakes(&format!("{TOKEN}\n{other}")).contains("write NAME:TOKEN"));
    }

    #[test]
    fn reports_all_mistakes_at_once() {
        let shown = mistakes(&format!("a:x\n#\nok:{TOKEN}\nb:uid=no\n"));
        assert_eq!(
            shown.lines().map(|line| line.get(..6).unwrap()).collect::<Vec<_>>(),
            ["t:1:3:", "t:4:3:"]
        );
    }

    #[test]
    fn reads_every_form_of_a_line() {
        let text = format!(
            "\u{feff}# c\r\n\r\n\t {TOKEN} \r\nb:{TOKEN}2 # c\r\nc:uid=0\r\nb:uid=7 expires=2030-01-01T00:00:00.5+02:00\r\n#x:y"
        );
        let (agents, published) = Agents::parse_to_publish("t", &text).unwrap();
        assert_eq!(agents.names().iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["agent", "b", "c"]);
        let [(first, token), (second, _)] = published.as_slice() else { panic!("{published:?}") };
        assert_eq!((first.as_str(), second.as_str()), ("agent", "b"));
        assert!(token.matches(TOKEN.as_bytes()));
        assert!(Agents::parse("t", "").unwrap().names().is_empty());
    }

    proptest! {
        #[test]
        fn never_panics_and_never_repeats_a_token(text in "[ -~\n\t:#=ä]{0,80}", prefix in "[a-z:.-]{0,4}") {
            let file = format!("{text}\n{prefix}{TOKEN}\u{7f} {text}");
            if let Err(mistakes) = Agents::parse("t", &file) {
                prop_assert!(!mistakes.to_string().contains("canary"));
            }
        }
    }
}
