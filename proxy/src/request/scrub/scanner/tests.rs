use super::*;

fn needle(value: &[u8]) -> Needle<'_> {
    Needle { value, public_prefix: 0, basic_users: &[] }
}

fn compiled(value: &[u8]) -> Scanner {
    Scanner::compile(&[needle(value)]).unwrap()
}

fn scan(scanner: &Scanner, text: &[u8], slice: bool) -> Result<Findings, Tangled> {
    let mut findings = Findings::default();
    scanner
        .scan(Chunk { text, base: 0, slice, letters: Letters::AsTheyAre }, &mut findings)
        .map(|()| findings)
}

#[test]
fn refuses_values_that_are_too_short_or_too_long() {
    let long = vec![b'a'; 65_537];
    for (value, error) in [
        (b"".as_slice(), CompileError::TooShort),
        (b"1234567", CompileError::TooShort),
        (&long, CompileError::TooLong),
    ] {
        assert_eq!(Scanner::compile(&[needle(b"12345678"), needle(value)]).err(), Some(error));
    }
    assert!(Scanner::compile(&[needle(b"12345678"), needle(&long[1..])]).is_ok());
}

#[test]
fn refuses_more_spellings_than_sixteen_bits_count() {
    let values: Vec<String> = (0..10_000).map(|n| format!("{n:08}")).collect();
    let needles: Vec<_> = values.iter().map(|value| needle(value.as_bytes())).collect();
    assert_eq!(Scanner::compile(&needles).err(), Some(CompileError::TooMany));
}

#[test]
fn refuses_a_text_that_can_be_read_in_too_many_ways() {
    // Each `%25` is a percent sign or three characters, so that each adds a reading.
    for (count, is_refused) in [(255, false), (256, true)] {
        let value = b"%25".repeat(count);
        let scanner = compiled(&value);
        assert_eq!(scan(&scanner, &value, false).is_err(), is_refused, "{count}");
        let masked = scanner.mask(&value, |_| ());
        let expected = if is_refused { Err(Tangled) } else { Ok(Some(vec![b'*'; value.len()])) };
        assert_eq!(masked, expected, "{count}");
    }
}

#[test]
fn refuses_to_follow_more_than_16384_beginnings() {
    // At each place of a slice, the value may go on with any of its characters.
    for (length, threads) in [(974, Some(16_384)), (975, None)] {
        let found = scan(&compiled(&vec![b'a'; length]), &[b'a'; 17], true);
        assert_eq!(found.ok().map(|found| found.threads.len()), threads, "{length}");
    }
}

#[test]
fn finds_the_shortest_value_in_a_name_and_alone() {
    let scanner = compiled(b"AbCdEfGh");
    assert!(scanner.is_in_name("abcdefgh") && scanner.is_in_name("x-abcdefgh-y"));
    assert!(!scanner.is_in_name("abcdefg") && !scanner.is_in_name("abcdefg-h") && !scanner.is_in_name(""));
    assert_eq!(scanner.mask(b"AbCdEfGh", |_| ()), Ok(Some(b"********".to_vec())));
    assert_eq!(scanner.mask(b"AbCdEfG", |_| ()), Ok(None));
}

#[test]
fn a_scanner_of_no_values_finds_nothing() {
    let scanner = Scanner::compile(&[]).unwrap();
    assert!(scanner.is_empty() && !compiled(b"12345678").is_empty());
    assert_eq!(scanner.mask(b"12345678", |_| ()), Ok(None));
    assert!(!scanner.is_in_name("12345678"));
}

#[test]
fn the_middle_of_a_value_before_an_escape_is_none_at_the_beginning_of_a_stream() {
    let scanner = compiled(b"abcdefgh/ijkl");
    for text in ["gh%2Fijkl", "bcdefgh%2Fijkl", "h\\/ijkl", "%2Fijkl"] {
        let found = scan(&scanner, text.as_bytes(), false).unwrap();
        assert!(found.hits.is_empty() && found.threads.is_empty(), "{text}");
    }
    assert!(!scan(&scanner, b"abcdefgh%2Fijkl", false).unwrap().hits.is_empty());
}

#[test]
fn an_escape_of_another_character_is_none_of_a_values() {
    let scanner = compiled(b"abcdefgh");
    for text in ["abc%41efgh", "abc\\u0041efgh", "abc&#65;efgh", "%41bcdefgh", "abcdefg%41"] {
        let found = scan(&scanner, text.as_bytes(), false).unwrap();
        assert!(found.hits.is_empty(), "{text}");
    }
    // The value ends inside the character that the escape stands for.
    let found = scan(&compiled(b"abcdefg\xc3"), b"abcdefg\\u00e9", false).unwrap();
    assert!(found.hits.is_empty() && found.threads.is_empty());
}

#[test]
fn follows_a_value_whose_first_character_stands_nowhere_else_in_it() {
    let scanner = compiled(b"~2345678abc");
    for cut in 1..11 {
        let found = scan(&scanner, &b".~2345678abc"[..=cut], false).unwrap();
        assert!(found.threads.iter().any(|thread| thread.start == 1 && thread.form == 0), "{cut}");
    }
}
