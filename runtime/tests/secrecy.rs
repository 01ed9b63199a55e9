//! Messages of interactive steps are masked, and no mask serves twice.
//!
//! All elements have the same secrets, so a sum of planes of messages whose masks cancel is constant over
//! the elements. Planes of which no sum is constant are found by elimination: whichever masks two messages
//! of a step, or of two steps, might share, their sum would show it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "clippy exempts test functions alone")]

#[path = "common/steps.rs"]
mod steps;

use heq_ir::protocol::adder::{AdderForm, CarryForm};
use heq_ir::protocol::count::CountMachine;
use heq_ir::protocol::open as opening;
use heq_ir::protocol::requantize::{RequantizeForm, RequantizeWidths, requantize};
use heq_ir::protocol::table::TableWidths;
use heq_ir::protocol::to_arithmetic::ToArithmeticForm;
use heq_ir::protocol::{Digit, Equality, PlaneMachine, Products};
use heq_ir::traffic::Traffic;
use heq_net::memory;
use heq_runtime::error::RunError;
use heq_runtime::protocol::gates::Gates;
use heq_runtime::protocol::open::open;
use heq_runtime::protocol::to_arithmetic::to_arithmetic;
use heq_runtime::protocol::{Link, Role, table};
use heq_runtime::share::planes_of_words;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use steps::{ideal_stocks, received_bytes};

/// Many more than planes in any transcript: of so many independent random planes no sum is constant.
const ELEMENTS: usize = 1024;

type Run<'a> = &'a dyn Fn(&mut Link<'_>) -> Result<(), RunError>;
type Row = [u64; ELEMENTS / 64];

/// The planes that `role` sends, whose peer sends random messages.
fn sent_planes(role: Role, traffic: &Traffic, step: Run<'_>) -> Vec<Row> {
    let mut rng = ChaCha20Rng::seed_from_u64(31);
    let [client, server] = ideal_stocks(&traffic.rots, &mut rng);
    let (mut stocks, peer) =
        if role == Role::Client { (client, Role::Server) } else { (server, Role::Client) };
    let (mut own_end, mut peer_end) = memory::pair();
    for bytes in received_bytes(traffic, role) {
        let mut message = vec![0; bytes];
        rng.fill_bytes(&mut message);
        peer_end.send(&message).unwrap();
    }
    step(&mut stocks.link(role, &mut own_end)).unwrap();
    let mut planes = Vec::new();
    for bytes in received_bytes(traffic, peer) {
        let message = peer_end.recv(bytes).unwrap();
        let words: Vec<u64> =
            message.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        planes.extend_from_slice(words.as_chunks().0);
    }
    planes
}

/// Whether a sum of some of `rows`, at least one, is zero or one everywhere.
fn has_constant_sum(rows: &[Row]) -> bool {
    let mut basis: Vec<(usize, Row)> = Vec::new();
    for row in std::iter::once(&[u64::MAX; ELEMENTS / 64]).chain(rows) {
        let mut rest = *row;
        for (pivot, row) in &basis {
            if rest[pivot / 64] >> (pivot % 64) & 1 == 1 {
                rest.iter_mut().zip(row).for_each(|(a, b)| *a ^= b);
            }
        }
        match (0..ELEMENTS).find(|index| rest[index / 64] >> (index % 64) & 1 == 1) {
            Some(pivot) => basis.push((pivot, rest)),
            None => return true,
        }
    }
    false
}

#[test]
fn no_sum_of_messages_shows_anything() {
    const SECRETS: [u64; 3] = [0, 0x2a5, u64::MAX];
    let widths =
        RequantizeWidths { acc_bits: 12, guard_bits: 1, shift: 6, result_bits: 3, limit: 7 };
    let carry = CarryForm { compared_bits: 5, digit_bits: 3 };
    let forms = [AdderForm::Ripple, AdderForm::Select].map(|adder| RequantizeForm {
        carry,
        sums: adder,
        range: adder,
    });
    let [direct, lifted] = [ToArithmeticForm::Direct, ToArithmeticForm::Lifted(carry)];
    let tables = TableWidths { input_bits: 4, result_bits: 3 };
    let digits = [(0, 4, Equality::Unused), (4, 3, Equality::Shared), (7, 2, Equality::Shared)]
        .map(|(low, width, equality)| Digit { low, width, equality });
    let counted = |count: &dyn Fn(&mut CountMachine)| {
        let mut machine = CountMachine::new(ELEMENTS);
        count(&mut machine);
        machine.finish()
    };
    let factors = |others: usize| Products { common: (), others: vec![(); others] };
    for secret in SECRETS {
        let words = [secret; ELEMENTS];
        let planes = |bits| planes_of_words(&words, bits);
        let steps: [(&str, Traffic, Run<'_>); 8] = [
            (
                "products of two steps",
                counted(&|machine| {
                    let Ok(_) = machine.and(&[factors(1), factors(5)]);
                    let Ok(_) = machine.and(&[factors(3)]);
                }),
                &|link| {
                    let planes = planes(6);
                    let group = |others: usize| Products {
                        common: planes[0].clone(),
                        others: planes[..others].to_vec(),
                    };
                    let mut gates = Gates::new(link, &[], ELEMENTS);
                    gates.and(&[group(1), group(5)])?;
                    gates.and(&[group(3)]).map(|_| ())
                },
            ),
            (
                "digits",
                counted(&|machine| {
                    let Ok(_) = machine.compare_digits(&digits);
                }),
                &|link| {
                    let words = planes(9);
                    Gates::new(link, &words, ELEMENTS).compare_digits(&digits).map(|_| ())
                },
            ),
            (
                "requantization by ripple",
                counted(&|machine| {
                    let Ok(_) = requantize(machine, &widths, &forms[0]);
                }),
                &|link| {
                    let words = planes(13);
                    let mut gates = Gates::new(link, &words, ELEMENTS);
                    requantize(&mut gates, &widths, &forms[0]).map(|_| ())
                },
            ),
            (
                "requantization by selection",
                counted(&|machine| {
                    let Ok(_) = requantize(machine, &widths, &forms[1]);
                }),
                &|link| {
                    let words = planes(13);
                    let mut gates = Gates::new(link, &words, ELEMENTS);
                    requantize(&mut gates, &widths, &forms[1]).map(|_| ())
                },
            ),
            ("arithmetic", direct.traffic(ELEMENTS, 5, 12), &|link| {
                to_arithmetic(link, &planes(5), ELEMENTS, 12, 0, direct).map(|_| ())
            }),
            ("arithmetic, lifted", lifted.traffic(ELEMENTS, 5, 12), &|link| {
                to_arithmetic(link, &planes(5), ELEMENTS, 12, 0, lifted).map(|_| ())
            }),
            ("table", tables.traffic(ELEMENTS), &|link| {
                match link.role {
                    Role::Client => table::client(link, &tables, &planes(4), ELEMENTS),
                    Role::Server => table::server(link, &tables, &planes(4), ELEMENTS, &[5; 16]),
                }
                .map(|_| ())
            }),
            // The client may read one message of the opening; nothing hides that from it.
            ("opening", opening::traffic(ELEMENTS, 9, 3), &|link| {
                open(link, &words, 9, 3).map(|_| ())
            }),
        ];
        for (name, traffic, step) in steps {
            for role in [Role::Client, Role::Server] {
                let mut planes = sent_planes(role, &traffic, step);
                assert!(!planes.is_empty() && planes.len() < ELEMENTS / 2, "{name}");
                assert!(!has_constant_sum(&planes), "{name} of {role:?}, secret {secret:x}");
                // The sum of two planes as a third: what a mask used twice would show.
                let (first, last) = (planes[0], planes[planes.len() - 1]);
                planes.push(std::array::from_fn(|index| !(first[index] ^ last[index])));
                assert!(has_constant_sum(&planes), "{name} of {role:?}");
            }
        }
    }
}
