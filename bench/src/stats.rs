//! Medians and percentiles. Nearest rank on sorted data: no interpolation, so every number printed was measured.

/// The value below which `share` (0 to 1) of the sorted values lie.
pub fn percentile(sorted: &[u64], share: f64) -> Option<u64> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// The middle value; of an even number the mean of the two.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    sorted.get(sorted.len() / 2 - 1).map(|lower| f64::midpoint(*lower, upper))
}

#[cfg(test)]
mod tests {
    use super::{median, percentile};

    #[test]
    fn nothing_measured_has_no_median_and_no_percentile() {
        assert_eq!(median(&[]), None);
        assert_eq!(percentile(&[], 0.99), None);
    }

    #[test]
    fn a_percentile_is_a_measured_value() {
        let sorted: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile(&sorted, 0.5), Some(50));
        assert_eq!(percentile(&sorted, 0.99), Some(99));
        assert_eq!(percentile(&sorted, 1.0), Some(100));
        assert_eq!(percentile(&[7], 0.5), Some(7));
    }

    #[test]
    fn the_median_ignores_one_wild_round() {
        assert_eq!(median(&[3.0, 1000.0, 1.0, 2.0, 4.0]), Some(3.0));
        assert_eq!(median(&[1.0, 2.0]), Some(1.5));
    }
}
