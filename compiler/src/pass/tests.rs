//! Golden tests: text of a graph in, text out, in one file a pass under `compiler/fixtures/passes`.
//!
//! A file holds cases `# NAME`, each with an input, a line `---` and the expected output.
//! `HEQ_BLESS=1` rewrites the expected parts.

use super::PassContext;
use heq_ir::graph::Graph;
use heq_ir::graph::infer::TypeError;
use heq_ir::graph::parse::parse;
use heq_ir::graph::text::text;
use heq_ir::graph::verify::verify;
use std::path::PathBuf;

/// Runs a graph pass on every case of its golden file.
pub(super) fn check_golden(
    pass: &str,
    run: fn(&mut Graph, &mut PassContext) -> Result<(), TypeError>,
) {
    check_golden_text(pass, &|graph| {
        let mut graph = graph.clone();
        run(&mut graph, &mut PassContext::default()).unwrap();
        verify(&graph).unwrap_or_else(|found| panic!("{pass} broke {found:?}"));
        text(&graph)
    });
}

/// Runs anything that makes text of a graph on every case of a golden file.
pub(super) fn check_golden_text(pass: &str, run: &dyn Fn(&Graph) -> String) {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/passes/{pass}.txt"));
    let file = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let mut blessed = String::new();
    for case in file.split("# ").filter(|case| !case.trim().is_empty()) {
        let (name, body) = case.split_once('\n').unwrap();
        let (input, expected) = body.split_once("---\n").unwrap_or((body, ""));
        let graph = parse(input).unwrap_or_else(|error| panic!("{pass}, {name}: {error}"));
        verify(&graph).unwrap_or_else(|found| panic!("{pass}, {name}: {found:?}"));
        let output = run(&graph);
        if std::env::var_os("HEQ_BLESS").is_none() {
            assert_eq!(output.trim(), expected.trim(), "{pass}, {name}; HEQ_BLESS=1 rewrites it");
        }
        blessed += &format!("# {name}\n{}\n---\n{}\n\n", input.trim(), output.trim());
    }
    if std::env::var_os("HEQ_BLESS").is_some() {
        std::fs::write(&path, blessed.trim_end().to_owned() + "\n").unwrap();
    }
}
