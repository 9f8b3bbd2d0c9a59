//! What answers are searched for: the values that a credential put on this request, and of tokens all that may still open
//! something.
//!
//! For: [`crate::plan::Served`]. A token that was renewed lives on at the upstream, and one injection's token is as good
//! to who sees it as its neighbour's, or as that of another provider of the same secret: an upstream that recorded a
//! request could show any of them later. Invariant: a token is looked for in the answers of all providers of its secret
//! before its first use and until it has surely ended.

use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::limits::SOUGHT_PARTS;
use crate::request::scrub::{CompileError, Needle, Scanner};
use crate::schemes::Echo;

/// How many tokens of one injection are looked for, the one in use among them: more than what agents can have made in a day
/// by provoking refusals (the cell waits twice as long after each). Each one costs some in every search.
const MOST: usize = 12;
/// How many of one secret, whichever providers it has.
const MOST_OF_ALL: usize = 128;
/// The issuer's clock may be behind.
const GRACE: Duration = Duration::from_secs(300);

/// A compiled search.
#[derive(Debug)]
pub(crate) struct Sought {
    pub(crate) scanner: Arc<Scanner>,
    /// How many bytes of the shortest value are not public: slices of answers could rebuild a short one.
    pub(crate) shortest_non_public: usize,
    echoes: Vec<Arc<Echo>>,
}

impl Sought {
    pub(crate) fn of(echoes: Vec<Arc<Echo>>) -> Result<Arc<Self>, CompileError> {
        let users: Vec<Vec<&[u8]>> = echoes.iter().map(|echo| users(echo)).collect();
        let needles: Vec<Needle<'_>> =
            echoes.iter().zip(&users).map(|(echo, users)| needle(echo, users)).collect();
        let scanner = Arc::new(Scanner::compile(&needles)?);
        let shortest = needles.iter().map(|needle| needle.value.len() - needle.public_prefix).min();
        let shortest_non_public = shortest.unwrap_or(usize::MAX);
        Ok(Arc::new(Self { scanner, shortest_non_public, echoes }))
    }

    /// The search for these as well, which belong to one request: none that was sent before them is given up.
    pub(crate) fn with(self: &Arc<Self>, more: &[Arc<Echo>]) -> Result<Arc<Self>, CompileError> {
        let is_new = |echo: &&Arc<Echo>| !self.echoes.iter().any(|known| *known.value == *echo.value);
        let mut new = more.iter().filter(is_new).cloned().peekable();
        match new.peek() {
            None => Ok(Arc::clone(self)),
            Some(_) => Self::of(self.echoes.iter().cloned().chain(new).collect()),
        }
    }
}

/// The tokens of one secret that may still open something, each in the forms in which it went out.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    kept: Mutex<Vec<Kept>>,
    sought: ArcSwapOption<Sought>,
    parts: Mutex<Vec<(Box<str>, Arc<Self>)>>,
    /// Those of other secrets whose providers had this one before.
    heirs: Mutex<Vec<Weak<Self>>>,
}

/// A provider by name, and which of its injections.
type Whose = (Arc<str>, usize);

#[derive(Clone, Debug)]
struct Kept {
    whose: Whose,
    echo: Arc<Echo>,
    until: Instant,
}

impl Tokens {
    /// Those for a part of what the secret opens, which are looked for where that part is asked for: a search for all parts
    /// would grow with every repository, and who asks for many would push out what others use.
    pub(crate) fn of(self: &Arc<Self>, part: &str) -> Arc<Self> {
        if part.is_empty() {
            return Arc::clone(self);
        }
        let (tokens, is_new) = self.part(part);
        if is_new {
            let heirs: Vec<_> = self.heirs.lock().iter().filter_map(Weak::upgrade).collect();
            for heir in heirs {
                // Nothing is kept of it yet, so that there is nothing that could fail to compile.
                let (Ok(()) | Err(_)) = tokens.leave_to(&heir.of(part));
            }
        }
        tokens
    }

    fn part(&self, part: &str) -> (Arc<Self>, bool) {
        let mut parts = self.parts.lock();
        let known = parts.iter().rposition(|(name, _)| **name == *part);
        let one = match known {
            Some(at) => parts.remove(at),
            None => (part.into(), Arc::default()),
        };
        if parts.len() >= SOUGHT_PARTS {
            parts.remove(0);
        }
        let tokens = Arc::clone(&one.1);
        parts.push(one);
        (tokens, known.is_none())
    }

    /// Adds what goes out with the next token of an injection. It lives for this long at the most.
    pub(crate) fn add(
        &self,
        whose: Whose,
        echoes: Vec<Echo>,
        life: Duration,
    ) -> Result<Arc<Sought>, CompileError> {
        let now = Instant::now();
        let end = now.checked_add(life.saturating_add(GRACE));
        // A life beyond all clocks.
        let until = end.unwrap_or_else(|| now + Duration::from_secs(86_400 * 365));
        let new: Vec<Kept> = echoes
            .into_iter()
            .map(|echo| Kept { whose: whose.clone(), echo: Arc::new(echo), until })
            .collect();
        let heirs: Vec<_> = self.heirs.lock().iter().filter_map(Weak::upgrade).collect();
        for heir in heirs {
            heir.keep(new.clone(), now)?;
        }
        self.keep(new, now)
    }

    fn keep(&self, new: Vec<Kept>, now: Instant) -> Result<Arc<Sought>, CompileError> {
        let mut kept = self.kept.lock();
        let is_new = |one: &Kept| new.iter().any(|new| *new.echo.value == *one.echo.value);
        let mut next: Vec<Kept> =
            kept.iter().filter(|one| one.until > now && !is_new(one)).cloned().collect();
        for one in new {
            let same = next.iter().filter(|other| other.whose == one.whose).count();
            let first = match same >= MOST {
                true => next.iter().position(|other| other.whose == one.whose),
                false => (next.len() >= MOST_OF_ALL).then_some(0),
            };
            first.map(|first| next.remove(first));
            next.push(one);
        }
        let sought = Sought::of(next.iter().map(|one| Arc::clone(&one.echo)).collect())?;
        *kept = next;
        self.sought.store(Some(Arc::clone(&sought)));
        Ok(sought)
    }

    /// A provider has another secret now: its answers are searched for these as well, also for those that are on their way.
    pub(crate) fn leave_to(&self, heir: &Arc<Self>) -> Result<(), CompileError> {
        let mut heirs = self.heirs.lock();
        heirs.retain(|known| known.upgrade().is_some_and(|known| !Arc::ptr_eq(&known, heir)));
        heirs.push(Arc::downgrade(heir));
        drop(heirs);
        let left = self.kept.lock().clone();
        heir.keep(left, Instant::now())?;
        let parts = self.parts.lock().clone();
        parts.iter().try_for_each(|(part, tokens)| tokens.leave_to(&heir.part(part).0))
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

    fn of(at: usize) -> Whose {
        ("demo".into(), at)
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn a_token_is_looked_for_until_it_has_ended_and_also_beside_its_neighbours() {
        let tokens = Tokens::default();
        assert!(tokens.sought().is_none());
        tokens.add(of(0), echo("first-token"), HOUR).unwrap();
        tokens.add(of(1), echo("token-of-another"), HOUR * 3).unwrap();
        tokens.add(of(0), echo("second-token"), HOUR).unwrap();
        assert_eq!(values(&tokens), ["first-token", "token-of-another", "second-token"]);
        advance(HOUR).await;
        tokens.add(of(0), echo("second-token"), HOUR).unwrap();
        assert_eq!(values(&tokens).len(), 3, "the issuer's clock may be behind");
        advance(GRACE).await;
        tokens.add(of(0), echo("third"), HOUR).unwrap_err();
        tokens.add(of(0), echo("third-token"), HOUR).unwrap();
        assert!(!values(&tokens).contains(&"first-token".to_owned()));
        tokens.add(of(0), echo("endless-token"), Duration::MAX).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_tokens_are_looked_for_than_there_is_room_and_the_last_ones_stay() {
        let tokens = Tokens::default();
        tokens.add(of(1), echo("token-of-another"), HOUR).unwrap();
        for number in 0..MOST + 3 {
            tokens.add(of(0), echo(&format!("token-number-{number}")), HOUR).unwrap();
        }
        let values = values(&tokens);
        assert_eq!((values.len(), values[0].as_str()), (MOST + 1, "token-of-another"));
        assert_eq!(values[1], "token-number-3");
    }

    #[tokio::test(start_paused = true)]
    async fn the_tokens_of_another_provider_of_the_secret_have_room_of_their_own_up_to_a_bound() {
        let tokens = Tokens::default();
        for number in 0..MOST + 1 {
            for name in ["one", "two"] {
                tokens.add((name.into(), 0), echo(&format!("token-{name}-{number}")), HOUR).unwrap();
            }
        }
        let known = values(&tokens);
        assert_eq!(
            (known.len(), known[0].as_str(), known[1].as_str()),
            (2 * MOST, "token-one-1", "token-two-1")
        );
        for number in 0..MOST_OF_ALL {
            tokens.add((format!("p{number}").into(), 0), echo(&format!("token-of-p{number}")), HOUR).unwrap();
        }
        assert_eq!(values(&tokens).len(), MOST_OF_ALL);
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_gets_another_secret_is_searched_for_the_tokens_of_the_one_before() {
        let (before, after) = (Arc::new(Tokens::default()), Arc::new(Tokens::default()));
        before.add(of(0), echo("token-of-before"), HOUR).unwrap();
        before.leave_to(&after).unwrap();
        after.leave_to(&before).unwrap();
        before.add(of(0), echo("token-on-its-way"), HOUR).unwrap();
        after.add(of(0), echo("token-of-after"), HOUR).unwrap();
        for tokens in [before, after] {
            let mut known = values(&tokens);
            known.sort_unstable();
            assert_eq!(known, ["token-of-after", "token-of-before", "token-on-its-way"]);
        }
    }
}
