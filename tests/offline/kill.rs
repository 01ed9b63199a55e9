//! Both parties are killed at any byte of their sessions, over and over: no entry serves twice, no result is
//! wrong, and at most the entry that is in use is lost.

use super::{entries, options};
use heq_compiler::lower::plan::PlanOptions;
use heq_compiler::select::ot::OtRule;
use heq_data::{ArrayData, read_array};
use heq_ir::eval::evaluate;
use heq_ir::plan::codec::encode_weights;
use heq_ir::plan::weights::default_path;
use heq_ir::plan::{OFFER_BYTES, OtExtension, Plan};
use heq_ir::traffic::FRAME_HEADER_BYTES;
use heq_tests::server::Server;
use heq_tests::{compile_lenet, lenet, program, samples};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Rounds of the test; `HEQ_KILL_ROUNDS` asks for more.
const ROUNDS: u64 = 100;

/// Inferences that are prepared at a time.
const STOCK: u32 = 6;

/// Which party is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Client,
    Server,
    Nobody,
}

/// The folders and files of both parties.
struct Parties {
    folder: tempfile::TempDir,
}

/// What went through a relay.
#[derive(Default)]
struct Seen {
    up: Vec<u8>,
    down: Vec<u8>,
}

impl Parties {
    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The entries that both parties have: batch and index of their names.
    fn common(&self) -> BTreeSet<String> {
        let names = |party: &str| -> BTreeSet<String> {
            let stems = entries(&self.file(party)).into_iter();
            let entry = |path: PathBuf| {
                let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
                stem.split_once('-').unwrap().1.to_owned()
            };
            stems.map(entry).collect()
        };
        names("client").intersection(&names("server")).cloned().collect()
    }

    /// Runs a session of both programs through a relay that kills `victim` after `after` bytes, with
    /// `prepare` to prepare inferences. Returns whether the client succeeded, and what was sent.
    fn session(&self, prepare: bool, victim: Victim, after: u64) -> (bool, Seen) {
        let command = |party: &str| {
            let mut command = program("heq-run");
            if prepare {
                command.args(["prepare", "--count", &STOCK.to_string()]);
            }
            command.arg("--plan").arg(self.file("plan.heq")).args(["--threads", "1"]);
            command.arg("--store").arg(self.file(party));
            command
        };
        let server = Server::start(&mut command("server")).unwrap();
        let relay = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = relay.local_addr().unwrap().to_string();
        let mut client = command("client");
        client.args(["--role", "client", "--connect", &address, "--insecure-loopback"]);
        if !prepare {
            let output = self.file("output.npy");
            client.arg("--input").arg(lenet("digit.png")).arg("--output").arg(output);
        }
        let client = client.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let processes = Arc::new(Mutex::new((client, Some(server))));
        let seen = relayed(&relay, victim, after, &processes);
        let deadline = Instant::now() + Duration::from_secs(60);
        let succeeded = loop {
            if let Some(status) = processes.lock().unwrap().0.try_wait().unwrap() {
                break status.success();
            }
            assert!(Instant::now() < deadline, "the client hangs: {victim:?} after {after} bytes");
            std::thread::sleep(Duration::from_millis(1));
        };
        (succeeded, seen)
    }
}

/// Connects the two programs until the connection ends, and kills `victim` as soon as `after` bytes went
/// through.
fn relayed(
    relay: &TcpListener,
    victim: Victim,
    after: u64,
    processes: &Arc<Mutex<(Child, Option<Server>)>>,
) -> Seen {
    let address = processes.lock().unwrap().1.as_ref().unwrap().address.clone();
    let (client, _) = relay.accept().unwrap();
    let server = TcpStream::connect(address).unwrap();
    [&client, &server].iter().for_each(|stream| stream.set_nodelay(true).unwrap());
    let count = AtomicU64::new(0);
    let kill = || {
        let mut processes = processes.lock().unwrap();
        match victim {
            Victim::Client => processes.0.kill().unwrap(),
            // A server that is dropped is killed.
            Victim::Server => drop(processes.1.take()),
            Victim::Nobody => {}
        }
    };
    if after == 0 {
        kill();
    }
    let copy = |mut from: &TcpStream, mut to: &TcpStream| {
        let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok(read) = from.read(&mut buffer)
            && read > 0
        {
            let before = count.fetch_add(read as u64, Ordering::SeqCst);
            let allowed = if victim == Victim::Nobody { u64::MAX } else { after };
            let passed = (allowed.saturating_sub(before) as usize).min(read);
            seen.extend_from_slice(&buffer[..passed]);
            let sent = to.write_all(&buffer[..passed]);
            if before < after && before + read as u64 >= after {
                kill();
            }
            if sent.is_err() || passed < read {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Read);
        let _ = to.shutdown(Shutdown::Write);
        seen
    };
    std::thread::scope(|scope| {
        let up = scope.spawn(|| copy(&client, &server));
        let down = copy(&server, &client);
        Seen { up: up.join().unwrap(), down }
    })
}

/// The entry of which the client of a session sent anything: batch and index.
fn used(seen: &Seen) -> Option<(Vec<u8>, u64)> {
    let (up, down) = (messages(&seen.up), messages(&seen.down));
    // After the hello come offers and their answers, the message that takes one, and what uses it.
    let is_offer = |message: &&&[u8]| message.len() == OFFER_BYTES && message[..4] == [0; 4];
    let offers: Vec<&&[u8]> = up.iter().skip(1).take_while(is_offer).collect();
    if up.len() <= 1 + offers.len() + 1 {
        return None;
    }
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    let answers = down.iter().skip(1).map(|answer| [number(&answer[..8]), number(&answer[8..16])]);
    let mut agreed = offers.iter().zip(answers).filter(|(_, [first, end])| first < end);
    let (offer, [first, _]) = agreed.next()?;
    Some((offer[4..36].to_vec(), first))
}

/// The messages of a stream; the last may be cut off. None here is longer than a frame.
fn messages(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*header) as usize & 0x0fff_ffff;
        let rest = rest.get(FRAME_HEADER_BYTES as usize - 4..).unwrap_or(&[]);
        let (message, rest) = rest.split_at(length.min(rest.len()));
        if message.is_empty() {
            break;
        }
        messages.push(message);
        bytes = rest;
    }
    messages
}

/// Bytes of a session that runs one prepared inference, at the end of every message; headers included.
fn boundaries(plan: &Plan) -> Vec<u64> {
    let parts = [plan.online_setup_traffic(1)].into_iter().chain(plan.online_traffic());
    let mut sum = 0;
    let mut ends = vec![0];
    for step in parts.flat_map(|traffic| traffic.steps) {
        let (up, down) = heq_ir::traffic::Traffic::new(vec![step], Vec::new()).wire_bytes();
        sum += up + down;
        ends.push(sum);
    }
    ends
}

fn expected_output(compiled: &heq_compiler::lower::plan::Compiled) -> Vec<i64> {
    let sample = samples(&compiled.plan, &lenet("digit.png"), 1);
    evaluate(&compiled.plan, &compiled.weights, &sample[0]).unwrap().output().to_vec()
}

fn read_output(path: &Path) -> Vec<f32> {
    let array = read_array(path, None).unwrap();
    let ArrayData::F32(values) = array.data() else { panic!("outputs are float32") };
    values.clone()
}

#[test]
fn killed_parties_use_no_entry_twice() {
    let rounds = std::env::var("HEQ_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    let rounds: u64 = rounds.unwrap_or(ROUNDS);
    // Set up fast, since that is done over and over.
    let ot = OtRule::Fixed(OtExtension::SoftSpoken { field_bits: 4 });
    let compiled = compile_lenet(&PlanOptions { ot, ..options() });
    let parties = Parties { folder: tempfile::tempdir().unwrap() };
    ["client", "server"].iter().for_each(|party| fs::create_dir(parties.file(party)).unwrap());
    let plan_file = parties.file("plan.heq");
    fs::write(&plan_file, &compiled.plan_bytes).unwrap();
    let weights = encode_weights(compiled.weights.spec()).unwrap();
    fs::write(default_path(&plan_file), weights).unwrap();
    let outputs = heq_data::output::outputs_array(
        Path::new("reference"),
        &[expected_output(&compiled)],
        &compiled.plan,
    );
    let outputs = outputs.unwrap();
    let ArrayData::F32(expected) = outputs.data() else { panic!("outputs are float32") };

    let ends = boundaries(&compiled.plan);
    let online = *ends.last().unwrap();
    let cost = compiled.plan.offline_cost(STOCK);
    let offline = [cost.setup, cost.online(), cost.correlations].map(|part| part.bytes());
    let offline: u64 = offline.iter().sum();
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    let mut random = |below: u64| rng.next_u64() % below.max(1);
    let (mut everywhere, mut gone) = (BTreeSet::new(), BTreeSet::new());
    let (mut answered, mut killed) = (0, 0);
    for round in 0..rounds {
        let mut preparations = 0;
        while parties.common().len() < 2 {
            preparations += 1;
            assert!(preparations < 50, "round {round}: nothing is prepared");
            // Preparation may be killed, too; what is complete at both then serves.
            let victim = [Victim::Client, Victim::Server, Victim::Nobody][random(3) as usize];
            parties.session(true, victim, 1 + random(offline));
        }
        let before = parties.common();
        assert!(before.is_disjoint(&gone), "round {round}: an entry came back");
        let victim = [Victim::Client, Victim::Server][random(2) as usize];
        // Every message by turns, and any byte.
        let after = match round % 2 {
            0 => ends[(round / 2 * ends.len() as u64 / (rounds / 2).max(1)) as usize],
            _ => random(online * 3 / 2),
        };
        let output = parties.file("output.npy");
        let _ = fs::remove_file(&output);
        let (succeeded, seen) = parties.session(false, victim, after);
        killed += u64::from(!succeeded);
        if succeeded {
            assert_eq!(&read_output(&output), expected, "round {round}");
            answered += 1;
        }
        if let Some(entry) = used(&seen) {
            assert!(everywhere.insert(entry), "round {round}: an entry was used twice");
        }
        let left = parties.common();
        let lost: Vec<&String> = before.difference(&left).collect();
        assert!(lost.len() <= 1, "round {round}: {lost:?} are lost");
        gone.extend(lost.into_iter().cloned());
    }
    println!("{rounds} rounds: {answered} answered, {killed} killed, {} used", everywhere.len());
    assert!(answered > 0 && killed > rounds / 4 && everywhere.len() as u64 > rounds / 4);
}
