//! Interactive steps between two parties on ideal random OTs: results against their definitions, and
//! traffic against the count.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "clippy exempts test functions, not their helpers"
)]

use heq_ir::plan::{open_bytes, to_arithmetic_bytes};
use heq_ir::protocol::count::CountMachine;
use heq_ir::protocol::max_pool::max_over_positions;
use heq_ir::protocol::requantize::{RequantizeForm, RequantizeWidths, requantize};
use heq_ir::traffic::{RotCounts, Traffic, wire_bytes};
use heq_net::{Meter, memory};
use heq_ot::ideal::ideal_rot;
use heq_ot::{RotReceiverPool, RotSenderPool};
use heq_runtime::error::RunError;
use heq_runtime::protocol::gates::Gates;
use heq_runtime::protocol::open::open;
use heq_runtime::protocol::to_arithmetic::to_arithmetic;
use heq_runtime::protocol::{Link, Role};
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

#[test]
fn requantization_is_exact_at_every_pair_of_shares() {
    for (acc_bits, shift, result_bits, digit_bits) in
        [(6, 2, 2, 2), (6, 0, 3, 1), (7, 3, 1, 3), (6, 1, 4, 4)]
    {
        let widths = RequantizeWidths { acc_bits, guard_bits: 1, shift, result_bits };
        let form = RequantizeForm { digit_bits };
        let words = 1_u64 << widths.word_bits();
        let pairs: Vec<(u64, u64)> =
            (0..words).flat_map(|x| (0..words).map(move |y| (x, y))).collect();
        let mut counter = CountMachine::new(pairs.len());
        requantize(&mut counter, &widths, &form).unwrap();
        let traffic = counter.finish();
        let (client, server, meter) = two_parties(traffic.rots, |link| {
            let role = link.role;
            let own = |&(x, y): &(u64, u64)| if role == Role::Server { x } else { y };
            let words: Vec<u64> = pairs.iter().map(own).collect();
            requantize(&mut Gates::new(link, &words, words.len()), &widths, &form)
        });
        check_traffic(meter, &traffic);
        let unused = 64 - widths.word_bits();
        for (found, (x, y)) in open_planes(&client, &server, pairs.len()).iter().zip(&pairs) {
            let sum = (x.wrapping_add(*y) << unused).cast_signed() >> unused;
            let expected = (sum >> widths.removed_bits()).clamp(0, (1 << result_bits) - 1);
            assert_eq!(found.cast_signed(), expected, "{widths:?} m={digit_bits}: {x}+{y}");
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
fn opening_removes_the_guard_bit() {
    let acc_bits = 5;
    let words = 1_u64 << (acc_bits + 1);
    let pairs: Vec<(u64, u64)> = (0..words).flat_map(|x| (0..words).map(move |y| (x, y))).collect();
    let (up, down) = open_bytes(pairs.len(), acc_bits);
    let rots = RotCounts { server_sends: pairs.len() as u64, client_sends: 0 };
    let (client, server, meter) = two_parties(rots, |link| {
        let role = link.role;
        let own = |&(x, y): &(u64, u64)| if role == Role::Server { x } else { y };
        open(link, &pairs.iter().map(own).collect::<Vec<_>>(), acc_bits)
    });
    assert!(server.is_empty());
    assert_eq!((meter.bytes_sent, meter.bytes_received), (wire_bytes(up), wire_bytes(down)));
    assert_eq!(meter.horizon, 2);
    for (found, (x, y)) in client.iter().zip(&pairs) {
        let sum = ((x + y) << (63 - acc_bits)).cast_signed() >> (63 - acc_bits);
        assert_eq!(*found, sum >> 1, "{x}+{y}");
    }
}
