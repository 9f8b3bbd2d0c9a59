//! Documents of `pai.io/v1` as documents of doorward: the same text but for what `apiVersion` says, comments and all.

use super::report::Mistake;
use super::schema::{API_VERSION, PAI};
use super::tree::{self, Place};

/// The text with every `apiVersion: pai.io/v1` made ours, and how many there were.
///
/// # Errors
/// The text is not YAML, or a document's version stands where it cannot be replaced: behind an alias, or spelt with escapes.
pub fn convert(name: &str, text: &str) -> Result<(String, usize), Mistake> {
    let mistake = |at: Place, message: String| Mistake {
        path: name.to_owned(),
        line: at.line,
        column: at.column,
        message,
    };
    let documents = tree::parse(text).map_err(|(at, message)| mistake(at, message))?;
    let versions = documents.iter().filter_map(|document| document.field("apiVersion"));
    let mut places: Vec<Place> =
        versions.filter(|node| node.text() == Some(PAI)).map(|node| node.at).collect();
    places.sort_unstable();
    let (mut converted, mut rest) = (String::with_capacity(text.len()), text);
    let mut done = 0;
    for at in &places {
        let found = offset(text, *at)
            .and_then(|start| start.checked_sub(done))
            .and_then(|start| version(rest, start));
        let (before, after) = found
            .ok_or_else(|| mistake(*at, format!("write `apiVersion: {PAI}` out, to have it replaced")))?;
        converted.push_str(before);
        converted.push_str(API_VERSION);
        rest = after;
        done = text.len() - rest.len();
    }
    converted.push_str(rest);
    Ok((converted, places.len()))
}

/// Where a place is, in bytes.
fn offset(text: &str, at: Place) -> Option<usize> {
    let (line, column) = (usize::try_from(at.line).ok()?, usize::try_from(at.column).ok()?);
    let lines = text.split_inclusive('\n');
    let start: usize = lines.clone().take(line.checked_sub(1)?).map(str::len).sum();
    let (within, _) = lines.clone().nth(line - 1)?.char_indices().nth(column.checked_sub(1)?)?;
    Some(start + within)
}

/// What stands before and after the version that begins here, with its quotes left as they are.
fn version(text: &str, start: usize) -> Option<(&str, &str)> {
    let (before, at) = text.split_at_checked(start)?;
    let quote = at.len() - at.strip_prefix(['"', '\'']).unwrap_or(at).len();
    let after = at.get(quote..)?.strip_prefix(PAI)?;
    Some((text.get(..before.len() + quote)?, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::parse_text;
    use crate::provider::testing::SCHEMES;

    const SPEC: &str =
        "kind: Provider\nmetadata: {name: NAME}\nspec: {type: http-token, host: NAME.example}\n";

    #[test]
    fn changes_nothing_but_the_version_of_documents_and_the_result_loads() {
        let spec = |name: &str| SPEC.replace("NAME", name);
        let text = format!(
            "# pai.io/v1 – ü\napiVersion: pai.io/v1 # of pai.io/v1\n{}---\n{}apiVersion: \"pai.io/v1\"\n---\r\n\
             apiVersion: doorward.dev/v1alpha1\n{}--- {{\"metadata\": {{\"name\": \"d\"}}, \"apiVersion\": 'pai.io/v1', \
             \"kind\": \"ModelProvider\", \"spec\": {{\"provider\": \"openai\"}}}}\n",
            spec("a"),
            spec("b"),
            spec("c"),
        );
        let (converted, count) = convert("f.yaml", &text).unwrap();
        assert_eq!(count, 3);
        let wanted = text
            .replace("apiVersion: pai.io/v1", "apiVersion: doorward.dev/v1alpha1")
            .replace("\"pai.io/v1\"", "\"doorward.dev/v1alpha1\"")
            .replace("'pai.io/v1'", "'doorward.dev/v1alpha1'");
        assert_eq!(converted, wanted);
        parse_text("f.yaml", &converted, SCHEMES).unwrap();
        assert_eq!(convert("f.yaml", &converted).unwrap(), (wanted, 0));
    }

    #[test]
    fn refuses_a_version_that_is_not_written_out() {
        for version in ["\"pai.io\\u002fv1\"", "&v pai.io/v1", "!!str pai.io/v1", ">-\n  pai.io/v1"] {
            let text = format!("apiVersion: {version}\n{}", SPEC.replace("NAME", "a"));
            let outcome = convert("f.yaml", &text);
            if let Ok((converted, count)) = &outcome {
                assert!(*count == 1 && converted == &text.replace("pai.io/v1", API_VERSION), "{converted}");
            }
            assert!(
                outcome.is_ok() || outcome.unwrap_err().to_string().starts_with("f.yaml:1:"),
                "{version}"
            );
        }
        let escaped = format!("apiVersion: \"pai.io\\u002fv1\"\n{}", SPEC.replace("NAME", "a"));
        assert_eq!(
            convert("f.yaml", &escaped).unwrap_err().to_string(),
            "f.yaml:1:13: write `apiVersion: pai.io/v1` out, to have it replaced"
        );
        assert!(convert("f.yaml", "a: [").is_err());
    }
}
