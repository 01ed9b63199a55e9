//! `heq-run fetch-plan`: gets a public plan from a server.

use super::args::FetchArguments;
use super::{Output, print};
use crate::client::{QUESTION_LIMIT, Route};
use crate::error::RunError;
use crate::service::Listed;
use crate::service::fetch::{self, PlanKey};
use crate::settings::missing;
use heq_data::plan_files::write_file;
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_ir::stop::Stop;

pub(super) fn run(arguments: &FetchArguments, output: &mut Output<'_>) -> Result<(), Diagnostic> {
    let route = arguments.peer.route()?;
    if arguments.list {
        let listed = list(&route)?;
        if arguments.json {
            let document = serde_json::json!({ "schema": "heq-plans/1", "plans": listed });
            return print(output, &format!("{document:#}\n"));
        }
        let line = |plan: &Listed| {
            let shown = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
            let name: String = plan.name.chars().map(shown).collect();
            format!("{name}  {}  {} bytes\n", plan.digest, plan.bytes)
        };
        return print(output, &listed.iter().map(line).collect::<String>());
    }
    let path = arguments.output.as_ref().ok_or_else(|| missing("-o PLAN.heq"))?;
    let key = match &arguments.plan {
        Some(key) => key.clone(),
        None => match list(&route)?.as_slice() {
            [only] => PlanKey::Name(only.name.clone()),
            plans => {
                let what = format!("the server has {} plans", plans.len());
                let remedy = "name one of those that --list shows";
                return Err(Diagnostic::new(Code::BadOption, "fetch-plan", what, remedy));
            }
        },
    };
    let fetched =
        route.within(QUESTION_LIMIT, &Stop::default(), |channel| fetch::plan(channel, &key));
    let (plan, bytes) = fetched.map_err(RunError::into_diagnostic)?;
    write_file(path, &bytes)?;
    let _ = writeln!(output.out, "{}: plan {}", path.display(), plan.digest());
    Ok(())
}

fn list(route: &Route) -> Result<Vec<Listed>, Diagnostic> {
    route.within(QUESTION_LIMIT, &Stop::default(), fetch::list).map_err(RunError::into_diagnostic)
}
