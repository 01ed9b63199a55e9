//! `heqc report` and `heqc diff` in process: sums, widths, hostile files, limits, explanations.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy exempts test functions, not their helpers"
)]

mod support;

use heq_compiler::choices::{self, Choices};
use heq_ir::diagnostic::ExitStatus;
use serde_json::{Value, json};
use std::path::PathBuf;
use support::{Folder, choices_of, passing, refused, stats};

/// Width that tables keep within.
const WIDTH: usize = 100;

#[test]
fn tables_keep_within_the_width() {
    let folder = Folder::new(&[]);
    folder.rename(&"a_rather_long_name_of_a_layer/".repeat(5));
    let (plan, path) = (folder.plan(), folder.path("plan.heq"));
    let stats = folder.write("stats.json", &stats(&plan, 3));
    let choices = folder.write("choices.json", &choices_of(&plan, &"candidate ".repeat(20)));
    let other = Folder::new(&["--acc-bits", "worst-case"]);
    let texts = [
        passing(&["report", &path, "--measured", &stats, "--choices", &choices]),
        passing(&["report", &path, "--sort", "bytes"]),
        passing(&["report", &path, "--choices", &choices, "--explain", "2"]),
        passing(&["diff", &path, &other.path("plan.heq")]),
    ];
    for text in texts {
        // A name without a space cannot be broken.
        let words = text
            .lines()
            .filter(|line| line.split_whitespace().all(|word| word.chars().count() < 80));
        for line in words {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
        assert!(text.lines().count() > 10, "{text}");
    }
}

#[test]
fn rows_add_up_to_the_totals() {
    let folder = Folder::new(&[]);
    let report = folder.json();
    let layers = report["layers"].as_array().unwrap();
    let number = |value: &Value| value.as_u64().unwrap();
    for key in ["bytes_up", "bytes_down", "flights", "rots_server_sends", "rots_client_sends"] {
        let sum: u64 = layers.iter().map(|layer| number(&layer["cost"][key])).sum();
        assert_eq!(number(&report["online"][key]), sum, "{key}");
    }
    for key in ["requests", "responses", "bits_up", "bits_down", "rots_up", "rots_down"] {
        let sum: u64 = layers.iter().map(|layer| number(&layer["bytes"][key])).sum();
        assert_eq!(number(&report["bytes"][key]), sum, "{key}");
    }
    for layer in layers {
        let (bytes, cost) = (&layer["bytes"], &layer["cost"]);
        let up = number(&bytes["requests"]) + number(&bytes["bits_up"]);
        let down = number(&bytes["responses"]) + number(&bytes["bits_down"]);
        assert_eq!((up, down), (number(&cost["bytes_up"]), number(&cost["bytes_down"])), "{layer}");
        assert_eq!(number(&bytes["requests"]) > 0, layer["kind"] == "linear", "{layer}");
        assert_eq!(layer["he"]["failure_log2"].is_number(), layer["kind"] == "linear", "{layer}");
    }
    let share: f64 = layers.iter().map(|layer| layer["share"]["bytes"].as_f64().unwrap()).sum();
    assert!((share - 1.0).abs() < 1e-9, "{share}");
    assert!(
        report["failure_log2"].as_f64().unwrap() <= report["error_budget_log2"].as_f64().unwrap()
    );
}

#[test]
fn steps_pay_for_their_random_ots_pro_rata() {
    for ot in ["softspoken:4", "silent:18"] {
        let report = Folder::new(&["--ot", ot]).json();
        let [exact, pro_rata] = [["bytes_up", "bytes_down"], ["rots_up", "rots_down"]];
        for (exact, pro_rata) in exact.into_iter().zip(pro_rata) {
            let exact = report["correlations"][exact].as_f64().unwrap();
            let ratio = report["bytes"][pro_rata].as_f64().unwrap() / exact;
            // Silent OT makes more than are used; SoftSpoken adds the headers of its messages.
            let expected = if ot.starts_with("silent") { 0.2..=1.0 } else { 0.99..=1.0 };
            assert!(expected.contains(&ratio), "{ot} {pro_rata}: {ratio}");
        }
    }
}

#[test]
fn times_follow_the_link() {
    let folder = Folder::new(&[]);
    let path = folder.path("plan.heq");
    let time = |network: &str| {
        let text = passing(&["report", &path, "--json", "--network", network]);
        let report: Value = serde_json::from_str(&text).unwrap();
        assert!(report["situation"]["link"].is_string());
        report["prediction"]["online_s"].as_f64().unwrap()
    };
    assert!(time("lan") < time("wan") && time("wan") < time("1Mbit,40ms"));
    refused(&["report", &path, "--network", "fast"], ExitStatus::Usage, &["fast"]);
    refused(&["report", &path, "--threads", "0"], ExitStatus::Usage, &["--threads"]);
}

#[test]
fn text_from_files_is_escaped() {
    let folder = Folder::new(&[]);
    let hostile = "<script>alert('x')</script>\"&\u{1b}[31m";
    folder.rename(hostile);
    let (plan, path) = (folder.plan(), folder.path("plan.heq"));
    let choices = folder.write("choices.json", &choices_of(&plan, hostile));
    let mut run = stats(&plan, 1);
    run["link"] = hostile.into();
    let stats = folder.write("stats.json", &run);
    for format in ["html", "svg", "table"] {
        let text = passing(&[
            "report",
            &path,
            "--format",
            format,
            "--choices",
            &choices,
            "--measured",
            &stats,
        ]);
        assert!(!text.contains('\u{1b}'), "{format}");
        if format != "table" {
            assert!(!text.contains("<script>alert") && !text.contains("alert('x')"), "{format}");
            assert!(text.contains("&lt;script&gt;"), "{format}");
        }
    }
    let page = passing(&["report", &path, "--format", "html", "--choices", &choices]);
    assert_eq!(page.matches("<script>").count(), 1);
    for external in ["src=", "href=", "url(", "@import"] {
        assert!(!page.contains(external), "{external}");
    }
}

/// A change to a document that makes it wrong, and what the error says.
type Damage = (fn(&mut Value), &'static str);

#[test]
fn choices_of_another_plan_are_refused() {
    let folder = Folder::new(&[]);
    let (plan, path) = (folder.plan(), folder.path("plan.heq"));
    let damages: [Damage; 7] = [
        (|document| document["schema"] = "heq-choices/2".into(), "heq-choices/2"),
        (|document| document["plan"] = "00".into(), "belongs to plan 00"),
        (|document| document["layers"][1]["step"] = 17.into(), "names step 18"),
        (|document| document["layers"][1]["step"] = 1.into(), "names steps twice"),
        (|document| document["solver"]["gap"] = Value::Null, "heq-choices/1"),
        (|document| document["advice"] = "none".into(), "heq-choices/1"),
        (|document| *document = Value::Null, "is a document ``"),
    ];
    for (damage, what) in damages {
        let mut document = choices_of(&plan, "x");
        damage(&mut document);
        let file = folder.write("plan.choices.json", &document);
        refused(&["report", &path, "--choices", &file], ExitStatus::Usage, &["HEQ-2004", what]);
        // Beside the plan it is no error, unless it is needed.
        let text = passing(&["report", &path]);
        let line = text.lines().find(|line| line.starts_with("advice")).unwrap();
        assert!(line.contains("plan.choices.json beside the plan"), "{line}");
        refused(&["report", &path, "--explain", "2"], ExitStatus::Usage, &["HEQ-2003"]);
    }
    std::fs::write(folder.path("plan.choices.json"), "{\"schema\"").unwrap();
    let file = folder.path("plan.choices.json");
    refused(&["report", &path, "--choices", &file], ExitStatus::Usage, &["HEQ-2004", "not JSON"]);
    let file = folder.path("missing.json");
    refused(&["report", &path, "--choices", &file], ExitStatus::Usage, &["HEQ-2001"]);
}

#[test]
fn choices_are_read_as_they_are_written() {
    let folder = Folder::new(&[]);
    let plan = folder.plan();
    let path = PathBuf::from(folder.path("plan.choices.json"));
    let mut choices: Choices = serde_json::from_value(choices_of(&plan, "x")).unwrap();
    std::fs::write(&path, choices::encode(&path, &choices).unwrap()).unwrap();
    assert_eq!(choices::read(&path, &plan).unwrap(), choices);
    choices.solver.gap = f64::NAN;
    let error = choices::encode(&path, &choices).unwrap_err();
    assert_eq!(error.code, heq_ir::diagnostic::Code::Internal);
    choices.solver.gap = 0.0;
    assert_eq!(choices::read(&path, &plan).unwrap(), choices, "the file is as it was");
}

#[test]
fn choices_tell_assumptions_and_advice() {
    let folder = Folder::new(&[]);
    let path = folder.path("plan.heq");
    folder.write("plan.choices.json", &choices_of(&folder.plan(), "/c1/Conv"));
    let text = passing(&["report", &path]);
    for needle in ["lan: 3 Gbit/s each way", "3 threads, each party", "--max-bytes 1MB", "3. three"]
    {
        assert!(text.contains(needle), "{needle}: {text}");
    }
    assert!(text.contains("saves 5.00 kB and costs 500 ms") && !text.contains("four"), "{text}");
    assert!(text.contains("the best single choice for all layers takes 100 s"), "{text}");
    assert!(text.contains("; this plan "), "{text}");
    // Times on another network are not compared.
    assert!(!passing(&["report", &path, "--network", "wan"]).contains("; this plan "));
    let report = folder.json();
    assert_eq!(report["choices"]["advice"].as_array().unwrap().len(), 3);
    assert_eq!(report["choices"]["solver"]["status"], "optimal");
}

#[test]
fn statistics_of_another_plan_are_refused() {
    let folder = Folder::new(&[]);
    let (plan, path) = (folder.plan(), folder.path("plan.heq"));
    let damages: [Damage; 6] = [
        (|document| document["schema"] = "heq-bench/1".into(), "heq-bench/1"),
        (|document| document["plan"] = "00".into(), "is of plan 00"),
        (|document| document["layers"] = json!([]), "has 0 layers"),
        (|document| document["inferences"] = 0.into(), "without an inference"),
        (|document| document["online"]["wall_s"] = (-1.0).into(), "negative time"),
        (|document| document["online"]["bytes_up"] = (-1).into(), "heq-stats/1"),
    ];
    for (damage, what) in damages {
        let mut document = stats(&plan, 2);
        damage(&mut document);
        let file = folder.write("stats.json", &document);
        refused(&["report", &path, "--measured", &file], ExitStatus::Usage, &["HEQ-2004", what]);
    }
}

#[test]
fn measured_figures_stand_beside_the_predicted() {
    let folder = Folder::new(&[]);
    let (plan, path) = (folder.plan(), folder.path("plan.heq"));
    let mut document = stats(&plan, 2);
    let file = folder.write("stats.json", &document);
    let text = passing(&["report", &path, "--measured", &file]);
    assert!(text.contains("flights of every step equal the predicted ones"), "{text}");
    // The link of the run, both parties on one machine, and half of what two inferences took.
    assert!(
        text.contains("50 Mbit/s each way, 60 ms") && text.contains("on one machine"),
        "{text}"
    );
    assert!(text.contains("62.5 ms") && text.contains("12.3 MB of memory"), "{text}");
    let exact = |document: &Value| {
        let file = folder.write("stats.json", document);
        let text = passing(&["report", &path, "--json", "--measured", &file]);
        let report: Value = serde_json::from_str(&text).unwrap();
        let steps = report["measured"]["steps"].as_array().unwrap();
        let inexact = steps.iter().filter(|step| step["is_exact"] == false).count();
        (inexact, report["measured"]["online"]["wall_s"]["measured"].clone())
    };
    assert_eq!(exact(&document), (0, json!(0.75)));
    let bytes = document["layers"][1]["bytes_up"].as_u64().unwrap();
    document["layers"][1]["bytes_up"] = (bytes + 1).into();
    assert_eq!(exact(&document).0, 1);
    let text = passing(&["report", &path, "--measured", &file]);
    assert!(text.contains("+1 B") && text.contains("report this fault"), "{text}");
}

#[test]
fn layers_are_explained_by_name_and_by_number() {
    let folder = Folder::new(&[]);
    let path = folder.path("plan.heq");
    refused(&["report", &path, "--explain", "2"], ExitStatus::Usage, &["no plan.choices.json"]);
    folder.write("plan.choices.json", &choices_of(&folder.plan(), "a candidate"));
    let by_number = passing(&["report", &path, "--explain", "2"]);
    let needles = [
        "step 2: Conv /c1/Conv",
        "9 candidates",
        "memory of the server decided",
        "500 us",
        "no ring has room",
    ];
    for needle in needles {
        assert!(by_number.contains(needle), "{needle}: {by_number}");
    }
    let by_name = passing(&["report", &path, "--explain", "/c1/Conv"]);
    assert!(
        by_name.contains("step 1: Conv") && by_name.contains("there was no choice"),
        "{by_name}"
    );
    assert!(by_name.ends_with(&by_number), "{by_name}");
    let json = passing(&["report", &path, "--json", "--explain", "/c1/Conv"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["explain"][1]["choices"]["candidates"][1]["bytes_up"], 2000);
    for unknown in ["c1/Conv", "0", "18", "99999999999999999999"] {
        let needles = ["HEQ-2003", "1 to 17", "/c1/Conv"];
        let needles = if unknown == "c1/Conv" { &needles[..] } else { &needles[..2] };
        refused(&["report", &path, "--explain", unknown], ExitStatus::Usage, needles);
    }
}

#[test]
fn limits_that_do_not_hold_are_named() {
    let folder = Folder::new(&[]);
    let path = folder.path("plan.heq");
    let report = folder.json();
    let flights = report["online"]["flights"].as_u64().unwrap();
    let all =
        |part: &Value| part["bytes_up"].as_u64().unwrap() + part["bytes_down"].as_u64().unwrap();
    let bytes = all(&report["online"]) + all(&report["correlations"]);
    for (option, holds, broken) in [
        ("--max-bytes", bytes.to_string(), (bytes - 1).to_string()),
        ("--max-flights", flights.to_string(), (flights - 1).to_string()),
        ("--max-latency", "1000".to_owned(), "0.001".to_owned()),
        ("--max-memory", "4GiB".to_owned(), "1kB".to_owned()),
    ] {
        passing(&["report", &path, option, &holds]);
        refused(&["report", &path, option, &broken], ExitStatus::CheckFailed, &[option]);
    }
}

#[test]
fn rows_are_sorted_as_asked() {
    let folder = Folder::new(&[]);
    let path = folder.path("plan.heq");
    let figures = |sort: &str, figure: fn(&Value) -> f64| -> Vec<f64> {
        let text = passing(&["report", &path, "--json", "--sort", sort]);
        let report: Value = serde_json::from_str(&text).unwrap();
        report["layers"].as_array().unwrap().iter().map(figure).collect()
    };
    let share = |layer: &Value| layer["share"]["bytes"].as_f64().unwrap();
    let time = |layer: &Value| layer["prediction"]["wall_s"].as_f64().unwrap();
    assert!(figures("bytes", share).is_sorted_by(|a, b| a >= b));
    assert!(figures("time", time).is_sorted_by(|a, b| a >= b));
    assert!(figures("order", |layer| layer["step"].as_f64().unwrap()).is_sorted());
}

#[test]
fn files_are_written_where_asked() {
    let folder = Folder::new(&[]);
    let (path, page) = (folder.path("plan.heq"), folder.path("page.html"));
    let out = passing(&["report", &path, "--format", "html", "--output", &page]);
    assert_eq!(out, "");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
    assert_eq!(page.matches("<svg class=\"chart\"").count(), 2);
    assert!(passing(&["report", &path, "--wide"]).contains("RequantizeSelect"));
}

#[test]
fn plans_are_compared_step_by_step() {
    let (a, b) = (Folder::new(&[]), Folder::new(&["--acc-bits", "worst-case"]));
    let (a, b) = (a.path("plan.heq"), b.path("plan.heq"));
    assert!(passing(&["diff", &a, &a]).ends_with("the plans are the same\n"));
    let diff = |a: &str, b: &str| -> Value {
        serde_json::from_str(&passing(&["diff", a, b, "--json"])).unwrap()
    };
    let (there, back) = (diff(&a, &b), diff(&b, &a));
    assert_eq!((&there["schema"], &there["is_same"]), (&"heq-diff/1".into(), &false.into()));
    let steps = there["steps"].as_array().unwrap();
    assert!(!steps.is_empty());
    for (step, reverse) in steps.iter().zip(back["steps"].as_array().unwrap()) {
        assert_eq!((&step["a"], &step["b"]), (&reverse["b"], &reverse["a"]));
    }
    // What does not differ is not listed, so listed steps account for the whole change.
    let number = |value: &Value| value.as_i64().unwrap_or_default();
    let change: i64 =
        steps.iter().map(|s| number(&s["b"]["bytes_up"]) - number(&s["a"]["bytes_up"])).sum();
    let total = &there["totals"][0];
    assert_eq!(change, number(&total["b"]["bytes_up"]) - number(&total["a"]["bytes_up"]));
    let text = passing(&["diff", &a, &b]);
    assert!(text.contains("accumulators: weight-aware -> worst-case"), "{text}");
    assert!(text.contains(" steps differ\n") && text.contains(" -> "), "{text}");
}
