//! Shares of results, of either party at every step, and all messages of the steps: uniform, whatever the
//! values and the shares of the operands are.

use super::recording::{Frame, recorded};
use super::statistics::{check_bytes, check_uniform};
use super::steps::{Stocks, ideal_stocks};
use heq_ir::protocol::adder::{AdderForm, CarryForm};
use heq_ir::protocol::count::CountMachine;
use heq_ir::protocol::max_pool::{ComparisonForm, max_over_positions};
use heq_ir::protocol::open as opening;
use heq_ir::protocol::requantize::{RequantizeForm, RequantizeWidths, requantize};
use heq_ir::protocol::table::TableWidths;
use heq_ir::protocol::to_arithmetic::ToArithmeticForm;
use heq_ir::protocol::{Comparison, Digit, Equality, PlaneMachine, Products};
use heq_ir::traffic::Traffic;
use heq_runtime::error::RunError;
use heq_runtime::protocol::gates::Gates;
use heq_runtime::protocol::open::open;
use heq_runtime::protocol::to_arithmetic::to_arithmetic;
use heq_runtime::protocol::{Link, Role, table};
use heq_runtime::share::{Plane, planes_of_words, words_of_planes};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

const ELEMENTS: usize = 1 << 14;

/// The words that the parties' operands are made of: of all elements the same.
const OPERANDS: [[u64; 2]; 3] = [[0, 0], [0x2a5, 0x1c3], [u64::MAX, 1]];

/// A party's shares of the results, and their width; none of what is opened.
type Results = Vec<(Vec<u64>, u32)>;

type Run<'a> = &'a (dyn Fn(&mut Link<'_>) -> Result<Results, RunError> + Sync);

fn of_planes(planes: &[Plane]) -> Results {
    vec![(words_of_planes(planes, ELEMENTS).to_vec(), planes.len() as u32)]
}

fn of_comparisons(comparisons: Vec<Comparison<Plane>>) -> Results {
    let planes = comparisons.into_iter().flat_map(|found| [Some(found.greater), found.equal]);
    planes.flatten().flat_map(|plane| of_planes(&[plane])).collect()
}

/// Runs a step as both parties; returns their shares, and the messages of each.
fn run(traffic: &Traffic, step: Run<'_>) -> [(Results, Vec<Vec<u8>>); 2] {
    let mut rng = ChaCha20Rng::seed_from_u64(41);
    let [client_stocks, server_stocks] = ideal_stocks(&traffic.rots, &mut rng);
    let party = |role: Role, mut stocks: Stocks| {
        move |mut channel: heq_net::Channel| step(&mut stocks.link(role, &mut channel)).unwrap()
    };
    let (client, server, frames) =
        recorded(party(Role::Client, client_stocks), party(Role::Server, server_stocks));
    let [up, down] = frames.map(|frames: Vec<Frame>| {
        frames.into_iter().map(|frame| frame.payload).collect::<Vec<_>>()
    });
    [(client, up), (server, down)]
}

fn counted(count: impl Fn(&mut CountMachine)) -> Traffic {
    let mut machine = CountMachine::new(ELEMENTS);
    count(&mut machine);
    machine.finish()
}

#[test]
fn shares_and_messages_of_every_step_are_uniform() {
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
    let bits =
        [(0, 1), (3, 1)].map(|(low, width)| Digit { low, width, equality: Equality::Unused });
    let products = |others: usize| Products { common: (), others: vec![(); others] };
    let trees = [ComparisonForm::Ripple, ComparisonForm::Tree];
    for operands in OPERANDS {
        let words = |link: &Link<'_>| [operands[usize::from(link.role == Role::Server)]; ELEMENTS];
        let planes = |link: &Link<'_>, bits: u32| planes_of_words(&words(link), bits);
        let requantized = |form: usize| {
            move |link: &mut Link<'_>| {
                let words = planes(link, 13);
                let mut gates = Gates::new(link, &words, ELEMENTS);
                Ok(of_planes(&requantize(&mut gates, &widths, &forms[form])?))
            }
        };
        // The lowest bit of an arithmetic share is that of the operand's: shares of one value, uniform.
        let value = operands[0] ^ operands[1];
        let uniform = |link: &Link<'_>| {
            let mut rng = ChaCha20Rng::seed_from_u64(42);
            let of_server = if link.role == Role::Server { value } else { 0 };
            let words: Vec<u64> = (0..ELEMENTS).map(|_| rng.next_u64() ^ of_server).collect();
            planes_of_words(&words, 5)
        };
        let converted = |form| {
            move |link: &mut Link<'_>| {
                let planes = uniform(link);
                Ok(vec![(to_arithmetic(link, &planes, ELEMENTS, 12, -3, form)?.to_vec(), 12)])
            }
        };
        let compared = |digits: Vec<Digit>| {
            move |link: &mut Link<'_>| {
                let words = planes(link, 9);
                let found = Gates::new(link, &words, ELEMENTS).compare_digits(&digits)?;
                Ok(of_comparisons(found))
            }
        };
        let maximum = |form| {
            move |link: &mut Link<'_>| {
                let positions = (0..3).map(|at| planes(link, 3 + at).split_off(at as usize));
                let positions = positions.collect();
                let mut gates = Gates::new(link, &[], ELEMENTS);
                Ok(of_planes(&max_over_positions(&mut gates, positions, form)?))
            }
        };
        let [pooled_ripple, pooled_tree] = trees.map(maximum);
        let count_pool =
            |form| counted(|machine| drop(max_over_positions(machine, vec![vec![(); 3]; 3], form)));
        let count_requantize =
            |form: usize| counted(|machine| drop(requantize(machine, &widths, &forms[form])));
        let steps: [(&str, Traffic, Run<'_>); 11] = [
            (
                "products",
                counted(|machine| drop(machine.and(&[products(1), products(5)]))),
                &|link| {
                    let planes = planes(link, 6);
                    let group = |others: usize| Products {
                        common: planes[0].clone(),
                        others: planes[..others].to_vec(),
                    };
                    let found = Gates::new(link, &[], ELEMENTS).and(&[group(1), group(5)])?;
                    Ok(found.iter().flat_map(|planes| of_planes(planes)).collect())
                },
            ),
            (
                "digits",
                counted(|machine| drop(machine.compare_digits(&digits))),
                &compared(digits.to_vec()),
            ),
            (
                "bits",
                counted(|machine| drop(machine.compare_digits(&bits))),
                &compared(bits.to_vec()),
            ),
            ("requantization by ripple", count_requantize(0), &requantized(0)),
            ("requantization by selection", count_requantize(1), &requantized(1)),
            ("arithmetic", direct.traffic(ELEMENTS, 5, 12), &converted(direct)),
            ("arithmetic, lifted", lifted.traffic(ELEMENTS, 5, 12), &converted(lifted)),
            ("table", tables.traffic(ELEMENTS), &|link| {
                let input = planes(link, 4);
                Ok(of_planes(&match link.role {
                    Role::Client => table::client(link, &tables, &input, ELEMENTS)?,
                    Role::Server => table::server(link, &tables, &input, ELEMENTS, &[5; 16])?,
                }))
            }),
            ("maximum by ripple", count_pool(trees[0]), &pooled_ripple),
            ("maximum by a tree", count_pool(trees[1]), &pooled_tree),
            ("opening", opening::traffic(ELEMENTS, 9, 3), &|link| {
                open(link, &words(link), 9, 3).map(|_| Vec::new())
            }),
        ];
        for (name, traffic, step) in steps {
            for (party, (results, messages)) in ["client", "server"].iter().zip(run(&traffic, step))
            {
                for (index, (shares, bits)) in results.iter().enumerate() {
                    let name = format!("{name} of {operands:x?}: share {index} of the {party}");
                    check_uniform(&name, shares, 1 << bits);
                }
                let name = format!("{name} of {operands:x?}: messages of the {party}");
                assert!(!messages.is_empty(), "{name}");
                check_bytes(&name, &messages);
            }
        }
    }
}
