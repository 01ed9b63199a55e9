//! What the programs say, in logs, statistics, metrics and errors, has none of the values that they compute
//! on. The client's standard output has the result, which is what it is for.

use heq_data::plan_files::{read_plan, read_weights};
use heq_data::read_array;
use heq_tests::{lenet, program, samples};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;

/// Values in a row that make a trace.
const WINDOW: usize = 6;

/// The numbers in a text, in order.
fn numbers(text: &str) -> Vec<f64> {
    let is_part = |c: char| c.is_ascii_digit() || c == '.' || c == '-';
    text.split(|c| !is_part(c)).filter_map(|token| token.trim_matches('.').parse().ok()).collect()
}

/// Whether a stretch of `secret` that is not all alike is in `said`, value by value.
fn leaks(said: &[f64], secret: &[f64]) -> bool {
    let varied = |window: &&[f64]| {
        let mut different: Vec<u64> = window.iter().map(|value| value.to_bits()).collect();
        different.sort_unstable();
        different.dedup();
        different.len() >= 4
    };
    secret.windows(WINDOW).filter(varied).any(|window| said.windows(WINDOW).any(|at| at == window))
}

#[test]
fn a_trace_is_found_in_text() {
    let secret = [7.0, -3.0, 1.0, 2.0, 7.0, 5.0, 6.0];
    assert!(leaks(&numbers("{\"x\":[0, 7,-3,1,2,7,5,8]}"), &secret));
    assert!(!leaks(&numbers("7 3 1 2 7 5"), &secret));
}

/// Everything that a series of runs says, but for the client's standard output.
fn all_that_is_said(folder: &Path, plan: &Path) -> String {
    let plan = plan.to_str().unwrap();
    let mut server = program("heq-run")
        .args(["--plan", plan, "--role", "server", "--listen", "127.0.0.1:0", "--sessions", "2"])
        .args(["--insecure-loopback", "--log", "json", "--metrics", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(server.stderr.take().unwrap());
    let mut said = String::new();
    let [address, metrics] = loop {
        let mut line = String::new();
        assert!(log.read_line(&mut line).unwrap() > 0, "{said}");
        said += &line;
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        if event["message"] == "listening" {
            break ["address", "metrics"].map(|key| event[key].as_str().unwrap().to_owned());
        }
    };
    let stats = folder.join("stats.json");
    let client = |input: &Path| {
        let output = program("heq-run")
            .args([
                "--plan",
                plan,
                "--role",
                "client",
                "--insecure-loopback",
                "--connect",
                &address,
            ])
            .arg("--input")
            .arg(input)
            .arg("--stats")
            .arg(&stats)
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    // What the client reads is at fault: a piece of the file, and a picture's number of values cut in half.
    let file = fs::read(lenet("input.npy")).unwrap();
    let (damaged, shaped) = (folder.join("damaged.npy"), folder.join("shaped.npy"));
    fs::write(&damaged, &file[..file.len() / 2]).unwrap();
    let header = String::from_utf8_lossy(&file[..128]).replace("28, 28", "14, 56");
    fs::write(&shaped, [header.as_bytes(), &file[128..]].concat()).unwrap();
    for input in [&damaged, &shaped] {
        let (succeeded, text) = client(input);
        assert!(!succeeded, "{}: {text}", input.display());
        said += &text;
    }
    let (succeeded, text) = client(&lenet("input.npy"));
    assert!(succeeded, "{text}");
    said += &text;
    said += &fs::read_to_string(&stats).unwrap();
    let mut stream = TcpStream::connect(&metrics).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    stream.read_to_string(&mut said).unwrap();
    let (succeeded, text) = client(&lenet("digit.png"));
    assert!(succeeded, "{text}");
    said += &text;
    server.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    log.read_to_string(&mut said).unwrap();
    assert!(server.wait().unwrap().success(), "{said}");
    // Weights that are no weights: the message tells the file, not what is in it.
    let weights = folder.join("damaged.server.heq");
    let file = fs::read(Path::new(plan).with_extension("server.heq")).unwrap();
    fs::write(&weights, &file[..file.len() - 9]).unwrap();
    let output = program("heq-run")
        .args(["--plan", plan, "--role", "local", "--weights"])
        .arg(&weights)
        .arg("--input")
        .arg(lenet("input.npy"))
        .output()
        .unwrap();
    assert!(!output.status.success());
    said + &String::from_utf8(output.stderr).unwrap()
}

#[test]
fn logs_statistics_metrics_and_errors_have_no_values() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("lenet.heq");
    let compiled = program("heqc")
        .arg("compile")
        .arg(lenet("model.onnx"))
        .arg("-o")
        .arg(&plan)
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let said = all_that_is_said(folder.path(), &plan);
    for part in ["\"level\"", "heq_sessions_total", "heq-stats", "error"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let said = numbers(&said);

    let plan = read_plan(&plan).unwrap();
    let weights = read_weights(&folder.path().join("lenet.server.heq"), &plan).unwrap();
    let mut secrets: Vec<(&str, Vec<f64>)> = Vec::new();
    let raw = read_array(&lenet("input.npy"), None).unwrap();
    let reals = raw.data().to_reals();
    secrets.extend(reals.chunks(784).map(|sample| ("input", sample.to_vec())));
    for x in samples(&plan, &lenet("input.npy"), usize::MAX) {
        let evaluation = heq_ir::eval::evaluate(&plan, &weights, &x).unwrap();
        secrets.push(("output", evaluation.output().iter().map(|&y| y as f64).collect()));
        secrets.push(("quantized input", x.iter().map(|&x| x as f64).collect()));
    }
    for layer in weights.layers() {
        secrets.push(("weights", layer.weights.iter().map(|&w| f64::from(w)).collect()));
        secrets.push(("multipliers", layer.multipliers.iter().map(|&m| m as f64).collect()));
        secrets.push(("biases", layer.bias.iter().map(|&b| b as f64).collect()));
    }
    for (name, secret) in secrets {
        assert!(!leaks(&said, &secret), "{name}: six values in a row are in what the programs say");
    }
}
