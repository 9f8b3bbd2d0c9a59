//! Spells values in all forms, and finds them again by trying every spelling of every character.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// The plain spellings: each is wholly told by the value.
pub(crate) fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![secret.to_vec(), hex.clone().into_bytes(), hex.to_uppercase().into_bytes()];
    for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
        for shift in 0..3usize {
            // What stays the same whatever surrounds the value.
            let one = engine.encode([&vec![0x00; shift][..], secret, &[0x00; 3]].concat());
            let other = engine.encode([&vec![0xff; shift][..], secret, &[0xff; 3]].concat());
            let same: Vec<usize> =
                (0..one.len()).filter(|&i| one.as_bytes()[i] == other.as_bytes()[i]).collect();
            forms.push(one.as_bytes()[same[0]..=same[same.len() - 1]].to_vec());
        }
    }
    forms
}

/// Every spelling of a byte.
pub(crate) fn spellings(byte: u8) -> Vec<Vec<u8>> {
    let mut all = vec![vec![byte]];
    for text in [format!("%{byte:02x}"), format!("%{byte:02X}")] {
        all.push(text.into_bytes());
    }
    if byte >= 0x80 {
        return all;
    }
    all.push(format!("\\u{byte:04x}").into_bytes());
    all.push(format!("\\u{byte:04X}").into_bytes());
    if b"\"\\/".contains(&byte) {
        all.push(vec![b'\\', byte]);
    }
    for width in 1..=8 {
        all.push(format!("&#{:0width$};", byte).into_bytes());
        for x in ['x', 'X'] {
            all.push(format!("&#{x}{byte:0width$x};").into_bytes());
            all.push(format!("&#{x}{byte:0width$X};").into_bytes());
        }
    }
    let named: &[&str] = match byte {
        b'"' => &["&quot;"],
        b'&' => &["&amp;"],
        b'/' => &["&sol;"],
        b'+' => &["&plus;"],
        b'%' => &["&percnt;"],
        b'\\' => &["&bsol;"],
        b'_' => &["&lowbar;", "&UnderBar;"],
        b'=' => &["&equals;"],
        _ => &[],
    };
    all.extend(named.iter().map(|name| name.as_bytes().to_vec()));
    all.retain(|spelling| spelling.len() <= 12);
    all.sort();
    all.dedup();
    all
}

type Spelled = Vec<Vec<Vec<Vec<u8>>>>;

fn spelled(secret: &[u8]) -> std::rc::Rc<Spelled> {
    thread_local! {
        static KNOWN: std::cell::RefCell<std::collections::HashMap<Vec<u8>, std::rc::Rc<Spelled>>> = std::cell::RefCell::default();
    }
    KNOWN.with_borrow_mut(|known| {
        let fresh =
            || forms(secret).iter().map(|form| form.iter().map(|byte| spellings(*byte)).collect()).collect();
        known.entry(secret.to_vec()).or_insert_with(|| std::rc::Rc::new(fresh())).clone()
    })
}

/// Whether the text holds any form, each character in any spelling.
pub(crate) fn holds(text: &[u8], secret: &[u8]) -> bool {
    spelled(secret).iter().any(|form| {
        (0..text.len()).any(|start| {
            let mut places = vec![start];
            for choices in form {
                let next = |place: &usize| {
                    let rest = &text[*place..];
                    let fits = |choice: &&Vec<u8>| rest.first() == choice.first() && rest.starts_with(choice);
                    choices.iter().filter(fits).map(|choice| place + choice.len()).collect::<Vec<_>>()
                };
                places = places.iter().flat_map(next).collect();
                places.sort_unstable();
                places.dedup();
                if places.is_empty() {
                    return false;
                }
            }
            true
        })
    })
}

#[test]
fn the_oracle_finds_what_was_spelled() {
    let secret = super::SECRET;
    assert!(!holds(b"nothing here", secret));
    for form in forms(secret) {
        let escaped: Vec<u8> = form.iter().flat_map(|byte| spellings(*byte).pop().unwrap()).collect();
        assert!(holds(&[b"..".as_slice(), &escaped, b".."].concat(), secret));
        assert!(!holds(&escaped[..escaped.len() - 1], secret));
    }
}
