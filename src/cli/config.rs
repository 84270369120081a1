//! `config`: which settings hold, and where each comes from.
//!
//! What is printed is a configuration file that would set the same.

use super::args::config::ConfigArgs;
use super::exit::Exit;
use super::json;
use super::settings::flags::{Flag, Flags, Kind, NETWORK};
use super::settings::{Setting, Settings, Value};
use super::ui::Ui;

/// Where a value comes from that nobody has set.
const DEFAULT: &str = "default";

/// Prints the settings.
pub(crate) fn run(args: &ConfigArgs, flags: &Flags, settings: &Settings, ui: &mut Ui) -> Exit {
    let entries = entries(flags, settings);
    let width = entries.iter().map(|entry| entry.line().chars().count()).max().unwrap_or(0);
    let mut table = None;
    for entry in &entries {
        ui.record(|| json::setting(entry.table, &entry.key, entry.json(), &entry.origin));
        if entry.table != table {
            table = entry.table;
            ui.result(&format!("\n[{}]", table.unwrap_or_default()));
        }
        let line = entry.line();
        if args.show_origin {
            ui.result(&format!("{line:width$}  # {}", entry.origin));
        } else {
            ui.result(&line);
        }
    }
    Exit::Success
}

/// A value that holds.
#[derive(Debug)]
struct Entry<'a> {
    /// `None` before the first table.
    table: Option<&'a str>,
    key: String,
    kind: Kind,
    /// Whether it stays text even if it is a number.
    is_path: bool,
    value: Value,
    origin: String,
}

impl Entry<'_> {
    /// Returns the line of a configuration file that says the same.
    fn line(&self) -> String {
        format!("{} = {}", self.key, json::escaped(&self.json()))
    }

    fn json(&self) -> serde_json::Value {
        let texts = |words: &[std::ffi::OsString]| -> Vec<String> {
            words.iter().map(|word| word.to_string_lossy().into_owned()).collect()
        };
        match &self.value {
            Value::Switch(on) => (*on).into(),
            Value::Words(words) if self.kind == Kind::List => texts(words).into(),
            Value::Words(words) => match (texts(words).concat(), self.is_path) {
                (text, false) => number(&text).unwrap_or_else(|| text.into()),
                (text, true) => text.into(),
            },
        }
    }
}

/// Returns the number that a text is.
fn number(text: &str) -> Option<serde_json::Value> {
    let whole = text.parse::<u64>().ok().map(Into::into);
    let is_decimal = || text.contains('.') && text.starts_with(|c: char| c.is_ascii_digit());
    whole.or_else(|| text.parse::<f64>().ok().filter(|_| is_decimal()).map(Into::into))
}

/// Returns what holds for all commands, for those with network flags, and what else for each.
fn entries<'a>(flags: &'a Flags, settings: &Settings) -> Vec<Entry<'a>> {
    let mut entries = Vec::new();
    let shown = || flags.all().iter().filter(|flag| !flag.is_hidden);
    for flag in shown().filter(|flag| flag.command.is_none()) {
        entries.extend(entry(None, flag, settings.of(flag, None)));
    }
    let mut network: Vec<&Flag> = shown().filter(|flag| flag.in_network).collect();
    network.sort_by_key(|flag| &flag.long);
    network.dedup_by_key(|flag| &flag.long);
    for flag in network {
        entries.extend(entry(Some(NETWORK), flag, settings.of(flag, None)));
    }
    for name in flags.commands() {
        for flag in flags.of(name).filter(|flag| !flag.is_hidden) {
            let setting = settings.of(flag, Some(name));
            let is_said = flag.command.is_none() || flag.in_network;
            if !is_said || setting != settings.of(flag, None) {
                entries.extend(entry(Some(name), flag, setting));
            }
        }
    }
    entries
}

/// Returns what holds of a flag: what it is set to, else its default, if it has one.
fn entry<'a>(table: Option<&'a str>, flag: &Flag, setting: Option<&Setting>) -> Option<Entry<'a>> {
    let (value, origin) = match setting {
        Some(setting) => (setting.value.clone(), setting.origin.to_string()),
        None => (flag.defaults()?, DEFAULT.to_owned()),
    };
    Some(Entry { table, key: flag.key(), kind: flag.kind, is_path: flag.is_path, value, origin })
}
