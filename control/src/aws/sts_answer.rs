//! STS' answers: the little of XML that they are written in, read once and strictly.
//!
//! Refuses what two readers could take differently: a document type, comments, sections, processing instructions, entities
//! or attributes where keys stand, an element that stands there twice, and bytes behind the end. Invariant: what is read
//! goes into secrets, whatever its name; faults hold nothing of it.

use crate::secret::Secret;

/// Deeper than any answer.
const DEPTH_MOST: usize = 8;
/// More elements than any answer has.
const ELEMENTS_MOST: usize = 64;

/// Why an answer is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault(pub &'static str);

const FORM: Fault = Fault("it is not the XML that STS writes");

/// Temporary keys.
#[derive(Debug)]
pub struct TemporaryKeys {
    /// Who signs.
    pub access_key_id: Secret,
    /// What signs.
    pub secret_access_key: Secret,
    /// What goes with each request.
    pub session_token: Secret,
    /// When they end, RFC 3339.
    pub expiration: Secret,
}

const WITHIN: &[&str] = &["AssumeRoleResponse", "AssumeRoleResult", "Credentials"];
const WITHIN_WEB_IDENTITY: &[&str] =
    &["AssumeRoleWithWebIdentityResponse", "AssumeRoleWithWebIdentityResult", "Credentials"];

/// The keys of an answer to `AssumeRole`.
///
/// # Errors
/// It is no such answer.
pub fn keys(xml: &[u8]) -> Result<TemporaryKeys, Fault> {
    keys_within(xml, WITHIN)
}

/// The keys of an answer to `AssumeRoleWithWebIdentity`.
///
/// # Errors
/// It is no such answer.
pub fn web_identity_keys(xml: &[u8]) -> Result<TemporaryKeys, Fault> {
    keys_within(xml, WITHIN_WEB_IDENTITY)
}

fn keys_within(xml: &[u8], within: &[&str]) -> Result<TemporaryKeys, Fault> {
    let leaves = read(xml)?;
    let one = |name: &str| -> Result<Secret, Fault> {
        let is_it = |leaf: &&Leaf<'_>| {
            leaf.path.last() == Some(&name) && leaf.path.split_last().is_some_and(|(_, path)| path == within)
        };
        let mut found = leaves.iter().filter(is_it);
        let (Some(leaf), None) = (found.next(), found.next()) else {
            return Err(Fault("it lacks one of the four parts of temporary keys, or has one twice"));
        };
        if leaf.text.is_empty() || !leaf.text.iter().all(|b| b.is_ascii_graphic() && *b != b'&') {
            return Err(Fault("a part of the keys holds a character that none has"));
        }
        Ok(Secret::new(leaf.text.to_vec()))
    };
    Ok(TemporaryKeys {
        access_key_id: one("AccessKeyId")?,
        secret_access_key: one("SecretAccessKey")?,
        session_token: one("SessionToken")?,
        expiration: one("Expiration")?,
    })
}

/// The word by which an answer says what was wrong.
pub fn error_code(xml: &[u8]) -> Option<String> {
    let leaves = read(xml).ok()?;
    let code = leaves.iter().find(|leaf| leaf.path.ends_with(&["Error", "Code"]))?;
    let is_word = code.text.len() <= 64 && code.text.iter().all(u8::is_ascii_alphanumeric);
    is_word.then(|| String::from_utf8_lossy(code.text).into_owned())
}

/// An element without others in it, by its path from the root.
struct Leaf<'x> {
    path: Vec<&'x str>,
    text: &'x [u8],
}

fn read(xml: &[u8]) -> Result<Vec<Leaf<'_>>, Fault> {
    let mut rest = xml.trim_ascii();
    if let Some(declared) = rest.strip_prefix(b"<?xml ") {
        let end = memchr::memmem::find(declared, b"?>").ok_or(FORM)?;
        rest = declared.get(end + 2..).ok_or(FORM)?.trim_ascii_start();
    }
    let (mut leaves, mut open): (Vec<Leaf<'_>>, Vec<&str>) = (Vec::new(), Vec::new());
    let (mut elements, mut parents) = (0, 0);
    loop {
        let (text, tag, after) = next_tag(rest)?;
        let blank = text.trim_ascii().is_empty();
        if let Some(name) = tag.strip_prefix('/') {
            // A parent's text would be read by some and not by others.
            let is_leaf = parents < open.len();
            if open.last() != Some(&name) || !(is_leaf || blank) {
                return Err(FORM);
            }
            if is_leaf {
                leaves.push(Leaf { path: open.clone(), text });
            }
            open.pop();
            parents = open.len();
            if open.is_empty() {
                return if after.is_empty() { Ok(leaves) } else { Err(FORM) };
            }
        } else {
            elements += 1;
            if !blank || open.len() == DEPTH_MOST || elements > ELEMENTS_MOST {
                return Err(FORM);
            }
            parents = open.len();
            open.push(element(tag, open.is_empty())?);
        }
        rest = after;
    }
}

/// The text before the next tag, the tag, and what stands behind it.
fn next_tag(rest: &[u8]) -> Result<(&[u8], &str, &[u8]), Fault> {
    let start = memchr::memchr(b'<', rest).ok_or(FORM)?;
    let (text, rest) = rest.split_at_checked(start).ok_or(FORM)?;
    let end = memchr::memchr(b'>', rest).ok_or(FORM)?;
    let tag = rest.get(1..end).and_then(|tag| std::str::from_utf8(tag).ok()).ok_or(FORM)?;
    Ok((text, tag, rest.get(end + 1..).unwrap_or_default()))
}

/// The name of an opening tag; only the root may say its namespace.
fn element(tag: &str, is_root: bool) -> Result<&str, Fault> {
    let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric());
    let is_namespace = attributes
        .strip_prefix("xmlns=\"")
        .and_then(|rest| rest.strip_suffix('"'))
        .is_some_and(|url| url.bytes().all(|b| b.is_ascii_alphanumeric() || b":/.-".contains(&b)));
    let fits = attributes.is_empty() || is_root && is_namespace;
    if is_name && fits { Ok(name) } else { Err(FORM) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) const GOOD: &str = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  \
        <AssumeRoleResult>\n    <AssumedRoleUser><AssumedRoleId>AROA:bot</AssumedRoleId><Arn>arn:aws:sts::1:a&amp;b</Arn>\
        </AssumedRoleUser>\n    <Credentials>\n      <AccessKeyId>ASIAc4naryTemporary</AccessKeyId>\n      \
        <SecretAccessKey>c4nary/temporary+secret</SecretAccessKey>\n      \
        <SessionToken>IQoc4naryTemporary//token==</SessionToken>\n      <Expiration>2027-01-15T09:00:00Z</Expiration>\n    \
        </Credentials>\n  </AssumeRoleResult>\n  <ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata>\n\
        </AssumeRoleResponse>\n";

    #[test]
    fn refuses_what_two_readers_could_take_differently() {
        let with = |from: &str, to: &str| GOOD.replacen(from, to, 1);
        for (xml, what) in [
            (String::new(), "nothing"),
            ("{}".to_owned(), "json"),
            (
                with("<AssumeRoleResponse", "<!DOCTYPE a [<!ENTITY e \"x\">]><AssumeRoleResponse"),
                "a document type",
            ),
            (with("<Credentials>", "<!-- x --><Credentials>"), "a comment"),
            (with("ASIAc4naryTemporary", "<![CDATA[ASIAc4naryTemporary]]>"), "a section"),
            (with("<Credentials>", "<?x y?><Credentials>"), "an instruction"),
            (with("c4nary/temporary", "c4nary&#47;temporary"), "an entity in a key"),
            (with("<AccessKeyId>", "<AccessKeyId x=\"y\">"), "an attribute"),
            (with("<AccessKeyId>", "<a:AccessKeyId>"), "a prefix"),
            (with("<Expiration>", "<AccessKeyId>AKIAother</AccessKeyId><Expiration>"), "a key twice"),
            (
                with(
                    "<ResponseMetadata>",
                    "<AssumeRoleResult><Credentials><SessionToken>other</SessionToken></Credentials></AssumeRoleResult><ResponseMetadata>",
                ),
                "keys twice",
            ),
            (with("</AssumeRoleResponse>", ""), "no end"),
            (format!("{GOOD}<x></x>"), "more behind it"),
            (with("<Credentials>", "text<Credentials>"), "text between"),
            (with("</Credentials>", "text</Credentials>"), "text behind"),
            (with("<SessionToken>IQoc4naryTemporary//token==</SessionToken>", ""), "no token"),
            (
                with(
                    "<SessionToken>IQoc4naryTemporary//token==</SessionToken>",
                    "<SessionToken></SessionToken>",
                ),
                "an empty one",
            ),
            (with("<Credentials>", "</Credentials>"), "a wrong end"),
            ("<a>".repeat(20), "too deep"),
            (format!("<a>{}</a>", "<b></b>".repeat(80)), "too many"),
        ] {
            assert!(keys(xml.as_bytes()).is_err(), "{what}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(before in ".{0,40}", cut in 0..900_usize, byte: u8) {
            let mut xml = [before.as_bytes(), GOOD.as_bytes()].concat();
            let at = cut % xml.len();
            xml[at] = byte;
            drop((keys(&xml), error_code(&xml), keys(&xml[at..]), keys(&xml[..at])));
        }
    }

    #[test]
    fn reads_what_sts_and_moto_write() {
        for text in [GOOD.to_owned(), format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{GOOD}")] {
            let keys = keys(text.as_bytes()).unwrap();
            assert!(keys.access_key_id.matches(b"ASIAc4naryTemporary"));
            assert!(keys.secret_access_key.matches(b"c4nary/temporary+secret"));
            assert!(keys.session_token.matches(b"IQoc4naryTemporary//token=="));
            assert!(keys.expiration.matches(b"2027-01-15T09:00:00Z"));
        }
        let denied = b"<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
            <Code>AccessDenied</Code><Message>User: &quot;x&quot; c4nary</Message></Error><RequestId>1</RequestId></ErrorResponse>";
        assert_eq!(error_code(denied).as_deref(), Some("AccessDenied"));
        assert_eq!(error_code(b"<Error><Code>a b</Code></Error>"), None);
    }
}
