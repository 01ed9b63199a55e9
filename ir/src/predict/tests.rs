//! Closed forms against the simulation of one step, profiles, and predictions as a whole.

use super::script::Writer;
use super::simulation::{Action, simulate};
use super::work::LinearWork;
use super::{CostProfile, Situation};
use crate::layout::LayoutCounts;
use crate::link::LinkProfile;
use crate::plan::{OtExtension, RotChunk};
use crate::protocol::count::CountMachine;
use crate::protocol::requantize::{RequantizeForm, RequantizeWidths, requantize};
use crate::protocol::table::TableWidths;
use crate::traffic::{RotSender, Traffic};

/// Situations in which steps are predicted: parties with machines of their own, and on one.
fn situations(profile: &CostProfile) -> Vec<Situation<'_>> {
    let mut situations = Vec::new();
    for link in [None, Some(LinkProfile::LAN), Some(LinkProfile::WAN), Some(LinkProfile::MOBILE)] {
        for (threads, is_shared) in [(1, false), (2, false), (8, false), (2, true)] {
            situations.push(Situation { profile, link, threads, is_shared });
        }
    }
    situations
}

/// The time of one step, simulated, its random OTs made before.
fn simulated_us(situation: &Situation<'_>, write: impl FnOnce(&mut Writer<'_>)) -> f64 {
    let mut writer = Writer::new(situation, &Default::default());
    write(&mut writer);
    let scripts = writer.finish();
    assert!(!scripts.walkers.iter().flatten().any(|a| matches!(a, Action::Take { .. })));
    let outcome = simulate(&scripts, situation);
    assert!(outcome.is_complete);
    // The server may be done last.
    outcome.end_us
}

fn counts(requests: usize, responses: usize) -> LayoutCounts {
    LayoutCounts {
        spatial: 1,
        group_tiles: 1,
        input_tiles: requests,
        rows: responses,
        rows_of_group_tile: responses,
        merge_levels: 0,
    }
}

#[test]
fn closed_form_of_a_linear_step_is_its_simulation() {
    let profile = CostProfile::default();
    for situation in situations(&profile) {
        for (requests, responses) in [(1, 1), (3, 40), (16, 16), (65, 130), (400, 100)] {
            for [encrypt, decode, respond, share] in
                [[60.0, 50.0, 90.0, 60.0], [10.0, 300.0, 500.0, 20.0], [400.0, 30.0, 50.0, 300.0]]
            {
                let work = LinearWork {
                    encrypt_us: encrypt * requests as f64,
                    decode_us: decode * requests as f64,
                    respond_us: respond * responses as f64,
                    share_us: share * responses as f64,
                    weights_us: 0.0,
                };
                let (counts, bytes) = (counts(requests, responses), [16_000, 9_000]);
                let path = work.path_us(&counts, bytes, &situation);
                let simulated = simulated_us(&situation, |writer| {
                    writer.streams(&counts, &work.streams(&counts, bytes));
                });
                let tolerance = if situation.is_shared { 0.12 } else { 0.05 };
                assert!(
                    (path / simulated - 1.0).abs() < tolerance,
                    "{path} is not {simulated}: {requests} {responses} {encrypt} {:?} {} {}",
                    situation.link,
                    situation.threads,
                    situation.is_shared,
                );
            }
        }
    }
}

/// Requantizations in all forms, and look-ups in one chunk and in many.
fn traffics() -> Vec<Traffic> {
    let mut traffics = Vec::new();
    for elements in [100, 3000, 100_000] {
        let widths =
            RequantizeWidths { acc_bits: 16, guard_bits: 1, shift: 8, result_bits: 4, limit: 15 };
        for form in RequantizeForm::all(&widths) {
            let mut machine = CountMachine::new(elements);
            let Ok(_) = requantize(&mut machine, &widths, &form);
            traffics.push(machine.finish());
        }
        traffics.push(TableWidths { input_bits: 4, result_bits: 4 }.traffic(elements));
    }
    traffics
}

#[test]
fn closed_form_of_a_step_on_bits_is_its_simulation() {
    let profile = CostProfile::default();
    for situation in situations(&profile) {
        for traffic in traffics() {
            let path = profile.traffic_path_us(&traffic, &situation);
            let simulated = simulated_us(&situation, |writer| writer.traffic(&traffic));
            assert!(
                (path / simulated - 1.0).abs() < 0.03,
                "{path} is not {simulated}: {:?} {} {} {:?}",
                situation.link,
                situation.threads,
                situation.is_shared,
                traffic.steps,
            );
        }
    }
}

#[test]
fn every_random_ot_belongs_to_a_message() {
    let profile = CostProfile::default();
    for traffic in traffics() {
        let phases = super::work::phases(&profile, &traffic);
        let taken: usize = phases.iter().map(|phase| phase.runs.len()).sum();
        assert_eq!(taken, traffic.rots.len());
    }
}

#[test]
fn the_profile_that_ships_is_sound() {
    let profile = CostProfile::default();
    assert_eq!(profile.check(), Ok(()));
    for extension in OtExtension::all() {
        assert!(profile.row_us(extension) > 0.0, "{extension}");
        assert_eq!(profile.extension(extension).unwrap().extension, extension);
    }
}

#[test]
fn profiles_that_cannot_be_used_are_refused() {
    type Change = fn(&mut CostProfile);
    let changes: [(&str, Change); 8] = [
        ("schema", |costs| costs.schema = "heq-costs/1".to_owned()),
        ("rings", |costs| costs.rings.clear()),
        ("extensions", |costs| costs.extensions.clear()),
        ("wake_us", |costs| costs.wake_us = f64::NAN),
        ("gates", |costs| costs.gates[1].byte_ns = -1.0),
        ("rings", |costs| costs.rings[2].key_switches[0].switch_us = f64::INFINITY),
        ("degree 3 and", |costs| costs.rings[0].ring_degree = 3),
        ("0 bits", |costs| costs.rings[0].modulus_bits = 0),
    ];
    for (expected, change) in changes {
        let mut costs = CostProfile::default();
        change(&mut costs);
        let error = costs.check().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_chunk_of_random_ots_is_no_step() {
    // A writer without chunks takes nothing, which the closed forms do not count either.
    let profile = CostProfile::default();
    let situation = Situation { profile: &profile, link: None, threads: 1, is_shared: false };
    let chunks = RotSender::ALL.map(|sender| {
        let runs = traffics().swap_remove(0).rots.into_iter();
        vec![RotChunk { runs: runs.filter(|run| run.sender == sender).collect() }]
    });
    let mut writer = Writer::new(&situation, &chunks);
    writer.traffic(&traffics()[0]);
    let scripts = writer.finish();
    let takes = scripts.walkers.iter().flatten().filter(|a| matches!(a, Action::Take { .. }));
    assert_eq!(takes.count(), 2 * traffics()[0].rots.len());
}
