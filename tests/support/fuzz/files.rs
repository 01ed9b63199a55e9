//! Targets that read files.

use super::Script;
use crate::onnx::exercise::exercise;
use crate::{compile_bytes, lenet, root};
use heq_compiler::choices;
use heq_compiler::lower::plan::Compiled;
use heq_compiler::report::{Measurement, to_table};
use heq_data::array::ArrayData;
use heq_data::costs::read_costs;
use heq_data::read::decode_array;
use heq_data::{Labels, parse_size};
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_ir::link::LinkProfile;
use heq_ir::plan::AccStrategy;
use heq_ir::plan::codec::{HEADER_BYTES, decode_plan, decode_weights, encode_plan, encode_weights};
use heq_ir::plan::weights::ServerWeights;
use heq_ir::predict::CostProfile;
use heq_net::tls::{Authority, Certificate, ClientTls, Identity, KeyPin, ServerTls, Trust};
use heq_runtime::service::Clients;
use sha2::{Digest, Sha256};
use std::io::Cursor;
use std::path::Path;
use std::sync::LazyLock;

/// A small network with a convolution, a requantization, a look-up and an opening.
pub(super) static TOY: LazyLock<Compiled> =
    LazyLock::new(|| compile_bytes(&onnx_seeds()[7], AccStrategy::WeightAware));

pub(super) fn onnx_import(bytes: &[u8]) -> Result<(), String> {
    exercise(bytes).map(|_| ()).map_err(|found| found.to_string())
}

pub(super) fn onnx_seeds() -> Vec<Vec<u8>> {
    let file = |seed| root().join(format!("tests/fuzz/seeds/onnx_import/{seed}.onnx"));
    (0..12).map(|seed| std::fs::read(file(seed)).unwrap()).collect()
}

/// The file of a fuzzed body: an honest header with the right length and checksum around it, or for one
/// choice in four the bytes as they are.
fn framed(honest: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut script = Script(bytes);
    if script.byte().is_multiple_of(4) {
        return script.0.to_vec();
    }
    let mut file = [&honest[..HEADER_BYTES], script.0].concat();
    file[12..20].copy_from_slice(&(script.0.len() as u64).to_le_bytes());
    let digest = Sha256::new()
        .chain_update(&file[..HEADER_BYTES - 32])
        .chain_update(&file[HEADER_BYTES..])
        .finalize();
    file[HEADER_BYTES - 32..HEADER_BYTES].copy_from_slice(&digest);
    file
}

/// What [`framed`] makes `file` of, and the choice to take it as it is.
fn framed_seeds(file: &[u8]) -> Vec<Vec<u8>> {
    vec![[&[1], &file[HEADER_BYTES..]].concat(), [&[0], file].concat()]
}

pub(super) fn plan(bytes: &[u8]) -> Result<(), String> {
    let file = framed(&TOY.plan_bytes, bytes);
    let Ok(plan) = decode_plan(&file) else { return Ok(()) };
    let _ = (to_table(&plan), plan.cost(2));
    // What is accepted can be written, and is read as it was.
    let (_, written) = encode_plan(plan.spec().clone()).map_err(|error| error.to_string())?;
    let again = decode_plan(&written).map_err(|error| error.to_string())?;
    let (_, twice) = encode_plan(again.spec().clone()).map_err(|error| error.to_string())?;
    if written == twice {
        Ok(())
    } else {
        Err("is read as another plan than was written".to_owned())
    }
}

pub(super) fn plan_seeds() -> Vec<Vec<u8>> {
    let plans =
        onnx_seeds().into_iter().map(|model| compile_bytes(&model, AccStrategy::WeightAware));
    plans.flat_map(|compiled| framed_seeds(&compiled.plan_bytes)).collect()
}

pub(super) fn weights(bytes: &[u8]) -> Result<(), String> {
    let honest = encode_weights(TOY.weights.spec()).map_err(|error| error.to_string())?;
    if let Ok(weights) = decode_weights(&framed(&honest, bytes)) {
        blames_file(ServerWeights::check(weights, &TOY.plan, "weights"))?;
    }
    Ok(())
}

pub(super) fn weights_seeds() -> Vec<Vec<u8>> {
    framed_seeds(&encode_weights(TOY.weights.spec()).unwrap())
}

pub(super) fn arrays(bytes: &[u8]) -> Result<(), String> {
    for entry in [None, Some("x")] {
        match decode_array(Cursor::new(bytes), "array", entry) {
            Ok(array) => {
                let elements =
                    array.shape().iter().try_fold(1_usize, |all, &one| all.checked_mul(one));
                if elements != Some(array.data().len()) {
                    let (shape, held) = (array.shape(), array.data().len());
                    return Err(format!("shape {shape:?} holds {held} elements"));
                }
            }
            Err(error) if error.fault().code() == Code::Internal => return Err(error.to_string()),
            Err(_) => {}
        }
    }
    Ok(())
}

pub(super) fn array_seeds() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npy");
    let written = [ArrayData::F32(vec![0.5, -1.0]), ArrayData::I64(vec![3, -4])].map(|data| {
        let array = heq_data::Array::new("x", vec![1, 2], data).unwrap();
        heq_data::write_npy(&path, &array).unwrap();
        std::fs::read(&path).unwrap()
    });
    written.into()
}

pub(super) fn picture_seeds() -> Vec<Vec<u8>> {
    vec![std::fs::read(lenet("digit.png")).unwrap()]
}

/// Documents that options name, and options that are more than a word: which is which the first byte says.
pub(super) fn documents(bytes: &[u8]) -> Result<(), String> {
    let mut script = Script(bytes);
    let kind = script.byte() % 7;
    let bytes = script.0;
    let read = |read: &dyn Fn(&Path) -> Result<(), Diagnostic>| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        blames_file(read(file.path()))
    };
    match kind {
        0 => read(&|path| read_costs(path).map(|_| ())),
        1 => read(&|path| Clients::read(path).map(|_| ())),
        2 => read(&|path| Labels::read(path, 3).map(|_| ())),
        3 => read(&|path| Measurement::read(path, &TOY.plan).map(|_| ())),
        4 => read(&|path| choices::read(path, &TOY.plan).map(|_| ())),
        _ => {
            let text = String::from_utf8_lossy(bytes);
            if let Ok(link) = text.parse::<LinkProfile>() {
                let _ = link.transmission_time(u64::MAX);
            }
            let _ = (parse_size(&text), text.parse::<KeyPin>());
            Ok(())
        }
    }
}

pub(super) fn document_seeds() -> Vec<Vec<u8>> {
    let costs = serde_json::to_string(&CostProfile::default()).unwrap();
    let pin = format!("sha256:{}", "a7".repeat(32));
    let choices = serde_json::to_string(&TOY.choices).unwrap();
    let digest = TOY.plan.digest();
    let stats = format!(
        "{{\"schema\":\"heq-stats/1\",\"plan\":\"{digest}\",\"inferences\":1,\"layers\":[]}}"
    );
    let texts = [
        (0, costs.as_str()),
        (1, &format!("{pin} alice quota=100\n# nobody\n")),
        (2, "one\ntwo\nthree\n"),
        (3, &stats),
        (4, &choices),
        (5, "100mbit,40ms"),
        (5, "lan"),
        (5, "1.5GiB"),
        (5, &pin),
    ];
    texts.map(|(kind, text)| [&[kind], text.as_bytes()].concat()).into()
}

pub(super) fn identities(bytes: &[u8]) -> Result<(), String> {
    let _ = Certificate::all_from_pem(bytes);
    if let Ok(identity) = Identity::from_pem(bytes) {
        let trust = Trust { authorities: vec![bytes.to_vec()], keys: None };
        let _ = (ClientTls::new(&identity, &trust, None), ServerTls::new(&identity, &trust));
    }
    Ok(())
}

pub(super) fn identity_seeds() -> Vec<Vec<u8>> {
    let authority = Authority::create("authority", 30).unwrap();
    let server = authority.server("server", vec!["localhost".to_owned()], 30).unwrap();
    let client = authority.client("alice", 30).unwrap();
    let files = [authority.certificate(), authority.key(), server.as_str(), client.as_str()];
    files.map(|pem| pem.as_bytes().to_vec()).into()
}

/// Whether an error says that the file is at fault.
fn blames_file<T>(found: Result<T, Diagnostic>) -> Result<(), String> {
    match found {
        Err(found) if found.code == Code::Internal => Err(found.to_string()),
        _ => Ok(()),
    }
}
