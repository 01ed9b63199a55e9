//! What `heq-run` prints and writes of outputs, with labels and without; and what it refuses before it
//! talks to anybody.

use heq_compiler::lower::plan::PlanOptions;
use heq_data::{ArrayData, read_array};
use heq_ir::plan::AccStrategy;
use heq_ir::plan::codec::encode_weights;
use heq_ir::plan::reveal::Reveal;
use heq_ir::plan::weights::default_path;
use heq_tests::{compile_lenet, lenet, plan_options, program};
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

const NAMES: [&str; 10] =
    ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

/// The example's plan in a folder of its own, beside names of its classes.
struct Folder(TempDir);

impl Folder {
    fn new(reveal: Reveal) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let options = plan_options(AccStrategy::WeightAware);
        let compiled = compile_lenet(&PlanOptions { reveal, ..options });
        let plan = folder.file("plan.heq");
        std::fs::write(&plan, &compiled.plan_bytes).unwrap();
        std::fs::write(default_path(&plan), encode_weights(compiled.weights.spec()).unwrap())
            .unwrap();
        std::fs::write(folder.file("names.txt"), NAMES.join("\n") + "\n").unwrap();
        folder
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `heq-run` on the first of the example's five digits, in the folder.
    fn command(&self, samples: &str, arguments: &[&str]) -> Command {
        let mut command = program("heq-run");
        command.current_dir(&self.0).args(["--plan", "plan.heq", "--limit", samples, "--input"]);
        command.arg(lenet("input.npy")).args(arguments);
        command
    }

    /// What a run of both parties prints.
    fn local(&self, samples: &str, arguments: &[&str]) -> String {
        let output = self.command(samples, arguments).args(["--role", "local"]).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap()
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The classes of the first samples, as the example's labels say.
fn classes(samples: usize) -> Vec<usize> {
    let labels = read_array(&lenet("labels.npy"), None).unwrap().data().to_integers().unwrap();
    labels[..samples].iter().map(|&label| usize::try_from(label).unwrap()).collect()
}

#[test]
fn values_are_written_as_array_document_and_text() {
    let folder = Folder::new(Reveal::Logits);
    let plain = folder.local("5", &["--output", "out.npy"]);
    let named = folder.local("5", &["--labels", "names.txt", "--output", "out.json"]);
    assert_eq!(folder.local("5", &["--output", "out.txt"]), plain);
    assert_eq!(folder.read("out.txt"), plain);
    let classes = classes(5);
    assert_eq!([plain.lines().count(), named.lines().count()], [5; 2]);
    for ((plain, named), class) in plain.lines().zip(named.lines()).zip(&classes) {
        assert!(plain.contains(&format!(": class {class} (")) && plain.ends_with(')'), "{plain}");
        assert_eq!(named, format!("{plain} {}", NAMES[*class]));
    }

    let array = read_array(&folder.file("out.npy"), None).unwrap();
    let ArrayData::F32(values) = array.data() else { panic!("outputs are float32") };
    let document = folder.json("out.json");
    let plan = heq_data::plan_files::read_plan(&folder.file("plan.heq")).unwrap();
    assert_eq!(document["schema"], "heq-output/1");
    assert_eq!(document["plan"], plan.digest().to_string());
    let samples = document["samples"].as_array().unwrap();
    assert_eq!(samples.len(), classes.len());
    for ((sample, values), class) in samples.iter().zip(values.chunks(10)).zip(classes) {
        let found = sample["values"].as_array().unwrap().iter();
        let found: Vec<f32> = found.map(|value| value.as_f64().unwrap() as f32).collect();
        assert_eq!(found, values);
        assert_eq!((&sample["class"], &sample["label"]), (&json!(class), &json!(NAMES[class])));
    }
    let mut left = std::fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().path());
    assert!(left.all(|path| path.extension().unwrap() != "partial"));
}

#[test]
fn revealed_indices_are_named() {
    for (k, words) in [(1, "class"), (3, "classes")] {
        let folder = Folder::new(Reveal::Top { k });
        let plain = folder.local("2", &["--output", "plain.json"]);
        let named = folder.local("2", &["--labels", "names.txt", "--output", "named.json"]);
        let [without, with] = ["plain.json", "named.json"].map(|name| folder.json(name));
        for (sample, class) in classes(2).into_iter().enumerate() {
            let found = &without["samples"][sample];
            let indices = found["indices"].as_array().unwrap();
            assert_eq!((indices.len(), &indices[0]), (k as usize, &json!(class)));
            assert_eq!(found, &json!({"indices": indices, "class": class}));
            let mut expected = found.clone();
            expected["label"] = json!(NAMES[class]);
            assert_eq!(with["samples"][sample], expected);
            let indices = indices.iter().map(|index| index.as_u64().unwrap() as usize);
            let line = |name: &dyn Fn(usize) -> String| {
                let list: Vec<String> = indices.clone().map(name).collect();
                format!("sample {sample}: {words} {}", list.join(", "))
            };
            assert_eq!(plain.lines().nth(sample).unwrap(), line(&|index| index.to_string()));
            let name = |index: usize| format!("{index} {}", NAMES[index]);
            assert_eq!(named.lines().nth(sample).unwrap(), line(&name));
        }
    }
}

/// Labels and names of files that cannot be used, with a server that would notice a connection.
#[test]
fn unusable_labels_and_endings_are_refused_before_a_connection() {
    let folder = Folder::new(Reveal::Top { k: 1 });
    for (name, content) in
        [("nine.txt", NAMES[..9].join("\n")), ("hostile.txt", NAMES.join("\u{1b}[31m\n"))]
    {
        std::fs::write(folder.file(name), content).unwrap();
    }
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let address = server.local_addr().unwrap().to_string();
    let client = ["--role", "client", "--connect", &address, "--insecure-loopback"];
    for (option, value, expected) in [
        ("--labels", "nine.txt", &["HEQ-2002", "has 9 names, but the plan has 10 classes"][..]),
        ("--labels", "hostile.txt", &["HEQ-2002", "line 1", "control character U+001B"]),
        ("--labels", "missing.txt", &["HEQ-2001"]),
        ("--output", "out.csv", &[".npy", ".json", ".txt", "out.csv"]),
        ("--output", "out", &[".npy", ".json", ".txt"]),
    ] {
        for role in [&client[..], &["--role", "local"]] {
            let output = folder.command("1", role).args([option, value]).output().unwrap();
            let message = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{value}: {message}");
            assert!(expected.iter().all(|part| message.contains(part)), "{value}: {message}");
            assert!(output.stdout.is_empty());
        }
        assert_eq!(server.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "{value}");
    }
}
