//! Peak memory of a requantization of a million elements, both parties together, random OTs by the
//! extension included; a binary of its own, since a process has one peak.
#![allow(clippy::unwrap_used, clippy::panic, reason = "clippy exempts test functions alone")]

#[path = "common/steps.rs"]
mod steps;

use heq_ir::plan::OtExtension;
use heq_ir::protocol::adder::{AdderForm, CarryForm};
use heq_ir::protocol::count::CountMachine;
use heq_ir::protocol::requantize::{RequantizeForm, RequantizeWidths, requantize};
use heq_ir::protocol::to_arithmetic::ToArithmeticForm;
use heq_net::Channel;
use heq_runtime::protocol::Role;
use heq_runtime::protocol::gates::Gates;
use heq_runtime::protocol::to_arithmetic::to_arithmetic;
use heq_runtime::share::{Words, mask, planes_of_words};
use heq_runtime::stats::ProcessUsage;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use steps::{both, establish, extend};

const ELEMENTS: usize = 1_000_000;

const WIDTHS: RequantizeWidths =
    RequantizeWidths { acc_bits: 16, guard_bits: 1, shift: 8, result_bits: 4, limit: 15 };

/// Width of the shares that the next layer reads.
const ARITHMETIC_BITS: u32 = 16;

/// What one party may take; both together take less.
const LIMIT_BYTES: u64 = 300_000_000;

fn words(role: Role) -> Vec<u64> {
    let mut rng = ChaCha20Rng::seed_from_u64(role as u64);
    (0..ELEMENTS).map(|_| rng.next_u64() & mask(WIDTHS.word_bits())).collect()
}

#[test]
fn both_parties_together_take_less_than_one_may() {
    let carry = CarryForm { compared_bits: 9, digit_bits: 2 };
    let form = RequantizeForm { carry, sums: AdderForm::Ripple, range: AdderForm::Ripple };
    let conversion = ToArithmeticForm::Direct;
    let mut counter = CountMachine::new(ELEMENTS);
    let Ok(planes) = requantize(&mut counter, &WIDTHS, &form);
    let mut runs = counter.finish().rots;
    let planes = u32::try_from(planes.len()).unwrap();
    runs.extend(conversion.traffic(ELEMENTS, planes, ARITHMETIC_BITS).rots);
    let party = |role: Role, channel: &mut Channel| -> Words {
        let mut extension = establish(role, OtExtension::Silent { log_rows: 20 }, channel);
        let mut stocks = extend(&mut extension, role, &runs, channel);
        let mut link = stocks.link(role, channel);
        let planes = planes_of_words(&words(role), WIDTHS.word_bits());
        let mut gates = Gates::new(&mut link, &planes, ELEMENTS);
        let bits = requantize(&mut gates, &WIDTHS, &form).unwrap();
        to_arithmetic(&mut link, &bits, ELEMENTS, ARITHMETIC_BITS, 0, conversion).unwrap()
    };
    let (client, server, _) =
        both(|channel| party(Role::Client, channel), |channel| party(Role::Server, channel));
    let (x, y) = (words(Role::Server), words(Role::Client));
    for index in 0..ELEMENTS {
        let unused = u64::BITS - WIDTHS.word_bits();
        let sum = (x[index].wrapping_add(y[index]) << unused).cast_signed() >> unused;
        let expected = (sum >> WIDTHS.removed_bits()).clamp(0, 15).cast_unsigned();
        let found = client[index].wrapping_add(server[index]) & mask(ARITHMETIC_BITS);
        assert_eq!(found, expected, "element {index}");
    }
    if let Some(peak) = ProcessUsage::now().peak_rss_bytes {
        assert!(peak < LIMIT_BYTES, "{peak}");
    }
}
