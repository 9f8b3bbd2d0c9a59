//! What answers are searched for: the values that a credential puts on, and of tokens all that may still open something.
//!
//! For: [`crate::plan::Served`]. A token that was renewed lives on at the upstream, and one injection's token is as good
//! to who sees it as its neighbour's: an upstream that recorded a request could show either later. Invariant: a token is
//! looked for in the answers of its provider before its first use and until it has surely ended.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::request::scrub::{CompileError, Needle, Scanner};
use crate::schemes::Echo;

/// How many tokens of one injection are looked for, the one in use among them: more than what agents can have made in a day
/// by provoking refusals (the cell waits twice as long after each). Each one costs some in every search.
const MOST: usize = 12;
/// The parts of which earlier tokens are remembered; more than have a token at once.
const PARTS_MOST: usize = 512;
/// The issuer's clock may be behind.
const GRACE: Duration = Duration::from_secs(300);

/// A compiled search.
#[derive(Debug)]
pub(crate) struct Sought {
    pub(crate) scanner: Arc<Scanner>,
    /// How many bytes of the shortest value are not public: slices of answers could rebuild a short one.
    pub(crate) shortest_non_public: usize,
}

impl Sought {
    pub(crate) fn of(echoes: &[&Echo]) -> Result<Arc<Self>, CompileError> {
        let users: Vec<Vec<&[u8]>> = echoes.iter().map(|echo| users(echo)).collect();
        let needles: Vec<Needle<'_>> =
            echoes.iter().zip(&users).map(|(echo, users)| needle(echo, users)).collect();
        let scanner = Arc::new(Scanner::compile(&needles)?);
        let shortest = needles.iter().map(|needle| needle.value.len() - needle.public_prefix).min();
        Ok(Arc::new(Self { scanner, shortest_non_public: shortest.unwrap_or(usize::MAX) }))
    }
}

/// The tokens of one provider that may still open something, each in the forms in which it went out.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    kept: Mutex<Vec<Kept>>,
    sought: ArcSwapOption<Sought>,
    parts: Mutex<Vec<(Box<str>, Arc<Self>)>>,
}

#[derive(Debug)]
struct Kept {
    /// The injection.
    at: usize,
    echo: Echo,
    until: Instant,
}

impl Tokens {
    /// Those for a part of what the secret opens, which are looked for where that part is asked for: a search for all parts
    /// would grow with every repository, and who asks for many would push out what others use.
    pub(crate) fn of(self: &Arc<Self>, part: &str) -> Arc<Self> {
        if part.is_empty() {
            return Arc::clone(self);
        }
        let mut parts = self.parts.lock();
        let known = parts.iter().rposition(|(name, _)| **name == *part);
        let one = match known {
            Some(at) => parts.remove(at),
            None => (part.into(), Arc::default()),
        };
        if parts.len() >= PARTS_MOST {
            parts.remove(0);
        }
        let tokens = Arc::clone(&one.1);
        parts.push(one);
        tokens
    }

    /// Adds what goes out with the next token of an injection. It lives for this long at the most.
    pub(crate) fn add(
        &self,
        at: usize,
        echoes: Vec<Echo>,
        life: Duration,
    ) -> Result<Arc<Sought>, CompileError> {
        let now = Instant::now();
        let end = now.checked_add(life.saturating_add(GRACE));
        // A life beyond all clocks.
        let until = end.unwrap_or_else(|| now + Duration::from_secs(86_400 * 365));
        let mut kept = self.kept.lock();
        while kept.iter().filter(|one| one.at == at).count() >= MOST {
            let Some(first) = kept.iter().position(|one| one.at == at) else { break };
            kept.remove(first);
        }
        kept.retain(|one| one.until > now && !echoes.iter().any(|echo| *echo.value == *one.echo.value));
        let known = kept.len();
        kept.extend(echoes.into_iter().map(|echo| Kept { at, echo, until }));
        let sought = Sought::of(&kept.iter().map(|one| &one.echo).collect::<Vec<_>>());
        let sought = sought.inspect_err(|_| kept.truncate(known))?;
        self.sought.store(Some(Arc::clone(&sought)));
        Ok(sought)
    }

    /// The search for all of them; `None`: there were none yet.
    pub(crate) fn sought(&self) -> Option<Arc<Sought>> {
        self.sought.load_full()
    }
}

fn users(echo: &Echo) -> Vec<&[u8]> {
    echo.basic_users.iter().map(|user| user.as_slice()).collect()
}

fn needle<'a>(echo: &'a Echo, users: &'a [&'a [u8]]) -> Needle<'a> {
    Needle { value: &echo.value, public_prefix: echo.public_prefix, basic_users: users }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;
    use zeroize::Zeroizing;

    use super::*;

    fn echo(value: &str) -> Vec<Echo> {
        let value = Zeroizing::new(value.as_bytes().to_vec());
        vec![Echo { value, public_prefix: 0, basic_users: Vec::new() }]
    }

    fn values(tokens: &Tokens) -> Vec<String> {
        let kept = tokens.kept.lock();
        kept.iter().map(|one| String::from_utf8(one.echo.value.to_vec()).unwrap()).collect()
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn a_token_is_looked_for_until_it_has_ended_and_also_beside_its_neighbours() {
        let tokens = Tokens::default();
        assert!(tokens.sought().is_none());
        tokens.add(0, echo("first-token"), HOUR).unwrap();
        tokens.add(1, echo("token-of-another"), HOUR * 3).unwrap();
        tokens.add(0, echo("second-token"), HOUR).unwrap();
        assert_eq!(values(&tokens), ["first-token", "token-of-another", "second-token"]);
        advance(HOUR).await;
        tokens.add(0, echo("second-token"), HOUR).unwrap();
        assert_eq!(values(&tokens).len(), 3, "the issuer's clock may be behind");
        advance(GRACE).await;
        tokens.add(0, echo("third"), HOUR).unwrap_err();
        tokens.add(0, echo("third-token"), HOUR).unwrap();
        assert!(!values(&tokens).contains(&"first-token".to_owned()));
        tokens.add(0, echo("endless-token"), Duration::MAX).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_tokens_are_looked_for_than_there_is_room_and_the_last_ones_stay() {
        let tokens = Tokens::default();
        tokens.add(1, echo("token-of-another"), HOUR).unwrap();
        for number in 0..MOST + 3 {
            tokens.add(0, echo(&format!("token-number-{number}")), HOUR).unwrap();
        }
        let values = values(&tokens);
        assert_eq!((values.len(), values[0].as_str()), (MOST + 1, "token-of-another"));
        assert_eq!(values[1], "token-number-3");
    }
}
