//! Dummies: what the agent holds instead of a credential, shaped so that its libraries accept it.
//!
//! A dummy is the type's shape with the marker `dw0` and characters of a SHA-256 of project and provider: the same on
//! every machine, no secret, and never the dummy of another provider.

use sha2::{Digest, Sha256};

/// What marks a dummy.
pub const MARKER: &str = "dw0";

/// The shortest placeholder: a shorter one would be found in texts that mean something else.
pub const LENGTH_MIN: usize = 8;

/// Why a text is not a dummy's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// A brace that opens no `{rand:N}` or `{digits:N}`.
    #[error("a shape is text with `{{rand:N}}` or `{{digits:N}}`, N from 1 to 256")]
    Brace,
    /// Shorter than 8 characters.
    #[error("a placeholder has 8 characters or more")]
    Short,
    /// Something that cannot stand in a header or variable.
    #[error("a placeholder is made of visible ASCII characters without quotes and backslashes")]
    Character,
}

/// Makes the dummy of a provider from a shape such as `ghp_{rand:36}`. Text without braces is taken as it stands.
pub fn make(shape: &str, project: &str, provider: &str) -> Result<String, ShapeError> {
    let mut out = String::with_capacity(shape.len() + 64);
    let mut stream = Stream::new(shape, project, provider);
    let (mut rest, mut marker) = (shape, MARKER);
    while let Some((literal, after)) = rest.split_once('{') {
        let (hole, tail) = after.split_once('}').ok_or(ShapeError::Brace)?;
        let (kind, length) = hole.split_once(':').ok_or(ShapeError::Brace)?;
        let length: usize = length.parse().ok().filter(|n| (1..=256).contains(n)).ok_or(ShapeError::Brace)?;
        out.push_str(literal);
        match kind {
            "rand" if length >= LENGTH_MIN => {
                out.push_str(marker);
                stream.fill(&mut out, length - marker.len(), b"0123456789abcdefghijklmnopqrstuvwxyz");
                marker = "";
            }
            "rand" => stream.fill(&mut out, length, b"0123456789abcdefghijklmnopqrstuvwxyz"),
            "digits" => stream.fill(&mut out, length, b"123456789"),
            _ => return Err(ShapeError::Brace),
        }
        rest = tail;
    }
    out.push_str(rest);
    check(&out)?;
    Ok(out)
}

fn check(dummy: &str) -> Result<(), ShapeError> {
    if dummy.contains(['{', '}']) {
        return Err(ShapeError::Brace);
    }
    if !dummy.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'\\' | b'`')) {
        return Err(ShapeError::Character);
    }
    if dummy.len() < LENGTH_MIN { Err(ShapeError::Short) } else { Ok(()) }
}

/// As many characters as asked for, all from one seed.
struct Stream {
    seed: Sha256,
    round: u32,
}

impl Stream {
    fn new(shape: &str, project: &str, provider: &str) -> Self {
        let seed = [shape, project, provider].iter().fold(Sha256::new(), |seed, part| {
            seed.chain_update((part.len() as u64).to_be_bytes()).chain_update(part)
        });
        Self { seed, round: 0 }
    }

    fn fill(&mut self, out: &mut String, length: usize, alphabet: &[u8]) {
        let end = out.len() + length;
        while out.len() < end {
            let block = self.seed.clone().chain_update(self.round.to_be_bytes()).finalize();
            self.round += 1;
            let letters = block.iter().filter_map(|byte| alphabet.get(usize::from(*byte) % alphabet.len()));
            let missing = end - out.len();
            out.extend(letters.take(missing).map(|letter| *letter as char));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_shapes_that_no_agent_could_hold() {
        for (shape, error) in [
            ("short", ShapeError::Short),
            ("ghp_{rand:36", ShapeError::Brace),
            ("ghp_{rnd:36}", ShapeError::Brace),
            ("ghp_{rand:0}", ShapeError::Brace),
            ("ghp_{rand:257}", ShapeError::Brace),
            ("ghp_{rand}", ShapeError::Brace),
            ("ghp_}12345678", ShapeError::Brace),
            ("with space 1", ShapeError::Character),
            ("with\"quote\"", ShapeError::Character),
            ("with'quote'", ShapeError::Character),
            ("line\nbreak1", ShapeError::Character),
            ("ümläüt-1234", ShapeError::Character),
        ] {
            assert_eq!(make(shape, "p", "q"), Err(error), "{shape:?}");
        }
    }

    #[test]
    fn differs_by_project_and_provider_and_is_the_same_everywhere() {
        let dummy = make("ghp_{rand:36}", "team-a", "github").unwrap();
        assert_eq!(dummy.len(), 40);
        assert!(dummy.starts_with("ghp_dw0"));
        assert_eq!(dummy, make("ghp_{rand:36}", "team-a", "github").unwrap());
        assert_ne!(dummy, make("ghp_{rand:36}", "team-b", "github").unwrap());
        assert_ne!(dummy, make("ghp_{rand:36}", "team-a", "github2").unwrap());
        assert_ne!(make("{rand:36}", "a", "bc"), make("{rand:36}", "ab", "c"));
        let telegram = make("{digits:10}:AA{rand:33}", "p", "q").unwrap();
        assert_eq!(telegram.find(':'), Some(10));
        assert!(telegram.contains(":AAdw0"));
    }
}
