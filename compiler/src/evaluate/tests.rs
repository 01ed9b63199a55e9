//! Widths that sums take.

use super::*;

#[test]
fn headroom_is_that_of_signed_integers() {
    for (acc_bits, offset, sums, used_bits, overflows) in [
        (8, 0, vec![0], 1, 0),
        (8, 0, vec![-1, 1], 2, 0),
        (8, 0, vec![-128, 127], 8, 0),
        (8, 0, vec![128, -129, 5], 9, 2),
        (8, 10, vec![117], 8, 0),
        (8, 10, vec![118], 9, 1),
        (8, -10, vec![-118, 137], 8, 0),
        (8, -10, vec![-119, 138, 1 << 40], 41, 3),
    ] {
        let probe =
            Probe { step: 0, acc_bits, offset, judged: true, rounded: None, parts: Vec::new() };
        let mut headroom =
            Headroom { step: 0, acc_bits, used_bits: 1, overflows: 0, rounded: None };
        headroom.see(&probe, &sums);
        let found = (headroom.used_bits, headroom.overflows, headroom.free_bits());
        let free_bits = i64::from(acc_bits) - i64::from(used_bits);
        assert_eq!(found, (used_bits, overflows, free_bits), "{acc_bits} {offset} {sums:?}");
    }
}
