//! Targets that read what a peer sends, one message or handshake at a time.

use super::files::TOY;
use super::{Script, blames_peer};
use heq_he::client::SecretKey;
use heq_he::sampling::Seed;
use heq_he::server::{Request, ServerKeys, ZeroKey};
use heq_he::{GaloisKey, Ring, Window};
use heq_ir::params::{KeySwitchSpec, RlweParams, RlweSpec};
use heq_net::Channel;
use heq_net::memory::{Interceptor, Passage, intercepted_pair};
use heq_ot::base::{
    self, ReceiverChoices, SENDER_SETUP_BYTES, SenderSetup, receiver_choices_bytes,
};
use heq_ot::silent::{self, SilentConfig, SilentMessage};
use heq_ot::softspoken::{self, BASE_OTS, Delta, ExtendMessage, GgmMessage, SoftSpokenConfig};
use heq_ot::{Block, ChoiceBits, RotShape, SessionId};
use heq_runtime::error::RunError;
use heq_runtime::service::fetch::{self, PlanKey};
use heq_runtime::session::{Caller, Mode, Modes, PreparedPlan, Session, ask_for_plan};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::sync::{Arc, LazyLock, Mutex};
use zeroize::Zeroizing;

const SESSION: SessionId = SessionId([7; 32]);

/// Most lanes of a fuzzed connection, and messages received on them.
const LANES: usize = 3;
const MESSAGES: usize = 8;

static PLAN: LazyLock<PreparedPlan> = LazyLock::new(|| PreparedPlan::new(TOY.plan.clone()));

fn pass() -> Interceptor {
    Box::new(Passage::Deliver)
}

/// A party's channel on which `bytes` arrive and then nothing any more, and the other end of it.
fn hears(bytes: &[u8]) -> [Channel; 2] {
    let bytes = bytes.to_vec();
    let (mut other, party) =
        intercepted_pair([Box::new(move |_| Passage::End(bytes.clone())), pass()]);
    other.send(&[]).unwrap();
    [party, other]
}

/// The bytes that the first of two parties hears.
fn heard(
    listens: impl FnOnce(Channel) -> Result<(), RunError>,
    speaks: impl FnOnce(Channel) -> Result<(), RunError> + Send,
) -> Vec<u8> {
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&bytes);
    let record = move |frame: Vec<u8>| {
        record.lock().unwrap().extend_from_slice(&frame);
        Passage::Deliver(frame)
    };
    let (speaker, listener) = intercepted_pair([Box::new(record), pass()]);
    std::thread::scope(|scope| {
        scope.spawn(|| speaks(speaker).unwrap());
        listens(listener).unwrap();
    });
    std::mem::take(&mut *bytes.lock().unwrap())
}

/// Bytes as frames, of which some messages on some lanes are expected.
pub(super) fn frames(bytes: &[u8]) -> Result<(), String> {
    let mut script = Script(bytes);
    let lanes = usize::from(script.byte()) % LANES;
    let expected: Vec<_> = (0..=script.byte() % MESSAGES as u8)
        .map(|_| (usize::from(script.byte()) % (lanes + 1), script.word()))
        .collect();
    let [party, _other] = hears(script.0);
    let mut channels = vec![party];
    for _ in 0..lanes {
        channels.push(channels[0].add_lane(1 << 12, 1 << 12).map_err(|error| error.to_string())?);
    }
    for (lane, length) in expected {
        match channels[lane].recv(length) {
            Ok(message) if message.len() != length => {
                return Err(format!("{} bytes instead of {length}", message.len()));
            }
            Ok(_) => {}
            // All lanes end with the first.
            Err(error) => return blames_peer(error.into()),
        }
    }
    Ok(())
}

pub(super) fn frame_seeds() -> Vec<Vec<u8>> {
    let frame = |lane: u8, length: u8| {
        [&[length, 0, 0, lane << 4, 1, 0, 0, 0][..], &vec![9; usize::from(length)]].concat()
    };
    let messages = [[0, 3, 0], [1, 0, 0], [2, 5, 0]].concat();
    let wire = [frame(2, 5), frame(15, 0), frame(0, 3), frame(1, 0)].concat();
    vec![[&[2, 2], &messages[..], &wire].concat()]
}

/// What a client, or a server, says first, and what follows of asking for a plan and of offering what is
/// prepared.
pub(super) fn handshake(bytes: &[u8]) -> Result<(), String> {
    let mut script = Script(bytes);
    let kind = script.byte() % 4;
    let [mut party, other] = hears(script.0);
    let result = match kind {
        0 => {
            // Whoever waits for the end of what it sends finds it.
            let accepted = Caller::receive(party)
                .and_then(|caller| Session::accept(&PLAN, caller, Modes::PREPARE, 3).map(|_| ()));
            drop(other);
            accepted
        }
        1 => Session::connect(&PLAN, party, Mode::Prepared, 1).map(|_| ()),
        2 => fetch::plan(party, &PlanKey::Digest(TOY.plan.digest())).map(|_| ()),
        _ => ask_for_plan(&mut party, TOY.plan.digest())
            .and_then(|()| fetch::list(party).map(|_| ())),
    };
    result.or_else(blames_peer)
}

pub(super) fn handshake_seeds() -> Vec<Vec<u8>> {
    let connect = |channel| Session::connect(&PLAN, channel, Mode::Prepared, 1).map(|_| ());
    let accept =
        |channel| Session::accept(&PLAN, Caller::receive(channel)?, Modes::INFER, 1).map(|_| ());
    let give = |bytes: Vec<u8>| {
        move |channel| {
            let mut channel = Caller::receive(channel)?.give_plan()?;
            channel.send(&(bytes.len() as u64).to_le_bytes())?;
            Ok(channel.send(&bytes)?)
        }
    };
    let digest = TOY.plan.digest();
    let list = format!(
        "[{{\"digest\":\"{digest}\",\"name\":\"toy\",\"file\":\"toy.heq\",\"model\":\"toy\"}}]"
    );
    let plan = |channel| fetch::plan(channel, &PlanKey::Digest(digest)).map(|_| ());
    let all = |mut channel: Channel| {
        ask_for_plan(&mut channel, digest)?;
        let length = channel.recv(8)?;
        channel.recv(usize::from(length[0]) + 256 * usize::from(length[1])).map(|_| ())?;
        Ok(())
    };
    let spoken = [
        heard(accept, connect),
        heard(connect, accept),
        heard(plan, give(TOY.plan_bytes.clone())),
        heard(all, give(list.into_bytes())),
    ];
    (0..).zip(spoken).map(|(kind, bytes)| [&[kind], bytes.as_slice()].concat()).collect()
}

/// The keys of both parties for one prime, and for two.
struct Keys {
    ring: Ring,
    client: SecretKey,
    server: ServerKeys,
    seed: Seed,
}

const SPACING: usize = 1024;

static KEYS: LazyLock<[Keys; 2]> = LazyLock::new(|| {
    let switched = Some(KeySwitchSpec { special_bits: 17, digits: 2 });
    let specs =
        [RlweSpec { key_switch: switched, ..RlweSpec::new(2048, 36) }, RlweSpec::new(4096, 80)];
    specs.map(|spec| {
        let ring = Ring::new(RlweParams::check(spec).unwrap());
        let seed = Seed::derive(&[1; 32], "zero key", 0);
        let rng = &mut rng();
        let (client, message) = SecretKey::generate(&ring, &seed, rng);
        let zero = ZeroKey::decode(&ring, &seed, &message, rng).unwrap();
        Keys { server: ServerKeys::new(zero, Vec::new()), ring, client, seed }
    })
});

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(5)
}

/// A request that a server decodes and answers, or a response that a client decodes.
pub(super) fn ciphertexts(bytes: &[u8]) -> Result<(), String> {
    let mut script = Script(bytes);
    let choice = script.byte();
    let Keys { ring, client, server, seed } = &KEYS[usize::from(choice & 1)];
    let params = ring.params();
    let (n, bits) = (params.ring_degree(), params.modulus_bits());
    let drop_bits = u32::from(script.byte()) % 20;
    let length = 1 + script.word() % n;
    let window = Window::new(ring, (script.word() % n, length));
    let bytes = |words: usize| (words as u64 * u64::from(bits - drop_bits)).div_ceil(8) as usize;
    if choice & 2 == 0 {
        let message = script.message(bytes(length));
        let none = std::iter::empty();
        let request =
            Request::decode(ring, seed, &message, none, 12, window, drop_bits, &mut rng());
        if let Ok(request) = request {
            let leaf = |_| request.parts().map(<[u64]>::to_vec);
            let response = server.respond(ring, &[], 1, leaf, 0..4, 13, 0, &mut rng());
            return response.map(|_| ()).map_err(|error| error.to_string());
        }
    } else {
        let message = script.message(bytes(n));
        let shares = client.share_response(ring, &message, drop_bits, 0..n, 13, &mut rng());
        if shares.is_ok_and(|shares| shares.iter().any(|share| share >> 13 != 0)) {
            return Err("a share has more than its 13 bits".to_owned());
        }
    }
    Ok(())
}

/// Public keys and Galois keys, and a response that is merged by them.
pub(super) fn keys(bytes: &[u8]) -> Result<(), String> {
    let mut script = Script(bytes);
    let choice = script.byte();
    let Keys { ring, seed, .. } = &KEYS[usize::from(choice & 1)];
    let params = ring.params();
    let message = script.message(usize::try_from(params.polynomial_bytes(0)).unwrap());
    let zero = ZeroKey::decode(ring, seed, &message, &mut rng());
    if params.key_switch().is_none() {
        return Ok(());
    }
    let spacing = if choice & 2 == 0 { SPACING } else { script.word() };
    let message = script.message(usize::try_from(params.galois_key_bytes()).unwrap());
    let galois = GaloisKey::decode(ring, seed, spacing, &message);
    if let (Ok(zero), Ok(galois)) = (zero, galois) {
        let keys = ServerKeys::new(zero, vec![galois]);
        let leaf = |_| {
            [vec![1; ring.basis().polynomial_words()], vec![2; ring.basis().polynomial_words()]]
        };
        let response = keys.respond(ring, &[spacing], 2, leaf, 0..4, 13, 0, &mut rng());
        response.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Choices of every kind, with little after them.
pub(super) fn scripts() -> Vec<Vec<u8>> {
    (0..8).map(|choice| [[choice; 6].as_slice(), &[1, 0x55, 0, 3, 0, 0x0f]].concat()).collect()
}

/// Both messages of base OTs.
pub(super) fn base_ot(bytes: &[u8]) -> Result<(), String> {
    let mut script = Script(bytes);
    let count = usize::from(script.byte() % 4);
    let rng = &mut rng();
    if script.byte() & 1 == 0 {
        let choices = ChoiceBits::random(count, rng);
        if let Ok(setup) = SenderSetup::decode(&script.message(SENDER_SETUP_BYTES)) {
            let (keys, _) = base::choose(&SESSION, 0, &setup, &choices, rng);
            return if keys.len() == count { Ok(()) } else { Err("keys are missing".to_owned()) };
        }
    } else {
        let (sender, _) = base::Sender::new(&SESSION, 0, rng);
        let message = script.message(receiver_choices_bytes(count));
        if let Ok(choices) = ReceiverChoices::decode(&message, count) {
            let keys = sender.finish(&choices);
            return if keys.len() == count { Ok(()) } else { Err("keys are missing".to_owned()) };
        }
    }
    Ok(())
}

pub(super) fn base_ot_seeds() -> Vec<Vec<u8>> {
    let rng = &mut rng();
    let (_, setup) = base::Sender::new(&SESSION, 0, rng);
    let setup = setup.encode();
    let honest = SenderSetup::decode(&setup).unwrap();
    let (_, choices) = base::choose(&SESSION, 0, &honest, &ChoiceBits::random(2, rng), rng);
    let identity = [0; SENDER_SETUP_BYTES];
    vec![
        [&[2, 0, 1], &setup[..]].concat(),
        [&[2, 1, 1], &choices.encode()[..]].concat(),
        [&[2, 0, 1], &identity[..]].concat(),
    ]
}

/// The messages of both extensions.
pub(super) fn ot_extension(bytes: &[u8]) -> Result<(), String> {
    let mut script = Script(bytes);
    let choice = script.byte();
    let config = SoftSpokenConfig::new([1, 2, 4, 8][usize::from(choice >> 1 & 3)]).unwrap();
    let shapes = [RotShape {
        planes: 1 + usize::from(script.byte() % 3),
        elements: script.word() % 5000,
        bits: usize::from(script.byte()) % 140,
    }];
    let rows: usize = shapes.iter().map(|shape| shape.rows()).sum();
    let rng = &mut rng();
    let fault = |error: heq_ot::OtError| error.to_string();
    // An iteration of silent OT is long: it is tried for few bytes.
    if choice == 0xff {
        let config = SilentConfig::new(18).unwrap();
        let start: Vec<Block> = (0..config.bootstrap_rows()).map(|_| Block::random(rng)).collect();
        let choices = ChoiceBits::random(start.len(), rng);
        let mut receiver =
            silent::Receiver::new(config, &SESSION, 0, &choices, Zeroizing::new(start))
                .map_err(fault)?;
        let iterations = config.iterations(receiver.rows_left(), rows);
        let message = script.message(config.iteration_bytes() * iterations);
        if let Ok(message) = SilentMessage::decode(&message, config, iterations) {
            receiver.extend(&shapes, &message).map_err(fault)?;
        }
        return Ok(());
    }
    let keys: Vec<Block> = (0..BASE_OTS).map(|_| Block::random(rng)).collect();
    let tree = script.message(config.ggm_message_bytes());
    let Ok(tree) = GgmMessage::decode(&tree, config) else { return Ok(()) };
    let delta = Delta::random(rng);
    let mut sender =
        softspoken::Sender::new(config, &SESSION, 0, delta, &keys, &tree).map_err(fault)?;
    let message = script.message(config.extend_message_bytes(rows));
    if let Ok(message) = ExtendMessage::decode(message, config, rows) {
        sender.extend(&shapes, &message).map_err(fault)?;
    }
    Ok(())
}
