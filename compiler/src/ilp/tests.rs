//! Solutions of small random programs equal those of trying every choice.

use super::*;

/// Numbers that follow from a seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((word ^ word >> 31) % end).unwrap()
    }

    fn amount(&mut self, most: u64) -> f64 {
        self.below(most) as f64
    }

    fn amounts(&mut self, most: u64) -> Amounts {
        Amounts(Resource::ALL.map(|_| self.amount(most)))
    }
}

/// A program of a few steps, with every kind of constraint by turns.
fn random_program(seed: u64) -> Program {
    let mut numbers = Numbers(seed);
    let sets = 1 + numbers.below(2);
    let mut keys: Vec<Key> =
        (0..sets).map(|_| Key { amounts: numbers.amounts(300), needs: None }).collect();
    for set in 0..sets {
        keys.push(Key { amounts: numbers.amounts(100), needs: Some(set) });
    }
    let steps: Vec<Step> =
        (0..3 + numbers.below(2)).map(|_| Step { count: [1, 2][numbers.below(2)] }).collect();
    let mut candidates = Vec::new();
    for step in 0..steps.len() {
        for _ in 0..2 + numbers.below(2) {
            let rows = [numbers.amount(5000), numbers.amount(5000)];
            let key = numbers.below(2 * keys.len() as u64);
            let keys = if key < keys.len() { vec![key] } else { vec![] };
            let held = [numbers.amount(900), numbers.amount(900)];
            let amounts = numbers.amounts(1000);
            candidates.push(Candidate { steps: vec![step], amounts, rows, keys, held });
        }
    }
    // Several steps at once, in sets that overlap; some with a key.
    for set in [vec![0, 1], vec![0, 1], vec![1, 2], vec![0, 1, 2]] {
        if set.iter().any(|&step| steps[step].count != steps[0].count) {
            continue;
        }
        let rows = [numbers.amount(9000), 0.0];
        let amounts = numbers.amounts(850 * set.len() as u64);
        let held = [numbers.amount(900), numbers.amount(900)];
        let key = numbers.below(2 * keys.len() as u64);
        let keys = if key < keys.len() { vec![key] } else { vec![] };
        candidates.push(Candidate { steps: set, amounts, rows, keys, held });
    }
    let extensions = (0..numbers.below(4)).map(|index| Extension {
        once: numbers.amounts(400),
        row: [Resource::Up, Resource::Down].map(|sent| {
            Amounts::of([(Resource::Production, 0.1), (sent, numbers.amount(8) / 100.0)])
        }),
        iteration: (index > 0).then(|| (7000.0, [numbers.amounts(100), numbers.amounts(100)])),
    });
    let extensions: Vec<Extension> = extensions.collect();
    let pace = |name, resource, unit| Pace { name, per: Amounts::of([(resource, unit)]) };
    let mut program = Program {
        steps,
        candidates,
        keys,
        extensions,
        paces: vec![
            pace("path", Resource::Path, 1.0),
            pace("production", Resource::Production, 1.0),
            pace("server", Resource::ServerCpu, 0.5),
            pace("up", Resource::Up, 0.7),
        ],
        caps: Vec::new(),
        overflow: seed.is_multiple_of(2).then(|| Overflow {
            resource: Resource::Weights,
            free: 1500.0,
            amounts: Amounts::of([(Resource::Path, 0.3)]),
        }),
        base: numbers.amounts(200),
        goal: Amounts::of([(Resource::Path, 0.02), (Resource::Down, numbers.amount(3) / 10.0)]),
        goal_time: 1.0,
    };
    if seed.is_multiple_of(3) {
        let per = Amounts::of([(Resource::Up, 1.0), (Resource::Down, 1.0)]);
        let limit = 2500.0 + numbers.amount(3000);
        program.caps.push(Cap { name: "bytes", per, time: 0.0, held: None, limit });
    }
    if seed.is_multiple_of(5) {
        let per = Amounts::of([(Resource::Setup, 1.0)]);
        let limit = 2000.0 + numbers.amount(3000);
        program.caps.push(Cap { name: "memory", per, time: 0.0, held: Some(1), limit });
        // Of steps that are alike each holds its own.
        program.steps.iter_mut().for_each(|step| step.count = 1);
    }
    program
}

/// The least objective of all choices that keep the limits.
fn least(program: &Program, counts: &mut Vec<u32>) -> Option<f64> {
    let Some(candidate) = program.candidates.get(counts.len()) else {
        let found = program.evaluate(counts);
        let is_kept = found.exceeded.is_none() && program.covers(counts);
        return is_kept.then_some(found.objective);
    };
    let done = |step: usize| -> u32 {
        let chosen = program.candidates.iter().zip(counts.iter());
        chosen.filter(|(of, _)| of.steps.contains(&step)).map(|(_, count)| count).sum()
    };
    let left = |&step: &usize| program.steps[step].count - done(step);
    let most = candidate.steps.iter().map(left).min().unwrap();
    let mut best: Option<f64> = None;
    for count in 0..=most {
        counts.push(count);
        if let Some(found) = least(program, counts) {
            best = Some(best.map_or(found, |best| best.min(found)));
        }
        counts.pop();
    }
    best
}

#[test]
fn solutions_are_the_best_of_all_choices() {
    let mut infeasible = 0;
    let mut several = 0;
    for seed in 0..60 {
        let program = random_program(seed);
        let expected = least(&program, &mut Vec::new());
        let limits = SolveLimits { gap: 0.0, nodes: 100_000 };
        let found = program.solve(None, limits);
        let Some(expected) = expected else {
            assert_eq!(found.unwrap_err(), SolveError::Infeasible, "seed {seed}");
            infeasible += 1;
            continue;
        };
        let found = found.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-6 * expected;
        assert!(near(found.evaluation.objective, expected), "seed {seed}: {found:?} {expected}");
        assert!(near(found.bound, expected) && found.bound <= expected * (1.0 + 1e-6));
        assert_eq!(found.status, Status::Optimal, "seed {seed}");
        let at_once = program.candidates.iter().zip(&found.counts).filter(|(_, count)| **count > 0);
        several += at_once.filter(|(candidate, _)| candidate.steps.len() > 1).count();
        // A start changes nothing.
        let again = program.solve(Some(&found.counts), limits).unwrap();
        assert!(near(again.evaluation.objective, expected), "seed {seed}");
        // The solver's view of a choice is the same as ours.
        let root = program.solve(Some(&found.counts), SolveLimits { gap: 0.0, nodes: 0 }).unwrap();
        assert!(root.bound <= expected * (1.0 + 1e-9), "seed {seed}");
        // A search that is cut short says nothing that is not so.
        if let Ok(short) = program.solve(None, SolveLimits { gap: 0.0, nodes: 2 }) {
            assert!(program.covers(&short.counts) && short.evaluation.exceeded.is_none());
            assert!(short.bound <= expected * (1.0 + 1e-6), "seed {seed}");
            assert!(short.evaluation.objective >= expected * (1.0 - 1e-6), "seed {seed}");
        }
    }
    assert!(several >= 10, "{several} candidates of several steps are the best");
    assert!((1..30).contains(&infeasible), "{infeasible} programs have no solution");
}

#[test]
fn rounded_parts_compute_every_step() {
    for seed in 0..60 {
        let program = random_program(seed);
        let mut numbers = Numbers(seed + 1000);
        let part = |_| numbers.amount(5) / 4.0;
        let parts: Vec<f64> = program.candidates.iter().map(part).collect();
        assert!(program.covers(&program.rounded(&parts)), "seed {seed}");
    }
    // What is whole but for the solver's error stays as it is.
    let program = random_program(7);
    let chosen = program.solve(None, SolveLimits { gap: 0.0, nodes: 100_000 }).unwrap().counts;
    for error in [-1e-8, 1e-8] {
        let parts: Vec<f64> = chosen.iter().map(|&count| f64::from(count) + error).collect();
        assert_eq!(program.rounded(&parts), chosen);
    }
}
