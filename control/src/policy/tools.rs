//! Which tools of an MCP server an agent may call, and sees (`policy.mcp`).

use std::sync::Arc;

use crate::rule::Wildcard;

/// The lists of `policy.mcp`.
#[derive(Debug)]
pub struct Tools {
    allow: Option<Vec<ToolGlob>>,
    deny: Vec<ToolGlob>,
    /// Where the block stands: `policy.mcp (mcp.yaml:9)`.
    label: Arc<str>,
}

/// A glob over the names of tools, with its place.
#[derive(Debug)]
pub(crate) struct ToolGlob {
    text: Box<str>,
    wildcard: Wildcard,
    /// For what servers that do not mind case would take it for.
    wide: Wildcard,
    label: Arc<str>,
}

impl ToolGlob {
    pub(crate) fn new(text: &str, place: &str) -> Self {
        Self {
            text: text.into(),
            wildcard: Wildcard::new(text),
            wide: Wildcard::new(&text.to_lowercase()),
            label: format!("{text} ({place})").into(),
        }
    }
}

impl Tools {
    /// `allow`: `None` allows all, an empty list none.
    pub(crate) fn new(allow: Option<Vec<ToolGlob>>, deny: Vec<ToolGlob>, label: &str) -> Self {
        Self { allow, deny, label: label.into() }
    }

    /// Whether a tool may be called and seen. Deny beats allow, and reads widely.
    pub fn lets(&self, name: &str) -> bool {
        self.judge(name).is_ok()
    }

    /// As [`Self::lets`], with the entry or block that refuses.
    pub(crate) fn judge(&self, name: &str) -> Result<(), &Arc<str>> {
        let folded = name.to_lowercase();
        let denied = self
            .deny
            .iter()
            .find(|glob| glob.wildcard.matches(name.as_bytes()) || glob.wide.matches(folded.as_bytes()));
        if let Some(glob) = denied {
            return Err(&glob.label);
        }
        let allow = self.allow.as_deref();
        // Letters that look or fold alike could name a denied tool: then only its own name will do.
        let is_plain = name.is_ascii() || self.deny.is_empty();
        let is_let = match allow {
            None => is_plain,
            Some(list) => list.iter().any(|glob| {
                if is_plain { glob.wildcard.matches(name.as_bytes()) } else { *glob.text == *name }
            }),
        };
        if is_let { Ok(()) } else { Err(&self.label) }
    }

    pub(crate) fn label(&self) -> &Arc<str> {
        &self.label
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools(allow: Option<&[&str]>, deny: &[&str]) -> Tools {
        let globs = |list: &[&str]| list.iter().map(|text| ToolGlob::new(text, "f:1")).collect();
        Tools::new(allow.map(globs), globs(deny), "policy.mcp (f:1)")
    }

    #[test]
    fn an_empty_list_allows_nothing_and_deny_beats_allow() {
        assert!(!tools(Some(&[]), &[]).lets("a"));
        let both = tools(Some(&["get_*", "delete_mine"]), &["get_secret", "delete_*"]);
        for (name, lets) in [
            ("get_issue", true),
            ("get_", true),
            ("Get_issue", false),
            ("get_secret", false),
            ("GET_SECRET", false),
            ("delete_mine", false),
            ("other", false),
        ] {
            assert_eq!(both.lets(name), lets, "{name}");
        }
        assert_eq!(both.judge("delete_x").unwrap_err().as_ref(), "delete_* (f:1)");
        assert_eq!(both.judge("other").unwrap_err().as_ref(), "policy.mcp (f:1)");
    }

    #[test]
    fn what_looks_like_a_denied_tool_needs_its_own_name() {
        let denying = tools(None, &["Kill_*"]);
        assert!(denying.lets("list"));
        for name in ["kill_it", "KILL_IT", "\u{212a}ill_it", "kıll_it", "größe"] {
            assert!(!denying.lets(name), "{name}");
        }
        assert!(!tools(Some(&["*"]), &["kill_*"]).lets("größe"));
        assert!(tools(Some(&["größe"]), &["kill_*"]).lets("größe"));
        assert!(tools(Some(&["gr*"]), &[]).lets("größe"));
    }
}
