//! Developer tasks of heq, run as `cargo xtask TASK`.
#![forbid(unsafe_code)]

mod bench;
mod ci;
mod demo;
mod error;
mod mutate;
mod picture;
mod report_page;
mod run;
mod sanitize;
mod sbom;
mod tidy;
mod wheel;

use error::TaskError;
use std::io::Write;
use std::process::ExitCode;

const TASKS: &str = "cargo xtask TASK

  bench layers|ot|requantize [NAME...] [--json]
         layers: the common linear layers between two processes: bytes, time and memory of both
         parties, and the ratios to a peer's; ot: rates of random OTs on one core; requantize:
         requantization, max pooling and tables between two threads: bytes, flights, random OTs,
         time and memory; only rows with a NAME in theirs; as a table or heq-bench/1
  bench ladder [MODEL.onnx...] [NAME...] [--json] [--write]
         bytes of the models' linear layers under the presets cheetah, naive-quant, hequant and
         best; without a MODEL those of the table in docs/results.md, some from the folder
         HEQ_MODELS, others generated; --write puts that table there
  bench networks [NAME...] [--inputs N] [--json] [--write]
         whole networks, between two processes and over simulated links: bytes, flights, time,
         memory, N or more inputs compared with the reference, and the ratios to peers' figures;
         networks from HEQ_MODELS, others generated; --write as above
  bench offline [NAME...] [--json] [--write]
         prepared inferences against runs of one phase over simulated links: bytes, CPU and wall
         time, bytes on disk; networks from HEQ_MODELS; --write as above
  ci     everything that must hold before a change is merged: format, lints, tests, docs, tidy
  demo   compiles the example network and classifies a digit, server and client apart
  mutate [PART...]
         breaks every rule of the protocol, or those with a PART in their statement, one after the
         other, and fails if the test that is named beside one does not notice
  report-page [MODEL.onnx...]
         the HTML reports of the examples and of these models in headless Chromium at 1280 and 800
         pixels: fails if anything does not fit, and leaves pictures in target/report-page
  sanitize [TEST...]
         the tests of the crates with vector code under AddressSanitizer; on Linux, with the runtime that
         the toolchain brings
  sbom [FOLDER]
         what heqc and heq-run are made of, as CycloneDX 1.5 documents in FOLDER, target/sbom by default
  tidy   the structure checks: module docs, dependency edges, claims, citations, links, golden tests
  wheel [--test]
         the Python package in target/wheels, by maturin of the Python that PYTHON names, or python3; with
         --test also all its tests, in an environment of its own
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let out = &mut std::io::stdout();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["help" | "--help" | "-h"] => out.write_all(TASKS.as_bytes()).map_err(TaskError::from),
        ["bench", ref rest @ ..] => bench::bench(rest, &mut std::io::stderr()),
        ["ci"] => ci::ci(out),
        ["demo"] => demo::demo(out),
        ["mutate", ref parts @ ..] => mutate::mutate(parts, out),
        ["report-page", ref models @ ..] => report_page::report_page(models, out),
        ["sanitize", ref tests @ ..] => sanitize::sanitize(tests, out),
        ["sbom"] => sbom::sbom(None, out),
        ["sbom", folder] => sbom::sbom(Some(folder), out),
        ["tidy"] => tidy::tidy(out),
        ["wheel"] => wheel::wheel(false, out),
        ["wheel", "--test"] => wheel::wheel(true, out),
        _ => Err(TaskError::Usage { given: arguments.join(" ") }),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_status())
        }
    }
}
