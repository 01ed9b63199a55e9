//! `heq-run doctor`: what a run depends on, checked.

use super::args::DoctorArguments;
use super::{Output, cert, print};
use crate::client::QUESTION_LIMIT;
use crate::error::RunError;
use crate::service::fetch;
use crate::session::PROTOCOL_VERSION;
use crate::settings::identity;
use heq_data::plan_files::read_plan;
use heq_ir::diagnostic::{Diagnostic, ExitStatus};
use heq_ir::stop::Stop;
use heq_net::Channel;
use heq_net::tls::Certificate;
use std::time::{Instant, SystemTime};

/// What was looked at, and what was found.
#[derive(serde::Serialize)]
struct Finding {
    what: &'static str,
    is_good: bool,
    text: String,
}

pub(super) fn run(
    arguments: &DoctorArguments,
    output: &mut Output<'_>,
) -> Result<ExitStatus, Diagnostic> {
    let mut findings = vec![
        good(
            "version",
            format!("heq-run {}, wire protocol {PROTOCOL_VERSION}", env!("CARGO_PKG_VERSION")),
        ),
        good("processor", processor()),
    ];
    let mut digests = Vec::new();
    for path in &arguments.plan {
        findings.push(match read_plan(path) {
            Ok(plan) => {
                digests.push(plan.digest().to_string());
                good("plan", format!("{}: {}", path.display(), plan.digest()))
            }
            Err(diagnostic) => bad("plan", &diagnostic),
        });
    }
    let peer = &arguments.peer;
    if let Some(path) = &peer.identity.identity {
        findings.push(match identity::read_identity(path) {
            Ok(identity) => certificate(identity.certificate()),
            Err(diagnostic) => bad("certificate", &diagnostic),
        });
    }
    if peer.connect.is_some() {
        findings.extend(server(arguments, &digests));
    }
    let bad = findings.iter().filter(|finding| !finding.is_good).count();
    if arguments.json {
        let document = serde_json::json!({ "schema": "heq-doctor/1", "findings": findings });
        print(output, &format!("{document:#}\n"))?;
    } else {
        let line = |Finding { what, is_good, text }: &Finding| {
            let mark = if *is_good { "ok " } else { "BAD" };
            format!("{mark} {what:<12} {}\n", text.replace('\n', "\n                 "))
        };
        print(output, &findings.iter().map(line).collect::<String>())?;
    }
    Ok(if bad == 0 { ExitStatus::Done } else { ExitStatus::CheckFailed })
}

fn good(what: &'static str, text: String) -> Finding {
    Finding { what, is_good: true, text }
}

fn bad(what: &'static str, diagnostic: &Diagnostic) -> Finding {
    Finding { what, is_good: false, text: diagnostic.to_string() }
}

/// The instructions that the kernels use, as far as this processor has them.
fn processor() -> String {
    #[cfg(target_arch = "x86_64")]
    let found = [
        ("aes", std::arch::is_x86_feature_detected!("aes")),
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
        ("avx512ifma", std::arch::is_x86_feature_detected!("avx512ifma")),
        ("vaes", std::arch::is_x86_feature_detected!("vaes")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let found: [(&str, bool); 0] = [];
    let [mut with, mut without] = [Vec::new(), Vec::new()];
    for (name, is_there) in found {
        if is_there { with.push(name) } else { without.push(name) }
    }
    let threads = rayon::current_num_threads();
    let mut text = format!("{}, {threads} thread(s)", std::env::consts::ARCH);
    for (label, names) in [("with", with), ("without", without)] {
        if !names.is_empty() {
            text += &format!("; {label} {}", names.join(", "));
        }
    }
    text
}

fn certificate(certificate: &Certificate) -> Finding {
    let now = SystemTime::now();
    let is_good = certificate.is_valid_at(now) && certificate.is_valid_at(now + cert::RENEW_BEFORE);
    Finding { what: "certificate", is_good, text: cert::describe(certificate) }
}

/// The way to a server, who it is, and whether it has the plans.
fn server(arguments: &DoctorArguments, digests: &[String]) -> Vec<Finding> {
    let start = Instant::now();
    let ask = |channel: Channel| {
        let connecting = start.elapsed();
        let who = match channel.peer() {
            Some(peer) => format!("{}, key {}", peer.name, peer.pin),
            None => "on this machine, not encrypted".to_owned(),
        };
        let listed = fetch::list(channel)?;
        Ok((who, connecting, start.elapsed() - connecting, listed))
    };
    let asked = arguments.peer.route().and_then(|route| {
        let asked = route.within(QUESTION_LIMIT, &Stop::default(), ask);
        asked.map_err(RunError::into_diagnostic)
    });
    let (who, connecting, asking, listed) = match asked {
        Ok(asked) => asked,
        Err(diagnostic) => return vec![bad("server", &diagnostic)],
    };
    let milliseconds = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    let mut findings = vec![good(
        "server",
        format!(
            "{who}; {} plan(s); {:.1} ms to connect and authenticate, {:.1} ms to ask",
            listed.len(),
            milliseconds(connecting),
            milliseconds(asking)
        ),
    )];
    for digest in digests {
        let is_good = listed.iter().any(|plan| plan.digest == *digest);
        let text = if is_good { "the server has" } else { "the server does not have" };
        findings.push(Finding { what: "plan", is_good, text: format!("{text} {digest}") });
    }
    findings
}
