//! What shells and `man` are told of a program, from the description that also parses its arguments.
//!
//! Both programs have the subcommands `completions` and `man`; the arguments of these are here.

use crate::plan_files::write_file;
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use heq_ir::diagnostic::{Code, Diagnostic};
use std::io;
use std::path::PathBuf;

/// Arguments of the subcommand `completions`.
#[derive(Args, Debug)]
pub struct CompletionsArguments {
    /// The shell that will read it
    #[arg(value_enum)]
    shell: Shell,
}

impl CompletionsArguments {
    /// The script by which the shell completes command lines of `program`.
    #[must_use]
    pub fn script(&self, mut program: Command) -> String {
        let name = program.get_name().to_owned();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut program, name, &mut script);
        // It is made of text.
        String::from_utf8_lossy(&script).into_owned()
    }
}

/// Arguments of the subcommand `man`.
#[derive(Args, Debug)]
pub struct ManArguments {
    /// The folder to write them to; it is made if there is none
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

impl ManArguments {
    /// Writes a page of the manual for `program` and one for each of its subcommands, in roff.
    ///
    /// # Errors
    /// [`Code::FileAccess`] if one cannot be written.
    pub fn write(&self, program: Command) -> Result<(), Diagnostic> {
        let failed = |error: io::Error| {
            let place = self.output.display().to_string();
            let remedy = "name a folder that is writable and has room";
            let what = format!("the manual cannot be written: {error}");
            Diagnostic::new(Code::FileAccess, place, what, remedy)
        };
        let pages = pages(program).map_err(failed)?;
        std::fs::create_dir_all(&self.output).map_err(failed)?;
        pages.iter().try_for_each(|(name, page)| write_file(&self.output.join(name), page))
    }
}

/// Names and text of the pages of `program`.
fn pages(program: Command) -> io::Result<Vec<(String, Vec<u8>)>> {
    // The help of a subcommand is its page.
    let mut program = program.disable_help_subcommand(true);
    // Names of subcommands become those that users type.
    program.build();
    let source = format!("{} {}", program.get_name(), program.get_version().unwrap_or_default());
    let subcommands: Vec<Command> = program.get_subcommands().cloned().collect();
    let page = |command| {
        let manual = Man::new(command).source(&source);
        let mut page = Vec::new();
        manual.render(&mut page)?;
        Ok((manual.get_filename(), page))
    };
    std::iter::once(program).chain(subcommands).map(page).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Arg, ValueEnum};

    fn program() -> Command {
        let option = |name: &'static str| Arg::new(name).long(name).help("An option");
        let run = Command::new("run").about("Runs").arg(option("fast")).arg(Arg::new("MODEL"));
        Command::new("heq-test").version("1").about("Tests").arg(option("far-off")).subcommand(run)
    }

    #[test]
    fn every_shell_has_a_script() {
        for &shell in Shell::value_variants() {
            let script = CompletionsArguments { shell }.script(program());
            for word in ["heq-test", "far-off", "run", "fast"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }

    #[test]
    fn the_program_and_each_subcommand_have_a_page() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("a/new");
        let arguments = ManArguments { output: output.clone() };
        for _ in 0..2 {
            arguments.write(program()).unwrap();
        }
        let page = |name: &str| std::fs::read_to_string(output.join(name)).unwrap();
        assert!(page("heq-test.1").contains(r"\-\-far\-off\fR"));
        let run = page("heq-test-run.1");
        for part in ["\"heq-test 1\"", r"heq\-test run", r"\-\-fast\fR", "MODEL"] {
            assert!(run.contains(part), "{part}: {run}");
        }
        assert_eq!(std::fs::read_dir(&output).unwrap().count(), 2);
        let blocked = ManArguments { output: output.join("heq-test.1") };
        assert_eq!(blocked.write(program()).unwrap_err().code, Code::FileAccess);
    }
}
