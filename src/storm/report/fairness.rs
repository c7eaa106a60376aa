//! How evenly classes were served.

/// Jain's index, (Σx)² ÷ (n Σx²): 1 if all have as much, 1/n if one has all. None of less than two, and
/// where nobody has anything.
pub(super) fn jain(shares: &[f64]) -> Option<f64> {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    (shares.len() > 1 && squares > 0.0).then(|| sum * sum / (shares.len() as f64 * squares))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_1_for_equal_shares_and_1_of_n_if_one_has_all() {
        let cases: [(&[f64], Option<f64>); 6] = [
            (&[3.0, 3.0, 3.0], Some(1.0)),
            (&[5.0, 0.0, 0.0, 0.0], Some(0.25)),
            (&[1.0, 3.0], Some(0.8)),
            (&[1.0], None),
            (&[], None),
            (&[0.0, 0.0], None),
        ];
        for (shares, wanted) in cases {
            let close = match (jain(shares), wanted) {
                (Some(got), Some(wanted)) => (got - wanted).abs() < 1e-9,
                (got, wanted) => got == wanted,
            };
            assert!(close, "{shares:?}: {:?}", jain(shares));
        }
    }
}
