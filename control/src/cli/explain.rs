//! `doorward explain CODE`: what a code means, offline.

use clap::Args;
use serde_json::json;

use super::{Env, Exit, Failure, Format};
use crate::refusal::{Code, Entry, status_text};

/// Explain an error code.
#[derive(Args, Clone, Debug)]
pub struct Explain {
    /// The code: `DW1001`, `dw1001` or `1001`; none lists all codes.
    #[arg(value_name = "CODE")]
    pub code: Option<String>,
}

impl Explain {
    /// Prints one code or the list.
    pub fn run(&self, env: &Env) -> Result<Exit, Failure> {
        let codes = match &self.code {
            None => Code::ALL.to_vec(),
            Some(text) => vec![Code::parse(text).ok_or_else(|| unknown(text))?],
        };
        match env.globals.output {
            Format::Json if self.code.is_some() => {
                codes.iter().for_each(|code| env.output.data(object(code.entry())))
            }
            Format::Json => {
                env.output.data(codes.iter().map(|code| object(code.entry())).collect::<serde_json::Value>())
            }
            Format::Jsonl => codes.iter().for_each(|code| env.output.data(object(code.entry()))),
            Format::Name => codes.iter().for_each(|code| env.output.data(code)),
            Format::Table | Format::Wide if self.code.is_some() => {
                codes.iter().for_each(|code| env.output.data(page(code.entry())));
            }
            Format::Table | Format::Wide => codes.iter().for_each(|code| env.output.data(row(code.entry()))),
            Format::Yaml
            | Format::Sh
            | Format::Dotenv
            | Format::Docker
            | Format::Pem
            | Format::Bundle
            | Format::Java => {
                return Err(Failure::new(Exit::Usage, "explain prints -o table, json, jsonl or name"));
            }
        }
        Ok(Exit::Ok)
    }
}

fn object(entry: &Entry) -> serde_json::Value {
    json!({
        "code": entry.name,
        "title": entry.title,
        "status": (entry.status != 0).then_some(entry.status),
        "blame": entry.blame.to_string(),
        "meaning": entry.meaning,
        "hint": entry.hint,
    })
}

fn row(entry: &Entry) -> String {
    format!(
        "{}  {:<6} {:<10} {}",
        entry.name,
        status_text(entry.status),
        entry.blame.to_string(),
        entry.title
    )
}

fn page(entry: &Entry) -> String {
    format!(
        "{}  {}\n\n{}\n\nWhat to do: {}\n\nHTTP status: {}   To mend: {}",
        entry.name,
        entry.title,
        entry.meaning,
        entry.hint,
        status_text(entry.status),
        entry.blame
    )
}

fn unknown(text: &str) -> Failure {
    // The text itself is not repeated: a mistyped command line may hold anything.
    let wanted = text.to_ascii_uppercase();
    let nearest = Code::ALL
        .into_iter()
        .map(|code| (strsim::damerau_levenshtein(code.name(), &wanted), code))
        .filter(|(distance, _)| *distance <= 2)
        .min();
    let known = "`doorward explain` lists all";
    Failure::new(
        Exit::NotFound,
        match nearest {
            Some((_, code)) => format!("unknown code; did you mean {code}? {known}"),
            None => format!("unknown code; {known}"),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_an_unknown_code_with_the_nearest_one() {
        let failure = unknown("DW1O01");
        assert_eq!(failure.exit, Exit::NotFound);
        assert!(failure.message.contains("DW1001"), "{failure}");
        assert!(!unknown("quite-something-else").message.contains("did you mean"));
    }

    #[test]
    fn explains_every_code_in_words_and_as_an_object() {
        for entry in Code::ALL.map(Code::entry) {
            assert!(page(entry).contains(entry.hint));
            assert_eq!(object(entry).get("code").and_then(|code| code.as_str()), Some(entry.name));
        }
    }
}
