//! Widths that sums take, with biases as they are stored.

use super::*;

/// Sums of one channel with this bias, whose requantization adds `offset`.
fn seen(acc_bits: u32, bias: i64, offset: i64, sums: &[i64]) -> (u32, u64) {
    let origin = vec![bias];
    let probe = Probe { step: 0, acc_bits, offset, judged: true, origin, parts: Vec::new() };
    let mut headroom = Headroom { step: 0, acc_bits, used_bits: 1, overflows: 0 };
    headroom.see(&probe, sums);
    (headroom.used_bits, headroom.overflows)
}

#[test]
fn headroom_is_that_of_signed_integers() {
    for (acc_bits, bias, offset, sums, used_bits, overflows) in [
        (8, 0, 0, vec![0], 1, 0),
        (8, 0, 0, vec![-1, 1], 2, 0),
        (8, 0, 0, vec![-128, 127], 8, 0),
        (8, 0, 0, vec![128, -129, 5], 9, 2),
        (8, 0, 10, vec![117], 8, 0),
        (8, 0, 10, vec![118], 9, 1),
        // A bias of 130 is stored as -126; with the offset both are the same 120.
        (8, -126, -10, vec![-126, -119], 8, 0),
        (8, -126, -10, vec![-118], 9, 1),
        (8, 130, -10, vec![130, 137], 8, 0),
    ] {
        let found = seen(acc_bits, bias, offset, &sums);
        assert_eq!(found, (used_bits, overflows), "{acc_bits} {bias} {offset} {sums:?}");
    }
}

#[test]
fn channels_have_their_own_biases() {
    let origin = vec![-126, 0];
    let probe = Probe { step: 0, acc_bits: 8, offset: -10, judged: true, origin, parts: vec![] };
    let mut headroom = Headroom { step: 0, acc_bits: 8, used_bits: 1, overflows: 0 };
    headroom.see(&probe, &[-126, -120, 0, -118]);
    assert_eq!((headroom.used_bits, headroom.overflows), (8, 0));
    headroom.see(&probe, &[-126, -120, -119, 0]);
    assert_eq!((headroom.used_bits, headroom.overflows), (9, 1));
}
