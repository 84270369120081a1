//! The only file that writes results: a table or a line of JSON to stdout, a file into `--out`,
//! failures to stderr.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::args::OutputArgs;
use crate::failure::{Exit, Failure};
use crate::machine;
use crate::report::Report;

/// The version of the JSON format; it changes only if a field changes its meaning.
const VERSION: u32 = 1;

/// Prints what a subcommand returned, and tells what the process exits with.
pub(crate) fn conclude(args: &OutputArgs, result: Result<Report, Failure>) -> Exit {
    match result.and_then(|report| publish(args, &report).map(|()| report)) {
        Ok(Report { failure: None, .. }) => Exit::Success,
        Ok(Report { failure: Some(message), .. }) => {
            complain(&message);
            Exit::Failed
        }
        Err(failure) => {
            complain(&failure.message);
            failure.exit
        }
    }
}

fn publish(args: &OutputArgs, report: &Report) -> Result<(), Failure> {
    let document = document(report);
    let text = if args.json { format!("{document}\n") } else { report.to_string() };
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written.map_err(|error| Failure::io("write to stdout", &error))?,
    }
    let Some(dir) = &args.out else { return Ok(()) };
    let name = args.out_name.as_deref().unwrap_or(report.bench);
    write_file(dir, name, &document).map_err(|error| Failure::io("write the results", &error))
}

/// Returns everything about a run: the report, when and on what it was made, and how to repeat it.
fn document(report: &Report) -> Value {
    let mut document = json!({
        "v": VERSION,
        "bench": report.bench,
        "version": env!("CARGO_PKG_VERSION"),
        "time": humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        "command": machine::command(),
        "machine": machine::facts(),
        "failure": report.failure,
    });
    if let (Some(all), Value::Object(figures)) = (document.as_object_mut(), report.to_json()) {
        all.extend(figures);
    }
    document
}

fn write_file(dir: &Path, name: &str, document: &Value) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    // Under another name until it is whole: what was there before is replaced, never cut off.
    let draft = dir.join(format!(".{name}.{}.tmp", std::process::id()));
    let written = fs::write(&draft, format!("{document:#}\n"))
        .and_then(|()| fs::rename(&draft, dir.join(format!("{name}.json"))));
    if written.is_err() {
        // The first error is the one that matters.
        let _ = fs::remove_file(&draft);
    }
    written
}

/// Writes a line to stderr; a closed stderr leaves nobody to tell.
fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "swarmloop-bench: error: {message}");
}
