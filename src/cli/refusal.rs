//! What is said when the command line is not understood: nobody has settled yet how things are
//! said, but for `--json`, which programs rely on.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;

use super::args::Refusal;
use super::exit::{Exit, Failure};
use super::json;
use super::settings::Sources;
use super::settings::flags::is_taken_back;

/// Tells whether JSON is what the program's own arguments, its name first, or its environment ask
/// for.
pub(crate) fn wants_json(args: &[OsString], sources: &Sources) -> bool {
    let mut typed = args.iter().skip(1).take_while(|arg| *arg != "--");
    let is_asked_for = typed.any(|arg| arg == "--json") || sources.has_switch("json");
    is_asked_for && !is_taken_back(args, "json", None)
}

/// Says why nothing is run, or prints the help or version that was asked for.
pub(crate) fn tell(refusal: Refusal, is_json: bool) -> ExitCode {
    let failure = match refusal {
        Refusal::Clap(error) if !error.use_stderr() => {
            // Help and version are results like others.
            let printed = error.print().err().and_then(|error| Failure::stdout(&error));
            let Some(failure) = printed else { return Exit::Success.into() };
            failure
        }
        Refusal::Clap(error) if is_json => usage(&error),
        Refusal::Clap(error) => {
            let _ = error.print();
            return Exit::Usage.into();
        }
        Refusal::Failed(failure) => failure,
    };
    // A closed stream leaves nobody to tell.
    if is_json {
        let _ = writeln!(io::stderr(), "{}", json::error(&failure, None));
        let summary = json::summary(json::Counts::default(), failure.exit);
        let _ = writeln!(io::stdout(), "{summary}");
    } else {
        let _ = writeln!(io::stderr(), "{}", failure.text());
    }
    failure.exit.into()
}

/// Returns what clap says about a command line, without the usage that it shows to people.
fn usage(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let message: Vec<&str> = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            vec!["no command is named"]
        }
        _ => text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect(),
    };
    let message = message.join(" ");
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    let failure = Failure::new(Exit::Usage, "usage", message);
    match text.lines().find_map(|line| line.trim().strip_prefix("tip: ")) {
        Some(tip) => failure.hint(tip),
        None => failure,
    }
}
