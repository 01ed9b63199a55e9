//! Interactive steps between two parties on ideal random OTs: results against their definitions, and
//! traffic against the count.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "clippy exempts test functions, not their helpers"
)]

#[path = "common/steps.rs"]
mod steps;

use heq_ir::protocol::adder::{AdderForm, CarryForm};
use heq_ir::protocol::count::CountMachine;
use heq_ir::protocol::max_pool::{ComparisonForm, max_over_positions};
use heq_ir::protocol::open as opening;
use heq_ir::protocol::requantize::{RequantizeForm, RequantizeWidths, requantize as circuit};
use heq_ir::protocol::table::TableWidths;
use heq_ir::protocol::to_arithmetic::ToArithmeticForm;
use heq_ir::protocol::top::{self as ranking, TopSource};
use heq_ir::protocol::{Digit, Equality, PlaneMachine, Products};
use heq_ir::rounding::EarlyRounding;
use heq_ir::secure::Domain;
use heq_ir::traffic::Traffic;
use heq_net::memory;
use heq_runtime::error::RunError;
use heq_runtime::protocol::gates::Gates;
use heq_runtime::protocol::open::{open, open_bits};
use heq_runtime::protocol::requantize::requantize;
use heq_runtime::protocol::to_arithmetic::to_arithmetic;
use heq_runtime::protocol::{Link, Role, table, top};
use heq_runtime::share::{Plane, mask, planes_of_words, words_of_planes};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use steps::{check_traffic, ideal_stocks, received_bytes, two_parties};

fn open_planes(a: &[Plane], b: &[Plane], elements: usize) -> Vec<u64> {
    let sums: Vec<Plane> = a.iter().zip(b).map(|(a, b)| a.xor(b)).collect();
    words_of_planes(&sums, elements).to_vec()
}

/// All pairs of words of `bits` bits: the server's, then the client's.
fn all_pairs(bits: u32) -> Vec<(u64, u64)> {
    (0..1 << bits).flat_map(|x| (0..1 << bits).map(move |y| (x, y))).collect()
}

fn own_words(role: Role, pairs: &[(u64, u64)]) -> Vec<u64> {
    pairs.iter().map(|&(x, y)| if role == Role::Server { x } else { y }).collect()
}

/// The sum of a pair mod `2^bits`, read as signed.
fn signed_sum((x, y): (u64, u64), bits: u32) -> i64 {
    (x.wrapping_add(y) << (64 - bits)).cast_signed() >> (64 - bits)
}

/// The form that compares the low `compared_bits` bits in digits of `digit_bits`.
fn carry(compared_bits: u32, digit_bits: u32) -> CarryForm {
    CarryForm { compared_bits, digit_bits }
}

#[test]
fn early_rounding_is_exact_given_the_shares() {
    for (acc_bits, guard_bits, max_delta, rounded_bits, shift, lo, limit) in [
        (7, 1, 1, 2, 2, 0, 7),
        (7, 1, 1, 3, 1, -4, 6),
        (6, 2, 3, 3, 2, -1, 3),
        (6, 2, 2, 4, 1, 0, 1),
    ] {
        let domain = Domain::Accumulator { acc_bits, guard_bits, max_delta, rounded_bits };
        let rounding = EarlyRounding::of(domain).unwrap();
        let (word_bits, left) = (acc_bits + guard_bits, acc_bits + guard_bits - rounded_bits);
        let result_bits = u32::BITS - u32::leading_zeros(limit);
        let widths = RequantizeWidths { acc_bits: left, guard_bits: 0, shift, result_bits, limit };
        assert!(widths.is_valid(), "{widths:?}");
        let select = AdderForm::Select;
        let form = RequantizeForm { carry: carry(shift, 2), sums: select, range: select };
        let pairs = all_pairs(word_bits);
        let mut counter = CountMachine::new(pairs.len());
        circuit(&mut counter, &widths, &form).unwrap();
        let traffic = counter.finish();
        let (client, server, meter) = two_parties(&traffic.rots, |link| {
            let words = own_words(link.role, &pairs);
            requantize(link, Some(rounding), &widths, lo, &form, &words)
        });
        check_traffic(meter, &traffic, "");
        let constant = ((1 << rounded_bits) + (1 << guard_bits) - 2 - u64::from(max_delta)) / 2;
        for (found, &(x, y)) in open_planes(&client, &server, pairs.len()).iter().zip(&pairs) {
            let rounded = ((x + constant) % (1 << word_bits)) >> rounded_bits;
            let words = (rounded, y >> rounded_bits);
            let offset = (1 << (shift - 1)) - (lo << shift);
            let moved = (words.0.wrapping_add_signed(offset), words.1);
            let expected = (signed_sum(moved, left) >> shift).clamp(0, i64::from(limit));
            assert_eq!(found.cast_signed(), expected, "{domain:?} {widths:?}: {x} {y}");
        }
    }
}

#[test]
fn maximum_of_shared_values() {
    for (bits, positions, elements, form) in [
        (4, 4, 100, ComparisonForm::Tree),
        (4, 4, 100, ComparisonForm::Ripple),
        (2, 9, 65, ComparisonForm::Ripple),
        (1, 3, 8, ComparisonForm::Tree),
        (8, 2, 300, ComparisonForm::Ripple),
        (8, 2, 300, ComparisonForm::Tree),
    ] {
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let values: Vec<Vec<u64>> = (0..positions)
            .map(|_| (0..elements).map(|_| rng.next_u64() & mask(bits)).collect())
            .collect();
        let masks: Vec<Vec<u64>> = values
            .iter()
            .map(|v| v.iter().map(|_| rng.next_u64() & mask(bits)).collect())
            .collect();
        let mut counter = CountMachine::new(elements);
        max_over_positions(&mut counter, vec![vec![(); bits as usize]; positions], form).unwrap();
        let traffic = counter.finish();
        let (client, server, meter) = two_parties(&traffic.rots, |link| {
            let role = link.role;
            let planes = (0..positions)
                .map(|p| {
                    (0..bits)
                        .map(|j| {
                            let own = |i: usize| match role {
                                Role::Client => masks[p][i],
                                Role::Server => masks[p][i] ^ values[p][i],
                            };
                            Plane::from_bits(elements, (0..elements).map(|i| own(i) >> j & 1))
                        })
                        .collect()
                })
                .collect();
            max_over_positions(&mut Gates::new(link, &[], elements), planes, form)
        });
        check_traffic(meter, &traffic, "");
        for (i, found) in open_planes(&client, &server, elements).into_iter().enumerate() {
            assert_eq!(Some(found), values.iter().map(|v| v[i]).max(), "{bits} bits, element {i}");
        }
    }
}

/// Ranks the sums of `pairs` as both parties, and compares indices and traffic.
fn check_top(acc_bits: u32, guard_bits: u32, pairs: &[(u64, u64)], k: usize) {
    let traffic = ranking::traffic(TopSource::Words { acc_bits, guard_bits }, pairs.len(), k);
    let (client, server, meter) = two_parties(&traffic.rots, |link| {
        let words = own_words(link.role, pairs);
        let values = top::values(link, &words, acc_bits, guard_bits)?;
        top::top(link, values, pairs.len(), k)
    });
    check_traffic(meter, &traffic, "");
    let sums: Vec<i64> =
        pairs.iter().map(|&pair| signed_sum(pair, acc_bits + guard_bits) >> guard_bits).collect();
    let mut expected: Vec<usize> = (0..pairs.len()).collect();
    expected.sort_by_key(|&index| (std::cmp::Reverse(sums[index]), index));
    let found = open_planes(&client, &server, k);
    assert!(found.iter().zip(&expected).all(|(&found, &index)| found == index as u64), "{sums:?}");
}

#[test]
fn indices_of_the_largest_sums() {
    let mut rng = ChaCha20Rng::seed_from_u64(13);
    for (acc_bits, guard_bits, count) in
        [(16, 1, 10), (5, 0, 33), (3, 2, 64), (20, 1, 100), (2, 3, 7), (9, 1, 2), (12, 1, 1000)]
    {
        let mut word = || rng.next_u64() & mask(acc_bits + guard_bits);
        let pairs: Vec<_> = (0..count).map(|_| (word(), word())).collect();
        for k in [1, 3, 5].into_iter().filter(|&k| k < count) {
            check_top(acc_bits, guard_bits, &pairs, k);
        }
    }
    // Sums of equal shares differ in nothing but their guard bits.
    check_top(4, 1, &[(6, 8), (6, 9), (31, 30), (7, 8), (0, 15)], 4);
}

#[test]
fn bits_become_arithmetic_shares() {
    let direct = ToArithmeticForm::Direct;
    let lifted = |compared, digit| ToArithmeticForm::Lifted(carry(compared, digit));
    for (planes, bits, lo, form) in [
        (4, 16, 0, direct),
        (3, 4, -4, direct),
        (1, 2, 0, direct),
        (8, 48, -128, direct),
        (4, 5, 100, direct),
        (4, 4, 3, direct),
        (4, 16, 0, lifted(4, 2)),
        (4, 16, -3, lifted(3, 3)),
        (3, 4, -4, lifted(0, 1)),
        (1, 3, 0, lifted(0, 1)),
        (1, 2, 0, lifted(1, 1)),
        (8, 48, -128, lifted(5, 3)),
    ] {
        let elements = 1 << (2 * planes.min(5));
        assert!(form.is_valid(planes, bits), "{form:?}");
        let traffic = form.traffic(elements, planes, bits);
        let share = |role: Role, i: usize| match role {
            Role::Client => i as u64 & mask(planes),
            Role::Server => (i as u64 >> planes) & mask(planes),
        };
        let (client, server, meter) = two_parties(&traffic.rots, |link| {
            let role = link.role;
            let planes: Vec<Plane> = (0..planes)
                .map(|j| Plane::from_bits(elements, (0..elements).map(|i| share(role, i) >> j & 1)))
                .collect();
            to_arithmetic(link, &planes, elements, bits, lo, form)
        });
        check_traffic(meter, &traffic, "");
        for i in 0..elements {
            let value = share(Role::Client, i) ^ share(Role::Server, i);
            let expected = value.wrapping_add(lo.cast_unsigned()) & mask(bits);
            let found = client[i].wrapping_add(server[i]) & mask(bits);
            assert_eq!(found, expected, "{planes} {bits} {form:?}");
        }
    }
}

#[test]
fn opening_removes_the_guard_bits() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let check = |acc_bits: u32, guard_bits: u32, pairs: &[(u64, u64)]| {
        let traffic = opening::traffic(pairs.len(), acc_bits, guard_bits);
        let (client, server, meter) = two_parties(&traffic.rots, |link| {
            let words = own_words(link.role, pairs);
            open(link, &words, acc_bits, guard_bits)
        });
        assert!(server.is_empty());
        check_traffic(meter, &traffic, "");
        for (found, &pair) in client.iter().zip(pairs) {
            let expected = signed_sum(pair, acc_bits + guard_bits) >> guard_bits;
            assert_eq!(*found, expected, "l={acc_bits} g={guard_bits} {pair:?}");
        }
    };
    for (acc_bits, guard_bits) in [(5, 0), (5, 1), (4, 2), (4, 3), (1, 2)] {
        check(acc_bits, guard_bits, &all_pairs(acc_bits + guard_bits));
    }
    for (acc_bits, guard_bits) in [(48, 0), (47, 1), (46, 2), (45, 3)] {
        let mut word = || rng.next_u64() & mask(acc_bits + guard_bits);
        let pairs: Vec<_> = (0..99).map(|_| (word(), word())).collect();
        check(acc_bits, guard_bits, &pairs);
    }
}

#[test]
fn opening_of_bits() {
    for (bits, elements) in [(1, 1), (4, 100), (8, 64), (3, 0)] {
        let mut rng = ChaCha20Rng::seed_from_u64(4);
        let pairs: Vec<_> = (0..elements)
            .map(|_| (rng.next_u64() & mask(bits), rng.next_u64() & mask(bits)))
            .collect();
        let traffic = opening::bits_traffic(elements, bits);
        let (client, server, meter) = two_parties(&traffic.rots, |link| {
            let planes = planes_of_words(&own_words(link.role, &pairs), bits);
            open_bits(link, &planes, elements)
        });
        assert!(server.is_empty());
        check_traffic(meter, &traffic, "");
        assert_eq!(client, pairs.iter().map(|(x, y)| x ^ y).collect::<Vec<_>>());
    }
}

/// Looks up `pairs` of shares in `tables`; returns both parties' shares of the entries.
fn check_table(widths: TableWidths, pairs: &[(u64, u64)], tables: &[u8]) -> (Vec<u64>, Vec<u64>) {
    let elements = pairs.len();
    let traffic = widths.traffic(elements);
    let (client, server, meter) = two_parties(&traffic.rots, |link| {
        let input = planes_of_words(&own_words(link.role, pairs), widths.input_bits);
        match link.role {
            Role::Client => table::client(link, &widths, &input, elements),
            Role::Server => table::server(link, &widths, &input, elements, tables),
        }
    });
    check_traffic(meter, &traffic, "");
    let per_table = elements / (tables.len() / widths.entries());
    for (i, (found, (x, y))) in
        open_planes(&client, &server, elements).iter().zip(pairs).enumerate()
    {
        let table = &tables[i / per_table * widths.entries()..][..widths.entries()];
        let expected = u64::from(table[(x ^ y) as usize]) & mask(widths.result_bits);
        assert_eq!(*found, expected, "{widths:?}, element {i}");
    }
    let zero = planes_of_words(&vec![0; elements], widths.result_bits);
    (open_planes(&client, &zero, elements), open_planes(&server, &zero, elements))
}

#[test]
fn table_look_up_at_every_pair_of_shares() {
    for (input_bits, result_bits, channels) in
        [(1, 1, 1), (2, 3, 1), (3, 8, 4), (4, 4, 1), (5, 2, 2), (6, 5, 1), (7, 8, 1), (8, 1, 1)]
    {
        let mut rng = ChaCha20Rng::seed_from_u64(8);
        let widths = TableWidths { input_bits, result_bits };
        let mut tables = vec![0; channels * widths.entries()];
        rng.fill_bytes(&mut tables);
        let mut pairs = all_pairs(input_bits.min(5));
        let unused = 8 - input_bits;
        for (x, y) in pairs.iter_mut().filter(|_| input_bits > 5) {
            (*x, *y) = (rng.next_u64() & 0xff >> unused, rng.next_u64() & 0xff >> unused);
        }
        let pairs = pairs.repeat(channels);
        check_table(widths, &pairs, &tables);
        check_table(widths, &pairs[..pairs.len().min(13 * channels)], &tables);
    }
}

#[test]
fn table_look_up_in_several_chunks() {
    let mut rng = ChaCha20Rng::seed_from_u64(9);
    let widths = TableWidths { input_bits: 3, result_bits: 2 };
    for (elements, count) in [(8192, 1), (8193, 3), (3 * 8192 + 100, 4), (16_400, 16_400)] {
        let mut tables = vec![0; count * widths.entries()];
        rng.fill_bytes(&mut tables);
        let pairs: Vec<_> =
            (0..elements).map(|_| (rng.next_u64() & 7, rng.next_u64() & 7)).collect();
        check_table(widths, &pairs, &tables);
    }
}

#[test]
fn shares_of_table_entries_are_balanced() {
    let widths = TableWidths { input_bits: 2, result_bits: 3 };
    for shares in [(0, 0), (0, 3), (3, 0), (2, 1)] {
        let (client, server) = check_table(widths, &vec![shares; 4000], &[5, 0, 7, 2]);
        for (party, values) in [("client", client), ("server", server)] {
            for value in 0..8 {
                let count = values.iter().filter(|&&found| found == value).count();
                // 500 expected, standard deviation 21.
                assert!((375..=625).contains(&count), "{party} {shares:?}: {value} {count} times");
            }
        }
    }
}

#[test]
fn tables_that_do_not_fit_are_refused() {
    let widths = TableWidths { input_bits: 2, result_bits: 3 };
    let wide = TableWidths { input_bits: 9, result_bits: 3 };
    for (widths, input_bits, table_bytes) in
        [(widths, 2, 0), (widths, 2, 7), (widths, 2, 12), (widths, 3, 4), (wide, 9, 512)]
    {
        let refused = alone(Role::Server, &Traffic::default(), &[], |link| {
            let input = planes_of_words(&[0; 8], input_bits);
            table::server(link, &widths, &input, 8, &vec![0; table_bytes]).map(|_| ())
        });
        assert!(matches!(refused, RunError::Internal { .. }), "{table_bytes}: {refused:?}");
    }
}

/// Runs `step` as `role`, whose peer has sent `messages` of these lengths; returns its error.
fn alone(
    role: Role,
    traffic: &Traffic,
    messages: &[usize],
    step: impl Fn(&mut Link<'_>) -> Result<(), RunError>,
) -> RunError {
    let stocks = ideal_stocks(&traffic.rots, &mut ChaCha20Rng::seed_from_u64(12));
    let [client, server] = stocks;
    let (mut own_end, mut peer_end) = memory::pair();
    messages.iter().for_each(|&length| peer_end.send(&vec![0; length]).unwrap());
    let mut stocks = if role == Role::Client { client } else { server };
    step(&mut stocks.link(role, &mut own_end)).unwrap_err()
}

#[test]
fn messages_of_another_length_are_the_peers_fault() {
    const ELEMENTS: usize = 20;
    type Run<'a> = &'a dyn Fn(&mut Link<'_>) -> Result<(), RunError>;
    let words = [0; ELEMENTS];
    let planes = |bits| planes_of_words(&words, bits);
    let tables = TableWidths { input_bits: 3, result_bits: 2 };
    let widths =
        RequantizeWidths { acc_bits: 9, guard_bits: 1, shift: 3, result_bits: 3, limit: 7 };
    let digits = [(0, 2, Equality::Unused), (2, 3, Equality::Shared)]
        .map(|(low, width, equality)| Digit { low, width, equality });
    let groups =
        [1, 3].map(|others| Products { common: planes(1).remove(0), others: planes(others) });
    let counted = |count: &dyn Fn(&mut CountMachine)| {
        let mut machine = CountMachine::new(ELEMENTS);
        count(&mut machine);
        machine.finish()
    };
    let count_groups =
        groups.clone().map(|group| Products { common: (), others: vec![(); group.others.len()] });
    let (select, digits_of_two) = (AdderForm::Select, carry(3, 2));
    let form = RequantizeForm { carry: digits_of_two, sums: select, range: select };
    let to_arithmetics = [ToArithmeticForm::Direct, ToArithmeticForm::Lifted(digits_of_two)];
    let tree = ComparisonForm::Tree;
    let guarded = |g: u32| move |link: &mut Link<'_>| open(link, &words, 9, g).map(|_| ());
    let [direct, lifted] = to_arithmetics.map(|form| {
        move |link: &mut Link<'_>| {
            to_arithmetic(link, &planes(3), ELEMENTS, 9, -4, form).map(|_| ())
        }
    });
    let steps: [(&str, Traffic, Run<'_>); 11] = [
        ("exact", opening::traffic(ELEMENTS, 9, 0), &guarded(0)),
        ("guarded", opening::traffic(ELEMENTS, 9, 2), &guarded(2)),
        ("bits", opening::bits_traffic(ELEMENTS, 3), &|link| {
            open_bits(link, &planes(3), ELEMENTS).map(|_| ())
        }),
        ("table", tables.traffic(ELEMENTS), &|link| {
            match link.role {
                Role::Client => table::client(link, &tables, &planes(3), ELEMENTS),
                Role::Server => table::server(link, &tables, &planes(3), ELEMENTS, &[0; 8]),
            }
            .map(|_| ())
        }),
        ("table in chunks", tables.traffic(8200), &|link| {
            let input = planes_of_words(&[0; 8200], 3);
            match link.role {
                Role::Client => table::client(link, &tables, &input, 8200),
                Role::Server => table::server(link, &tables, &input, 8200, &[0; 8]),
            }
            .map(|_| ())
        }),
        ("arithmetic", to_arithmetics[0].traffic(ELEMENTS, 3, 9), &direct),
        ("arithmetic, lifted", to_arithmetics[1].traffic(ELEMENTS, 3, 9), &lifted),
        ("products", counted(&|machine| drop(machine.and(&count_groups))), &|link| {
            Gates::new(link, &[], ELEMENTS).and(&groups).map(|_| ())
        }),
        ("digits", counted(&|machine| drop(machine.compare_digits(&digits))), &|link| {
            let words = planes(5);
            Gates::new(link, &words, ELEMENTS).compare_digits(&digits).map(|_| ())
        }),
        ("requantization", counted(&|machine| drop(circuit(machine, &widths, &form))), &|link| {
            circuit(&mut Gates::new(link, &planes(10), ELEMENTS), &widths, &form).map(|_| ())
        }),
        (
            "maximum",
            counted(&|machine| drop(max_over_positions(machine, vec![vec![(); 3]; 3], tree))),
            &|link| {
                let positions = (0..3).map(|_| planes(3)).collect();
                max_over_positions(&mut Gates::new(link, &[], ELEMENTS), positions, tree)
                    .map(|_| ())
            },
        ),
    ];
    for (name, traffic, step) in steps {
        for role in [Role::Client, Role::Server] {
            let lengths = received_bytes(&traffic, role);
            for (index, &due) in lengths.iter().enumerate() {
                for length in [0, due - 1, due + 1] {
                    let messages = [&lengths[..index], &[length]].concat();
                    let error = alone(role, &traffic, &messages, step);
                    let blamed = matches!(error, RunError::PeerMisbehaved { .. });
                    assert!(blamed, "{name} as {role:?}, message {index}: {error:?}");
                }
            }
        }
    }
    let error = alone(Role::Client, &Traffic::default(), &[], guarded(4));
    assert!(matches!(error, RunError::Internal { .. }), "too many guard bits: {error:?}");
}
