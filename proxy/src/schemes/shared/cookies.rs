//! Edits of the agent's cookies: ours is set, all others stay as they were.
//!
//! Names are compared with `.`, `[` and space read as `_`, as PHP does, so that no second spelling survives.

/// The cookies of a `Cookie` header's value: each piece between semicolons, trimmed.
pub fn cookies(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b';').map(<[u8]>::trim_ascii).filter(|cookie| !cookie.is_empty())
}

/// The value of a cookie, if it has this name.
pub fn value_of<'a>(cookie: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let at = cookie.iter().position(|&b| b == b'=');
    let (own, value) = at.and_then(|at| cookie.split_at_checked(at)).unwrap_or((cookie, b""));
    let fold = |b: u8| if matches!(b, b'.' | b'[' | b' ') { b'_' } else { b };
    let own = own.trim_ascii();
    let same = own.len() == name.len() && own.iter().copied().map(fold).eq(name.bytes().map(fold));
    same.then(|| value.get(1..).unwrap_or_default().trim_ascii())
}

/// Whether a byte may stand in a cookie's value (RFC 6265 section 4.1.1, `cookie-octet`).
pub(crate) fn is_octet(b: u8) -> bool {
    matches!(b, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e)
}

/// Writes the cookies of all `values` without those of this name, and then `ours` (`name=value`).
pub fn set_into<'a>(values: impl Iterator<Item = &'a [u8]>, name: &str, ours: &[u8], out: &mut Vec<u8>) {
    for cookie in values.flat_map(cookies).filter(|cookie| value_of(cookie, name).is_none()) {
        out.extend_from_slice(cookie);
        out.extend_from_slice(b"; ");
    }
    out.extend_from_slice(ours);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(values: &[&str]) -> String {
        let mut out = Vec::new();
        set_into(values.iter().map(|value| value.as_bytes()), "sess_id", b"sess_id=V", &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn removes_every_spelling_that_some_server_takes_for_our_cookie() {
        for own in [
            "sess_id=own",
            "sess.id=own",
            "sess[id=own",
            "sess id=own",
            " sess_id = own ",
            "sess_id",
            "sess_id=",
        ] {
            assert_eq!(set(&[own]), "sess_id=V", "{own}");
            assert_eq!(set(&[&format!("a=b;{own}; c=d"), own]), "a=b; c=d; sess_id=V", "{own}");
        }
    }

    #[test]
    fn leaves_the_other_cookies_as_they_are() {
        for other in ["sess_id2=c", "xsess_id=c", "sess-id=c", "SESS_ID=c", "c", "c=sess_id=own", "=sess_id"]
        {
            assert_eq!(set(&[other]), format!("{other}; sess_id=V"));
        }
        assert_eq!(set(&[" ;a=b;; ", ""]), "a=b; sess_id=V");
        assert_eq!(set(&[]), "sess_id=V");
    }

    #[test]
    fn reads_the_value_behind_the_first_equals_sign() {
        for (cookie, value) in [
            ("a=b", Some("b")),
            ("a = b=c ", Some("b=c")),
            ("a", Some("")),
            ("a=", Some("")),
            ("b=a", None),
            ("=a", None),
        ] {
            assert_eq!(value_of(cookie.as_bytes(), "a"), value.map(str::as_bytes), "{cookie}");
        }
        assert_eq!(value_of(b"a.b[c=d", "a[b c"), Some(b"d".as_slice()));
    }

    #[test]
    fn a_cookies_value_has_no_quote_comma_semicolon_backslash_space_or_control_byte() {
        let refused: Vec<u8> = (0..0x80).filter(|b| !is_octet(*b)).collect();
        let expected: Vec<u8> = (0..=0x20).chain(*b"\",;\\\x7f").collect();
        assert_eq!(refused, expected);
        assert!((0x80..=0xff).all(|b| !is_octet(b)));
    }
}
