//! `cargo xtask report-page`: the HTML report as a browser shows it.
//!
//! Every example, and every model that is named, is compiled; its page is opened in headless Chromium at
//! two widths. A script that is added to a copy of the page looks for what does not fit: the page itself,
//! cells, and texts of charts that leave the chart or cover each other. Pictures are left for people.

use crate::error::TaskError;
use crate::run::{Reaped, cargo, describe, root, run, target_folder};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Widths of windows in pixels.
const WIDTHS: [u32; 2] = [1280, 800];

/// Height of pictures in pixels.
const HEIGHT: u32 = 5000;

/// Names under which the browser may be installed.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// How long the browser may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The folder of the examples, from the root of the workspace.
const EXAMPLES: &str = "examples/onnx";

/// Unfolds everything and writes what does not fit into an attribute of the root.
const CHECK: &str = include_str!("report_page.js");

/// Runs the task on the examples and on `models`.
///
/// # Errors
/// [`TaskError`] if a step fails or something does not fit.
pub(crate) fn report_page(models: &[&str], out: &mut dyn Write) -> Result<(), TaskError> {
    let Some(browser) = BROWSERS.into_iter().find(|name| is_installed(name)) else {
        writeln!(out, "skipped: needs Chromium, and none of {} can be run", BROWSERS.join(", "))?;
        return Ok(());
    };
    run(&mut cargo(["build", "--release", "-p", "heq-compiler", "-p", "heq-runtime"]), out)?;
    let folder = target_folder()?.join("report-page");
    std::fs::create_dir_all(&folder).map_err(in_file(&folder))?;
    let mut misfits = Vec::new();
    for model in examples()?.into_iter().chain(models.iter().map(PathBuf::from)) {
        let page = write_page(&model, &folder, out)?;
        for width in WIDTHS {
            for misfit in look(browser, &page, width, out)? {
                misfits.push(format!("{} at {width} pixels: {misfit}", page.display()));
            }
        }
    }
    if misfits.is_empty() {
        writeln!(out, "Everything fits. Pictures are in {}", folder.display())?;
        return Ok(());
    }
    Err(TaskError::Failed { what: misfits.join("\n") })
}

fn is_installed(name: &str) -> bool {
    let mut command = Command::new(name);
    let quiet = command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// The models of all examples.
fn examples() -> Result<Vec<PathBuf>, TaskError> {
    let folder = root().join(EXAMPLES);
    let entries = std::fs::read_dir(&folder).map_err(in_file(&folder))?;
    let models = entries.filter_map(|entry| Some(entry.ok()?.path().join("model.onnx")));
    let mut models: Vec<PathBuf> = models.filter(|path| path.is_file()).collect();
    models.sort();
    Ok(models)
}

/// Compiles a model, runs it if there is an input beside it, and writes its page.
fn write_page(model: &Path, folder: &Path, out: &mut dyn Write) -> Result<PathBuf, TaskError> {
    let target = target_folder()?;
    let program = |name: &str| {
        let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
        Command::new(target.join("release").join(file))
    };
    let name = page_name(model);
    let (plan, page) = (folder.join(format!("{name}.heq")), folder.join(format!("{name}.html")));
    run(program("heqc").arg("compile").arg(model).arg("-o").arg(&plan), out)?;
    let mut report = program("heqc");
    report.arg("report").arg(&plan).args(["--format", "html", "--output"]).arg(&page);
    let input = model.with_file_name("input.npy");
    if input.is_file() {
        let stats = folder.join(format!("{name}.stats.json"));
        let mut session = program("heq-run");
        session.arg("--plan").arg(&plan).args(["--role", "local", "--link", "lan", "--input"]);
        run(session.arg(input).arg("--stats").arg(&stats), out)?;
        report.arg("--measured").arg(stats);
    }
    run(&mut report, out)?;
    Ok(page)
}

/// A name for the page of a model: of an example that of its folder.
fn page_name(model: &Path) -> String {
    let stem = model.file_stem();
    let folder = model.parent().and_then(Path::file_name);
    let name = if stem.is_some_and(|stem| stem == "model") { folder.or(stem) } else { stem };
    name.map_or("model".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Opens a page in a window of `width` pixels, takes a picture, and tells what does not fit.
fn look(
    browser: &str,
    page: &Path,
    width: u32,
    out: &mut dyn Write,
) -> Result<Vec<String>, TaskError> {
    let html = std::fs::read_to_string(page).map_err(in_file(page))?;
    let checked = page.with_extension("check.html");
    let script = format!("<script>\n{CHECK}</script>\n</body>");
    std::fs::write(&checked, html.replace("</body>", &script)).map_err(in_file(&checked))?;
    let picture = page.with_extension(format!("{width}.png"));
    let screenshot = format!("--screenshot={}", picture.display());
    browse(browser, page, width, &screenshot, out)?;
    let document = browse(browser, &checked, width, "--dump-dom", out)?;
    found_misfits(&document).ok_or_else(|| TaskError::Malformed {
        place: checked.display().to_string(),
        what: "the script that looks for what does not fit did not run".to_owned(),
    })
}

/// What the script wrote: the number of charts it saw, then what does not fit; none if it did not run.
fn found_misfits(document: &str) -> Option<Vec<String>> {
    let (_, rest) = document.split_once("data-charts=\"")?;
    let (charts, _) = rest.split_once('"')?;
    let (_, rest) = document.split_once("data-misfits=\"")?;
    let (misfits, _) = rest.split_once('"')?;
    let mut found: Vec<String> =
        misfits.split('\n').filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if charts.parse::<u32>().ok()? == 0 {
        found.push("there is no chart".to_owned());
    }
    Some(found)
}

/// Runs the browser on a page and returns what it printed.
fn browse(
    browser: &str,
    page: &Path,
    width: u32,
    action: &str,
    out: &mut dyn Write,
) -> Result<String, TaskError> {
    let profile = page.with_extension("profile");
    let printed = page.with_extension("dom");
    let file = std::fs::File::create(&printed).map_err(in_file(&printed))?;
    let mut command = Command::new(browser);
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"])
        .args(["--disable-background-networking", "--hide-scrollbars"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("--window-size={width},{HEIGHT}"))
        .arg(action)
        .arg(format!("file://{}", page.display()))
        .stdout(file)
        .stderr(Stdio::null());
    writeln!(out, "$ {}", describe(&command))?;
    let mut process = Reaped::spawn(&mut command)?;
    let end = Instant::now() + PATIENCE;
    while process.child.try_wait()?.is_none() {
        if Instant::now() > end {
            return Err(TaskError::Failed { what: format!("{browser} does not end") });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    process.finish()?;
    let text = std::fs::read(&printed).map_err(in_file(&printed))?;
    std::fs::remove_file(&printed).map_err(in_file(&printed))?;
    // A profile that stays takes room and does no harm.
    let _ = std::fs::remove_dir_all(&profile);
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn in_file(path: &Path) -> impl FnOnce(std::io::Error) -> TaskError + use<> {
    let path: PathBuf = path.to_owned();
    |source| TaskError::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misfits_are_read_from_the_page() {
        let page = |charts: u32, misfits: &str| {
            found_misfits(&format!("<html data-charts=\"{charts}\" data-misfits=\"{misfits}\">"))
        };
        assert_eq!(page(2, ""), Some(vec![]));
        assert_eq!(page(2, "a\nb"), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(page(0, ""), Some(vec!["there is no chart".to_owned()]));
        assert_eq!(found_misfits("<html>"), None);
    }

    #[test]
    fn pages_of_examples_are_named_after_their_folder() {
        assert_eq!(page_name(Path::new("examples/onnx/lenet/model.onnx")), "lenet");
        assert_eq!(page_name(Path::new("resnet.onnx")), "resnet");
        assert!(!examples().unwrap().is_empty());
    }
}
