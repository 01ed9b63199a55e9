//! Interactive steps between two parties on ideal random OTs: results against their definitions, and
//! traffic against the count.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "clippy exempts test functions, not their helpers"
)]

use heq_ir::plan::to_arithmetic_bytes;
use heq_ir::protocol::count::CountMachine;
use heq_ir::protocol::max_pool::max_over_positions;
use heq_ir::protocol::open as opening;
use heq_ir::protocol::requantize::{RequantizeForm, RequantizeWidths, requantize};
use heq_ir::protocol::table::TableWidths;
use heq_ir::traffic::{RotCounts, Traffic, wire_bytes};
use heq_net::{Meter, memory};
use heq_ot::ideal::ideal_rot;
use heq_ot::{RotReceiverPool, RotSenderPool};
use heq_runtime::error::RunError;
use heq_runtime::protocol::gates::Gates;
use heq_runtime::protocol::open::{open, open_bits};
use heq_runtime::protocol::to_arithmetic::to_arithmetic;
use heq_runtime::protocol::{Link, Role, table};
use heq_runtime::share::{Plane, mask};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// Runs `step` as both parties with exactly `rots` ideal random OTs; returns client's and server's
/// results and the client's meter.
fn two_parties<T: Send>(
    rots: RotCounts,
    step: impl Fn(&mut Link<'_>) -> Result<T, RunError> + Sync,
) -> (T, T, Meter) {
    let mut rng = ChaCha20Rng::seed_from_u64(11);
    let mut pools = |count: u64| {
        let (sent, received) = ideal_rot(usize::try_from(count).unwrap(), &mut rng);
        let (mut sender, mut receiver) = (RotSenderPool::new(), RotReceiverPool::new());
        sender.push(sent);
        receiver.push(received);
        (sender, receiver)
    };
    let (mut server_sender, mut client_receiver) = pools(rots.server_sends);
    let (mut client_sender, mut server_receiver) = pools(rots.client_sends);
    let (mut client_end, mut server_end) = memory::pair();
    let step = &step;
    let (client, server) = std::thread::scope(|scope| {
        let server = scope.spawn(move || {
            let result = step(&mut Link {
                role: Role::Server,
                channel: &mut server_end,
                sender: &mut server_sender,
                receiver: &mut server_receiver,
            });
            assert_eq!((server_sender.len(), server_receiver.len()), (0, 0), "OTs left over");
            result
        });
        let client = step(&mut Link {
            role: Role::Client,
            channel: &mut client_end,
            sender: &mut client_sender,
            receiver: &mut client_receiver,
        });
        (client.unwrap(), server.join().unwrap().unwrap())
    });
    (client, server, client_end.snapshot())
}

fn check_traffic(meter: Meter, traffic: &Traffic) {
    assert_eq!((meter.bytes_sent, meter.bytes_received), traffic.wire_bytes());
    let flights = heq_ir::traffic::FlightClock::default().advance(traffic);
    assert_eq!(u64::from(meter.horizon), flights);
}

fn open_planes(a: &[Plane], b: &[Plane], elements: usize) -> Vec<u64> {
    let bit = |i: usize, j: usize| (a[j].bit(i) ^ b[j].bit(i)) << j;
    (0..elements).map(|i| (0..a.len()).map(|j| bit(i, j)).sum()).collect()
}

fn planes_of(values: &[u64], bits: u32) -> Vec<Plane> {
    let plane = |j: u32| Plane::from_bits(values.len(), values.iter().map(|v| v >> j & 1));
    (0..bits).map(plane).collect()
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

#[test]
fn requantization_is_exact_at_every_pair_of_shares() {
    for (acc_bits, guard_bits, shift, limit, digit_bits) in [
        (6, 1, 2, 3, 2),
        (6, 1, 0, 7, 1),
        (7, 0, 3, 1, 3),
        (6, 1, 1, 15, 4),
        (5, 1, 1, 2, 2),
        (5, 1, 0, 9, 3),
        (4, 2, 0, 5, 2),
        (6, 0, 0, 4, 1),
        (6, 0, 0, 31, 1),
    ] {
        let result_bits = u32::BITS - u32::leading_zeros(limit);
        let widths = RequantizeWidths { acc_bits, guard_bits, shift, result_bits, limit };
        assert!(widths.is_valid(), "{widths:?}");
        let form = RequantizeForm { digit_bits };
        let pairs = all_pairs(widths.word_bits());
        let mut counter = CountMachine::new(pairs.len());
        requantize(&mut counter, &widths, &form).unwrap();
        let traffic = counter.finish();
        let (client, server, meter) = two_parties(traffic.rots, |link| {
            let words = own_words(link.role, &pairs);
            requantize(&mut Gates::new(link, &words, words.len()), &widths, &form)
        });
        check_traffic(meter, &traffic);
        for (found, &pair) in open_planes(&client, &server, pairs.len()).iter().zip(&pairs) {
            let sum = signed_sum(pair, widths.word_bits()) >> widths.removed_bits();
            let expected = sum.clamp(0, i64::from(limit));
            assert_eq!(found.cast_signed(), expected, "{widths:?} m={digit_bits}: {pair:?}");
        }
    }
}

#[test]
fn maximum_of_shared_values() {
    for (bits, positions, elements) in [(4, 4, 100), (2, 9, 65), (1, 3, 8), (8, 2, 300)] {
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let values: Vec<Vec<u64>> = (0..positions)
            .map(|_| (0..elements).map(|_| rng.next_u64() & mask(bits)).collect())
            .collect();
        let masks: Vec<Vec<u64>> = values
            .iter()
            .map(|v| v.iter().map(|_| rng.next_u64() & mask(bits)).collect())
            .collect();
        let mut counter = CountMachine::new(elements);
        max_over_positions(&mut counter, vec![vec![(); bits as usize]; positions]).unwrap();
        let traffic = counter.finish();
        let (client, server, meter) = two_parties(traffic.rots, |link| {
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
            max_over_positions(&mut Gates::new(link, &[], elements), planes)
        });
        check_traffic(meter, &traffic);
        for (i, found) in open_planes(&client, &server, elements).into_iter().enumerate() {
            assert_eq!(Some(found), values.iter().map(|v| v[i]).max(), "{bits} bits, element {i}");
        }
    }
}

#[test]
fn bits_become_arithmetic_shares() {
    for (planes, bits, lo) in [(4, 16, 0), (3, 4, -4), (1, 2, 0), (8, 48, -128), (4, 5, 100)] {
        let elements = 1 << (2 * planes.min(5));
        let (up, down) = to_arithmetic_bytes(elements, planes, bits);
        let rots = RotCounts { server_sends: u64::from(planes) * elements as u64, client_sends: 0 };
        let share = |role: Role, i: usize| match role {
            Role::Client => i as u64 & mask(planes),
            Role::Server => (i as u64 >> planes) & mask(planes),
        };
        let (client, server, meter) = two_parties(rots, |link| {
            let role = link.role;
            let planes: Vec<Plane> = (0..planes)
                .map(|j| Plane::from_bits(elements, (0..elements).map(|i| share(role, i) >> j & 1)))
                .collect();
            to_arithmetic(link, &planes, elements, bits, lo)
        });
        assert_eq!((meter.bytes_sent, meter.bytes_received), (wire_bytes(up), wire_bytes(down)));
        assert_eq!(meter.horizon, 1);
        for i in 0..elements {
            let value = share(Role::Client, i) ^ share(Role::Server, i);
            let expected = value.wrapping_add(lo.cast_unsigned()) & mask(bits);
            assert_eq!(client[i].wrapping_add(server[i]) & mask(bits), expected, "{planes} {bits}");
        }
    }
}

#[test]
fn opening_removes_the_guard_bits() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let check = |acc_bits: u32, guard_bits: u32, pairs: &[(u64, u64)]| {
        let traffic = opening::traffic(pairs.len(), acc_bits, guard_bits);
        let (client, server, meter) = two_parties(traffic.rots, |link| {
            let words = own_words(link.role, pairs);
            open(link, &words, acc_bits, guard_bits)
        });
        assert!(server.is_empty());
        check_traffic(meter, &traffic);
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
        let (client, server, meter) = two_parties(traffic.rots, |link| {
            let planes = planes_of(&own_words(link.role, &pairs), bits);
            open_bits(link, &planes, elements)
        });
        assert!(server.is_empty());
        check_traffic(meter, &traffic);
        assert_eq!(client, pairs.iter().map(|(x, y)| x ^ y).collect::<Vec<_>>());
    }
}

/// Looks up `pairs` of shares in `tables`; returns both parties' shares of the entries.
fn check_table(widths: TableWidths, pairs: &[(u64, u64)], tables: &[u8]) -> (Vec<u64>, Vec<u64>) {
    let elements = pairs.len();
    let traffic = widths.traffic(elements);
    let (client, server, meter) = two_parties(traffic.rots, |link| {
        let input = planes_of(&own_words(link.role, pairs), widths.input_bits);
        match link.role {
            Role::Client => table::client(link, &widths, &input, elements),
            Role::Server => table::server(link, &widths, &input, elements, tables),
        }
    });
    check_traffic(meter, &traffic);
    let per_table = elements / (tables.len() / widths.entries());
    for (i, (found, (x, y))) in
        open_planes(&client, &server, elements).iter().zip(pairs).enumerate()
    {
        let table = &tables[i / per_table * widths.entries()..][..widths.entries()];
        let expected = u64::from(table[(x ^ y) as usize]) & mask(widths.result_bits);
        assert_eq!(*found, expected, "{widths:?}, element {i}");
    }
    let zero = planes_of(&vec![0; elements], widths.result_bits);
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
        let refused = alone(Role::Server, 0, &[], |link| {
            let input = planes_of(&[0; 8], input_bits);
            table::server(link, &widths, &input, 8, &vec![0; table_bytes])
        });
        assert!(matches!(refused, RunError::Internal { .. }), "{table_bytes}: {refused:?}");
    }
}

/// Runs `step` as `role`, whose peer has sent `message` and nothing else; returns its error.
fn alone<T>(
    role: Role,
    rots: u64,
    message: &[u8],
    step: impl Fn(&mut Link<'_>) -> Result<T, RunError>,
) -> RunError {
    let mut rng = ChaCha20Rng::seed_from_u64(12);
    let (mut sender, mut receiver) = (RotSenderPool::new(), RotReceiverPool::new());
    let (sent, received) = ideal_rot(usize::try_from(rots).unwrap(), &mut rng);
    sender.push(sent);
    receiver.push(received);
    let (mut own_end, mut peer_end) = memory::pair();
    peer_end.send(message).unwrap();
    let link =
        &mut Link { role, channel: &mut own_end, sender: &mut sender, receiver: &mut receiver };
    step(link).map(|_| ()).unwrap_err()
}

#[test]
fn messages_of_another_length_are_the_peers_fault() {
    let widths = TableWidths { input_bits: 3, result_bits: 2 };
    let elements = 20;
    let planes = || planes_of(&[0; 20], 3);
    let words = [0; 20];
    type Step<'a> = &'a dyn Fn(&mut Link<'_>) -> Result<(), RunError>;
    let open_guarded = |g: u32| move |link: &mut Link<'_>| open(link, &words, 9, g).map(|_| ());
    let steps: [(&str, Role, Traffic, Step<'_>); 7] = [
        ("exact", Role::Client, opening::traffic(elements, 9, 0), &open_guarded(0)),
        ("guarded", Role::Client, opening::traffic(elements, 9, 2), &open_guarded(2)),
        ("guarded", Role::Server, opening::traffic(elements, 9, 2), &open_guarded(2)),
        ("bits", Role::Client, opening::bits_traffic(elements, 3), &|link| {
            open_bits(link, &planes(), elements).map(|_| ())
        }),
        ("table", Role::Client, widths.traffic(elements), &|link| {
            table::client(link, &widths, &planes(), elements).map(|_| ())
        }),
        ("table", Role::Server, widths.traffic(elements), &|link| {
            table::server(link, &widths, &planes(), elements, &[0; 8]).map(|_| ())
        }),
        ("many guard bits", Role::Client, Traffic::default(), &open_guarded(4)),
    ];
    for (name, role, traffic, step) in steps {
        let (up, down) = traffic.payload_bytes();
        let due = if role == Role::Client { down } else { up } as usize;
        for length in [0, due.saturating_sub(1), due + 1] {
            let error = alone(role, traffic.rots.server_sends, &vec![0; length], step);
            let blamed = matches!(error, RunError::PeerMisbehaved { .. });
            let internal = matches!(error, RunError::Internal { .. });
            assert_eq!((blamed, internal), (due > 0, due == 0), "{name} as {role:?}: {error:?}");
        }
    }
}
