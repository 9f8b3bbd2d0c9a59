//! Which tools an answer of an MCP server shows: entries of `result.tools` that policy does not let through are cut out.
//!
//! All other bytes stay as they were. Answers are not matched with requests: a list may come on any stream, and late.

use std::ops::Range;

use super::{Fault, json};

/// An answer after it was looked through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listing {
    /// It shows nothing that it may not.
    Same,
    /// Without the tools that may not be seen.
    Cut(String),
}

/// Looks through one JSON text: a message, or a batch of them.
///
/// # Errors
/// When it cannot be read in exactly one way; nothing of it may be shown.
pub fn filter(text: &str, lets: &dyn Fn(&str) -> bool) -> Result<Listing, Fault> {
    json::value(text)?;
    let messages = json::items(text).unwrap_or_else(|| vec![text]);
    let mut cuts = Vec::new();
    for message in messages {
        if !json::is_object(message) {
            return Err(Fault::NotRpc);
        }
        cuts.extend(cut(text, message, lets)?);
    }
    if cuts.is_empty() {
        return Ok(Listing::Same);
    }
    let mut whole = String::with_capacity(text.len());
    let mut from = 0;
    for (range, list) in cuts {
        whole.push_str(text.get(from..range.start).ok_or(Fault::NotJson)?);
        whole.push_str(&list);
        from = range.end;
    }
    whole.push_str(text.get(from..).ok_or(Fault::NotJson)?);
    Ok(Listing::Cut(whole))
}

/// The list of one message with what stands there instead, if something of it goes.
fn cut(
    text: &str,
    message: &str,
    lets: &dyn Fn(&str) -> bool,
) -> Result<Option<(Range<usize>, String)>, Fault> {
    let Some(result) = member(message, "result")?.filter(|result| json::is_object(result)) else {
        return Ok(None);
    };
    let Some(tools) = member(result, "tools")? else { return Ok(None) };
    let list = json::items(tools).ok_or(Fault::NotRpc)?;
    let mut kept = Vec::with_capacity(list.len());
    for tool in &list {
        if is_let(tool, lets)? {
            kept.push(*tool);
        }
    }
    if kept.len() == list.len() {
        return Ok(None);
    }
    // Both are parts of the one text.
    let start = (tools.as_ptr() as usize).checked_sub(text.as_ptr() as usize).ok_or(Fault::NotJson)?;
    Ok(Some((start..start + tools.len(), format!("[{}]", kept.join(",")))))
}

/// A tool without a name of its own is not shown.
fn is_let(tool: &str, lets: &dyn Fn(&str) -> bool) -> Result<bool, Fault> {
    if !json::is_object(tool) {
        return Ok(false);
    }
    let name = member(tool, "name")?.and_then(json::string);
    Ok(name.is_some_and(|name| lets(&name)))
}

/// A member of an object. Parsers that do not mind the case of keys would take another spelling for it.
fn member<'a>(object: &'a str, name: &str) -> Result<Option<&'a str>, Fault> {
    let mut found = None;
    for (key, value) in json::members(object).ok_or(Fault::NotRpc)? {
        if !json::is_like(&key, name) {
            continue;
        }
        if key != name || found.is_some() {
            return Err(Fault::Duplicate);
        }
        found = Some(value);
    }
    Ok(found)
}
