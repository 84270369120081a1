//! `completions` and `man`: what other programs know of the command line, made from clap's
//! definition of it.

use std::io;

use super::args::docs::{CompletionsArgs, ManArgs};
use super::exit::{Exit, Failure};
use super::input::escaped_path;
use super::json;
use super::ui::Ui;

/// Prints a completion script to stdout.
pub(crate) fn completions(
    args: &CompletionsArgs,
    mut command: clap::Command,
    ui: &mut Ui,
) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    print(script, ui)
}

/// Prints the manual page to stdout, or writes those of all commands.
pub(crate) fn man(args: &ManArgs, command: clap::Command, ui: &mut Ui) -> Result<Exit, Failure> {
    let Some(folder) = &args.out else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page).map_err(|error| unwritten(&error))?;
        return print(page, ui);
    };
    let shown = escaped_path(folder);
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(command, folder))
        .map_err(|error| Failure::io(&format!("write pages into '{shown}'"), &error))?;
    ui.result(&shown);
    Ok(Exit::Success)
}

fn print(text: Vec<u8>, ui: &mut Ui) -> Result<Exit, Failure> {
    let text = String::from_utf8(text)
        .map_err(|error| unwritten(&io::Error::new(io::ErrorKind::InvalidData, error)))?;
    let text = text.trim_end();
    ui.record(|| json::document(text));
    ui.result(text);
    Ok(Exit::Success)
}

fn unwritten(error: &io::Error) -> Failure {
    Failure::io("write the page", error)
}
