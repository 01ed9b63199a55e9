//! Files that a user gives by mistake: each ends with its own code, place and remedy.

use heq_ir::diagnostic::{Code, ExitStatus};
use heq_ir::plan::AccStrategy;
use heq_ir::plan::codec::encode_weights;
use heq_tests::{compiled_lenet, lenet};
use std::ffi::OsString;
use std::path::Path;

type Program = fn(Vec<OsString>, &mut dyn std::io::Write, &mut dyn std::io::Write) -> ExitStatus;

fn heqc(
    a: Vec<OsString>,
    out: &mut dyn std::io::Write,
    err: &mut dyn std::io::Write,
) -> ExitStatus {
    heq_compiler::cli::run(a, out, err)
}

fn heq_run(
    a: Vec<OsString>,
    out: &mut dyn std::io::Write,
    err: &mut dyn std::io::Write,
) -> ExitStatus {
    heq_runtime::cli::run(a, out, err, false)
}

/// The command fails with `code`, names `place`, and says what to do.
fn check_fails(program: Program, arguments: &[&OsString], code: Code, place: &str) {
    let mut all = vec![OsString::from("program")];
    all.extend(arguments.iter().map(|argument| (*argument).clone()));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = program(all, &mut out, &mut err);
    let text = String::from_utf8(err).unwrap();
    assert_eq!(status, code.exit_status(), "{text}");
    assert!(text.starts_with(&format!("error[{code}]: ")), "{text}");
    assert!(text.contains(place) && text.contains("\n  help: "), "{text}");
    assert!(out.is_empty());
}

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    /// A compiled LeNet on disk, under each strategy.
    fn new() -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap() };
        for (name, strategy) in
            [("plan", AccStrategy::WeightAware), ("other", AccStrategy::WorstCase)]
        {
            let compiled = compiled_lenet(strategy);
            files.write(&format!("{name}.heq"), &compiled.plan_bytes);
            files.write(
                &format!("{name}.server.heq"),
                &encode_weights(compiled.weights.spec()).unwrap(),
            );
        }
        files
    }

    fn write(&self, name: &str, bytes: &[u8]) -> OsString {
        std::fs::write(self.folder.path().join(name), bytes).unwrap();
        self.path(name)
    }

    fn path(&self, name: &str) -> OsString {
        self.folder.path().join(name).into()
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder.path().join(name)).unwrap()
    }
}

fn word(text: &str) -> OsString {
    text.into()
}

fn digit() -> OsString {
    lenet("digit.png").into()
}

#[test]
fn a_file_that_is_not_onnx() {
    let files = Files::new();
    for bytes in [&b"certainly not a model"[..], &[], &[0xff; 400]] {
        let model = files.write("model.onnx", bytes);
        let arguments = [&word("compile"), &model, &word("-o"), &files.path("x.heq")];
        check_fails(heqc, &arguments, Code::NotOnnx, "model.onnx");
        assert!(!Path::new(&files.path("x.heq")).exists());
    }
}

#[test]
fn a_truncated_plan() {
    let files = Files::new();
    let whole = files.read("plan.heq");
    for length in [0, 7, 8, 20, 51, 60, whole.len() - 1] {
        let plan = files.write("cut.heq", &whole[..length]);
        check_fails(heqc, &[&word("report"), &plan], Code::NotAPlan, "cut.heq");
        let arguments =
            [&word("--role"), &word("local"), &word("--plan"), &plan, &word("--input"), &digit()];
        check_fails(heq_run, &arguments, Code::NotAPlan, "cut.heq");
    }
}

#[test]
fn a_plan_of_another_version() {
    let files = Files::new();
    let mut bytes = files.read("plan.heq");
    bytes[8] += 1;
    let plan = files.write("new.heq", &bytes);
    check_fails(heqc, &[&word("report"), &plan], Code::PlanVersion, "new.heq");
}

#[test]
fn weights_of_another_plan() {
    let files = Files::new();
    let (plan, weights) = (files.path("plan.heq"), files.path("other.server.heq"));
    let common = [&word("--plan"), &plan, &word("--weights"), &weights];
    let local = [&word("--role"), &word("local"), &word("--input"), &digit()];
    let code = Code::WeightsOfAnotherPlan;
    check_fails(heq_run, &[common, local].concat(), code, "other.server.heq");
    let server =
        [&word("--role"), &word("server"), &word("--insecure-loopback"), &word("--log=json")];
    check_fails(heq_run, &[common, server].concat(), code, "other.server.heq");
    let simulate =
        [&word("simulate"), &plan, &word("--weights"), &weights, &word("--input"), &digit()];
    check_fails(heqc, &simulate, code, "other.server.heq");
}

#[test]
fn a_plan_given_as_weights() {
    let files = Files::new();
    let (plan, weights) = (files.path("plan.heq"), files.path("plan.heq"));
    let simulate =
        [&word("simulate"), &plan, &word("--weights"), &weights, &word("--input"), &digit()];
    check_fails(heqc, &simulate, Code::NotAPlan, "plan.heq");
}

#[test]
fn an_input_of_the_wrong_shape() {
    let files = Files::new();
    let plan = files.path("plan.heq");
    let most = u64::MAX;
    for (shape, code) in [
        ("(27, 28)".to_owned(), Code::WrongInput),
        (format!("({}, 28)", 1_u64 << 63), Code::TooLarge),
        (format!("({most}, {most})"), Code::TooLarge),
    ] {
        let mut npy = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}");
        npy.extend(format!("{header:<117}\n").bytes());
        npy.extend([0; 27 * 28]);
        let input = files.write("small.npy", &npy);
        let local =
            [&word("--role"), &word("local"), &word("--plan"), &plan, &word("--input"), &input];
        check_fails(heq_run, &local, code, "small.npy");
        let simulate = [&word("simulate"), &plan, &word("--input"), &input];
        check_fails(heqc, &simulate, code, "small.npy");
    }
}

#[test]
fn files_and_options_that_are_missing() {
    let files = Files::new();
    let plan = files.path("plan.heq");
    check_fails(heqc, &[&word("report"), &files.path("no.heq")], Code::FileAccess, "no.heq");
    for role in ["client", "server"] {
        let arguments =
            [&word("--role"), &word(role), &word("--plan"), &plan, &word("--input"), &digit()];
        check_fails(heq_run, &arguments, Code::BadOption, "command line");
    }
}
