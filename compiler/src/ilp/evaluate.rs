//! The value of a choice, computed as it stands: what solutions are compared and explained by.

use super::{Amounts, Candidate, Cap, Extension, Program};

/// What a choice takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Value of the objective.
    pub objective: f64,
    /// All resources together.
    pub amounts: Amounts,
    /// The time in microseconds.
    pub time: f64,
    /// Index of the extension.
    pub extension: Option<usize>,
    /// What exceeds that which is free.
    pub overflow: f64,
    /// The first limit that is exceeded, and what would do.
    pub exceeded: Option<(usize, f64)>,
}

/// What a choice takes, before keys and extension: kept so that exchanges are cheap to look at.
#[derive(Clone, Debug)]
pub struct Totals {
    amounts: Amounts,
    rows: [f64; 2],
    /// How many choices need each key.
    users: Vec<u32>,
    held: [f64; 2],
}

impl Program {
    /// What it takes if candidate `j` is chosen `counts[j]` times, with the best extension that there
    /// is for it.
    #[must_use]
    pub fn evaluate(&self, counts: &[u32]) -> Evaluation {
        self.finish(self.totals(counts))
    }

    /// What a choice takes, before keys and extension.
    #[must_use]
    pub fn totals(&self, counts: &[u32]) -> Totals {
        let users = vec![0; self.keys.len()];
        let mut totals = Totals { amounts: self.base, rows: [0.0; 2], users, held: [0.0; 2] };
        for (candidate, &count) in self.candidates.iter().zip(counts) {
            if count > 0 {
                totals.add(f64::from(count), candidate);
                candidate.keys.iter().for_each(|&key| totals.users[key] += count);
            }
        }
        totals
    }

    /// What a choice takes in which one of each of `to` is in the place of one of each of `from`.
    #[must_use]
    pub fn exchange(&self, totals: &Totals, from: &[usize], to: &[usize]) -> Evaluation {
        let mut totals = totals.clone();
        for from in from.iter().map(|&from| &self.candidates[from]) {
            totals.add(-1.0, from);
            from.keys.iter().for_each(|&key| totals.users[key] -= 1);
        }
        for to in to.iter().map(|&to| &self.candidates[to]) {
            totals.add(1.0, to);
            to.keys.iter().for_each(|&key| totals.users[key] += 1);
        }
        self.finish(totals)
    }

    /// The rows of both directions and the keys that a choice takes.
    pub(super) fn taken(&self, counts: &[u32]) -> ([f64; 2], Vec<bool>) {
        let totals = self.totals(counts);
        (totals.rows, self.open(&totals.users))
    }

    /// The keys that are needed, by candidates or by other keys.
    fn open(&self, users: &[u32]) -> Vec<bool> {
        let mut open = vec![false; self.keys.len()];
        for key in (0..users.len()).filter(|&key| users[key] > 0) {
            let mut next = Some(key);
            while let Some(key) = next.filter(|&key| !open[key]) {
                open[key] = true;
                next = self.keys[key].needs;
            }
        }
        open
    }

    /// With its keys and the best extension.
    fn finish(&self, totals: Totals) -> Evaluation {
        let Totals { mut amounts, rows, users, held } = totals;
        let open = self.keys.iter().zip(self.open(&users)).filter(|(_, is_open)| *is_open);
        open.for_each(|(key, _)| amounts.add(1.0, &key.amounts));
        let with = |extension: Option<(usize, &Extension)>| {
            let mut amounts = amounts;
            if let Some((_, extension)) = extension {
                extension.add_to(&mut amounts, rows);
            }
            self.value(amounts, held, extension.map(|(index, _)| index))
        };
        let all = self.extensions.iter().enumerate().map(|extension| with(Some(extension)));
        let better = |a: Evaluation, b: Evaluation| {
            let key = |found: &Evaluation| (found.exceeded.is_some(), found.objective);
            if key(&b) < key(&a) { b } else { a }
        };
        all.reduce(better).unwrap_or_else(|| with(None))
    }

    fn value(&self, mut amounts: Amounts, held: [f64; 2], extension: Option<usize>) -> Evaluation {
        let overflow = self.overflow.as_ref().map_or(0.0, |overflow| {
            let beyond = (amounts.get(overflow.resource) - overflow.free).max(0.0);
            amounts.add(beyond, &overflow.amounts);
            beyond
        });
        let time = self.paces.iter().map(|pace| pace.per.dot(&amounts)).fold(0.0, f64::max);
        let used = |cap: &Cap| {
            cap.per.dot(&amounts) + cap.time * time + cap.held.map_or(0.0, |party| held[party])
        };
        let exceeded = self.caps.iter().enumerate().find_map(|(index, cap)| {
            let used = used(cap);
            (used > cap.limit * (1.0 + 1e-9)).then_some((index, used))
        });
        let objective = self.goal.dot(&amounts) + self.goal_time * time;
        Evaluation { objective, amounts, time, extension, overflow, exceeded }
    }
}

impl Totals {
    fn add(&mut self, times: f64, candidate: &Candidate) {
        self.amounts.add(times, &candidate.amounts);
        let rows = candidate.rows.map(|rows| times * rows);
        self.rows.iter_mut().zip(rows).for_each(|(sum, rows)| *sum += rows);
        if times > 0.0 {
            let held = self.held.iter_mut().zip(candidate.held);
            held.for_each(|(most, held)| *most = most.max(held));
        }
    }
}

impl Extension {
    /// Adds what making `rows` takes.
    fn add_to(&self, amounts: &mut Amounts, rows: [f64; 2]) {
        amounts.add(1.0, &self.once);
        for (direction, rows) in rows.into_iter().enumerate() {
            amounts.add(rows, &self.row[direction]);
            if let Some((of_iteration, iteration)) = &self.iteration {
                amounts.add((rows / of_iteration).ceil(), &iteration[direction]);
            }
        }
    }
}
