//! One JSON text, byte by byte, as far as a vendor's figures are concerned.

use memchr::memchr2;

use super::Tokens;

/// What a container is, by its way from the top.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mark {
    #[default]
    Other,
    /// The array that everything is in.
    List,
    Root,
    /// `message`, whose figures are the first, not the last.
    Message,
    Response,
    /// The answers of chat, completions and Gemini; an object in it is one of them.
    Answers,
    Answer,
    /// Anthropic's news of its message.
    Delta,
    /// Figures for the whole answer.
    Usage,
    /// Figures of its beginning.
    FirstUsage,
}

/// How deep a container can lie that is more than [`Mark::Other`].
const DEEP: usize = 4;

/// A JSON text, as far as it matters.
#[derive(Debug, Default)]
pub(super) struct Json {
    depth: usize,
    marks: [Mark; DEEP],
    token: Token,
    /// The text or number at hand, where it may matter.
    word: Word,
    /// The key whose value comes.
    key: Key,
    /// What the text at hand has shown.
    shown: Shown,
    pub(super) found: Found,
}

/// What one text of several has shown.
#[derive(Clone, Copy, Debug, Default)]
struct Shown {
    has_figures: bool,
    has_answers: bool,
    /// A list of answers, in which none was.
    has_list: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Token {
    #[default]
    Between,
    Text,
    /// The byte behind a backslash.
    Escape,
    Number,
}

/// A short text; a longer one, or one with escapes, is none that we look for.
#[derive(Debug, Default)]
struct Word {
    bytes: [u8; 32],
    length: usize,
    is_odd: bool,
}

impl Word {
    fn clear(&mut self) {
        (self.length, self.is_odd) = (0, false);
    }

    fn add(&mut self, part: &[u8]) {
        match self.bytes.get_mut(self.length..self.length + part.len()) {
            Some(room) => {
                room.copy_from_slice(part);
                self.length += part.len();
            }
            None => self.is_odd = true,
        }
    }

    fn get(&self) -> &[u8] {
        if self.is_odd { &[] } else { self.bytes.get(..self.length).unwrap_or_default() }
    }
}

/// The keys that matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Key {
    #[default]
    Other,
    Usage,
    Message,
    Response,
    Answers,
    Delta,
    /// Says of an answer, once it has a text, that it is whole.
    Finish,
    /// Says the same of Anthropic's message.
    Stop,
    /// Says what the text is.
    Type,
    Figure(Figure),
}

/// Types of texts behind which there are no other figures.
const LAST: [&[u8]; 4] = [b"message_stop", b"response.completed", b"response.incomplete", b"response.failed"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Figure {
    Prompt,
    Input,
    CacheCreation,
    CacheRead,
    ToolPrompt,
    Output,
    Thoughts,
    Total,
    Cost,
}

impl Key {
    fn of(mark: Mark, word: &[u8]) -> Self {
        match mark {
            Mark::Root => match word {
                b"usage" | b"usageMetadata" => Self::Usage,
                b"message" => Self::Message,
                b"response" => Self::Response,
                b"choices" | b"candidates" => Self::Answers,
                b"delta" => Self::Delta,
                b"type" => Self::Type,
                _ => Self::Other,
            },
            Mark::Answer if matches!(word, b"finish_reason" | b"finishReason") => Self::Finish,
            Mark::Delta if word == b"stop_reason" => Self::Stop,
            Mark::Message | Mark::Response if word == b"usage" => Self::Usage,
            Mark::Usage | Mark::FirstUsage => Self::figure(word),
            Mark::Message
            | Mark::Response
            | Mark::Answers
            | Mark::Answer
            | Mark::Delta
            | Mark::Other
            | Mark::List => Self::Other,
        }
    }

    fn figure(word: &[u8]) -> Self {
        Self::Figure(match word {
            b"prompt_tokens" | b"promptTokenCount" => Figure::Prompt,
            b"input_tokens" => Figure::Input,
            b"cache_creation_input_tokens" => Figure::CacheCreation,
            b"cache_read_input_tokens" => Figure::CacheRead,
            b"toolUsePromptTokenCount" => Figure::ToolPrompt,
            b"completion_tokens" | b"output_tokens" | b"candidatesTokenCount" => Figure::Output,
            b"thoughtsTokenCount" => Figure::Thoughts,
            b"total_tokens" | b"totalTokenCount" => Figure::Total,
            b"cost" => Figure::Cost,
            _ => return Self::Other,
        })
    }
}

impl Json {
    /// The next text begins; what was found is kept.
    pub(super) fn restart(&mut self) {
        let Shown { has_figures, has_answers, has_list } = std::mem::take(&mut self.shown);
        if has_figures {
            self.found.is_last |= has_list && !has_answers;
            self.found.whole = Some(self.found.finished);
        }
        self.depth = 0;
        self.token = Token::Between;
        self.key = Key::Other;
        self.word.clear();
    }

    fn mark(&self) -> Mark {
        let at = self.depth.checked_sub(1).and_then(|at| self.marks.get(at));
        at.copied().unwrap_or_default()
    }

    pub(super) fn push(&mut self, mut chunk: &[u8]) {
        while !chunk.is_empty() {
            chunk = match self.token {
                Token::Text => self.text(chunk),
                Token::Escape => {
                    self.token = Token::Text;
                    chunk.get(1..).unwrap_or_default()
                }
                Token::Number => self.number(chunk),
                Token::Between => self.between(chunk),
            };
        }
    }

    fn text<'a>(&mut self, chunk: &'a [u8]) -> &'a [u8] {
        let end = memchr2(b'"', b'\\', chunk);
        let (part, rest) = chunk.split_at(end.unwrap_or(chunk.len()));
        if self.mark() != Mark::Other {
            self.word.add(part);
        }
        let Some((byte, rest)) = rest.split_first() else { return rest };
        if *byte == b'"' {
            self.token = Token::Between;
            self.said();
        } else {
            self.word.is_odd = true;
            self.token = Token::Escape;
        }
        rest
    }

    /// A text has ended; behind a key it is that key's value.
    fn said(&mut self) {
        let word = self.word.get();
        let is_said = !word.is_empty();
        if self.key == Key::Finish && is_said {
            self.found.finished = self.found.finished.saturating_add(1);
        }
        let ends = (self.key == Key::Stop && is_said) || (self.key == Key::Type && LAST.contains(&word));
        self.found.is_last |= ends;
    }

    fn number<'a>(&mut self, chunk: &'a [u8]) -> &'a [u8] {
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
        let end = chunk.iter().position(|byte| !is_part(byte));
        let (part, rest) = chunk.split_at(end.unwrap_or(chunk.len()));
        self.word.add(part);
        if end.is_some() {
            self.token = Token::Between;
            if let Key::Figure(figure) = self.key {
                let is_taken = self.found.take(figure, self.word.get());
                self.shown.has_figures |= is_taken && self.mark() == Mark::Usage;
            }
        }
        rest
    }

    /// Structure, up to the next text or number.
    fn between<'a>(&mut self, chunk: &'a [u8]) -> &'a [u8] {
        for (at, byte) in chunk.iter().enumerate() {
            match byte {
                b'"' => {
                    self.word.clear();
                    self.token = Token::Text;
                    return chunk.get(at + 1..).unwrap_or_default();
                }
                b'0'..=b'9' | b'-' if matches!(self.key, Key::Figure(_)) => {
                    self.word.clear();
                    self.token = Token::Number;
                    return chunk.get(at..).unwrap_or_default();
                }
                b':' => self.key = Key::of(self.mark(), self.word.get()),
                b',' => self.key = Key::Other,
                b'{' => self.open(true),
                b'[' => self.open(false),
                b'}' | b']' => {
                    self.found.is_closed |= self.depth == 1;
                    self.depth = self.depth.saturating_sub(1);
                    self.key = Key::Other;
                }
                // `[DONE]`, which is no JSON.
                b'D' if self.depth == 1 && self.mark() == Mark::List => self.found.is_last = true,
                _ => {}
            }
        }
        &[]
    }

    fn open(&mut self, is_object: bool) {
        let mark = match (self.depth, self.mark(), self.key) {
            (0, _, _) if is_object => Mark::Root,
            (0, _, _) => Mark::List,
            (_, Mark::List, _) if is_object => Mark::Root,
            (_, Mark::Root, Key::Usage) if is_object => Mark::Usage,
            (_, Mark::Root, Key::Message) if is_object => Mark::Message,
            (_, Mark::Root, Key::Response) if is_object => Mark::Response,
            (_, Mark::Root, Key::Delta) if is_object => Mark::Delta,
            (_, Mark::Root, Key::Answers) if !is_object => Mark::Answers,
            (_, Mark::Answers, _) if is_object => Mark::Answer,
            (_, Mark::Message, Key::Usage) if is_object => Mark::FirstUsage,
            (_, Mark::Response, Key::Usage) if is_object => Mark::Usage,
            _ => Mark::Other,
        };
        self.shown.has_list |= mark == Mark::Answers;
        self.shown.has_answers |= mark == Mark::Answer;
        if let Some(place) = self.marks.get_mut(self.depth) {
            *place = mark;
        }
        self.depth = self.depth.saturating_add(1);
        self.key = Key::Other;
    }
}

/// The figures, each the largest that was said.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) is_there: bool,
    /// Something was said behind which there are no other figures.
    pub(super) is_last: bool,
    /// The text has ended, or one of them.
    pub(super) is_closed: bool,
    /// How many answers were said to be whole.
    finished: u64,
    /// As many as that when figures for the whole came last; `None`: there were none.
    pub(super) whole: Option<u64>,
    prompt: u64,
    input: u64,
    cache_creation: u64,
    cache_read: u64,
    tool_prompt: u64,
    output: u64,
    thoughts: u64,
    total: u64,
    cost_micros: Option<u64>,
}

/// More than any answer has: a figure beyond it is taken as this.
pub(super) const FIGURE_MOST: u64 = 1 << 40;

impl Found {
    /// Takes a figure, if it is one that counts tokens.
    fn take(&mut self, figure: Figure, number: &[u8]) -> bool {
        let text = std::str::from_utf8(number).unwrap_or_default();
        if figure == Figure::Cost {
            let dollars = text.parse::<f64>().ok().filter(|dollars| (0.0..=1e6).contains(dollars));
            if let Some(dollars) = dollars {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "from 0 to a million dollars, in millionths"
                )]
                let micros = (dollars * 1e6).ceil() as u64;
                self.cost_micros = self.cost_micros.max(Some(micros));
            }
            return false;
        }
        let Some(count) = count(text) else { return false };
        self.is_there = true;
        let place = match figure {
            Figure::Prompt => &mut self.prompt,
            Figure::Input => &mut self.input,
            Figure::CacheCreation => &mut self.cache_creation,
            Figure::CacheRead => &mut self.cache_read,
            Figure::ToolPrompt => &mut self.tool_prompt,
            Figure::Output => &mut self.output,
            Figure::Thoughts => &mut self.thoughts,
            Figure::Total | Figure::Cost => &mut self.total,
        };
        *place = count.max(*place);
        true
    }

    pub(super) fn tokens(&self) -> Tokens {
        // Anthropic's `input_tokens` leave out what was cached; `prompt_tokens` hold it.
        let input = self.prompt.saturating_add(self.tool_prompt);
        let input = input.max(self.input.saturating_add(self.cache_creation).saturating_add(self.cache_read));
        let output = self.output.saturating_add(self.thoughts);
        let beyond = self.total.saturating_sub(input.saturating_add(output));
        Tokens { input: input.saturating_add(beyond), output, cost_micros: self.cost_micros }
    }
}

/// A whole number from 0; one that is too large is taken as the largest.
fn count(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(FIGURE_MOST).min(FIGURE_MOST))
}
