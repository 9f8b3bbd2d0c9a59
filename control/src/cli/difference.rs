//! What differs between two documents, line by line, for `doorward diff`.

/// The most lines that are compared one by one.
const COMPARED: usize = 4000;

/// The lines that go (`-`) and come (`+`), in order.
pub(super) fn difference(before: &str, after: &str) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    if old.len().max(new.len()) > COMPARED {
        return vec!["the document is too long to be compared line by line".to_owned()];
    }
    // How many lines are the same from here on, by where one stands in both.
    let width = new.len() + 1;
    let mut same = vec![0_usize; (old.len() + 1) * width];
    let at = |same: &[usize], i: usize, j: usize| same.get(i * width + j).copied().unwrap_or(0);
    for (i, one) in old.iter().enumerate().rev() {
        for (j, other) in new.iter().enumerate().rev() {
            let best = if one == other {
                at(&same, i + 1, j + 1) + 1
            } else {
                at(&same, i + 1, j).max(at(&same, i, j + 1))
            };
            if let Some(slot) = same.get_mut(i * width + j) {
                *slot = best;
            }
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    loop {
        match (old.get(i), new.get(j)) {
            (Some(one), Some(other)) if one == other => (i, j) = (i + 1, j + 1),
            (Some(one), other) if other.is_none() || at(&same, i + 1, j) >= at(&same, i, j + 1) => {
                lines.push(format!("-{one}"));
                i += 1;
            }
            (_, Some(other)) => {
                lines.push(format!("+{other}"));
                j += 1;
            }
            (Some(_), None) | (None, None) => return lines,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_has_what_goes_and_what_comes() {
        assert_eq!(difference("a\nb\nc", "a\nx\nc\nd"), ["-b", "+x", "+d"]);
        assert_eq!(difference("", "a"), ["+a"]);
        assert!(difference("a\nb", "a\nb").is_empty());
    }
}
