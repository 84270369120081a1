//! Flags of features that do not exist yet. They are known, so that they are refused by name and
//! never silently accepted; a flag that *forbids* such a feature is accepted, because the promise
//! is kept ([`super::network`]).
//!
//! Whoever builds the feature takes its line out of [`LATER`] and puts the flag where it belongs.

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches};

use crate::cli::settings::{Setting, Settings, Value};

/// Flags that later versions have: long name, letter, and whether a value follows.
pub(super) const LATER: &[(&str, Option<char>, bool)] = &[
    ("insecure", None, false),
    ("peer-id-prefix", None, true),
    ("port-map", None, false),
    ("proxy", None, true),
    ("proxy-peers", None, false),
    ("stdout", None, true),
];

/// Values that flags of this version take in later ones.
const LATER_VALUES: &[(&str, &str)] = &[("encryption", "require")];

/// Returns the flags of [`LATER`] for clap, hidden.
pub(super) fn args() -> impl Iterator<Item = Arg> {
    LATER.iter().map(|&(long, short, takes_value)| {
        let action = if takes_value { ArgAction::Append } else { ArgAction::SetTrue };
        let arg = Arg::new(long).long(long).action(action).hide(true);
        // Optional, so that the flag is refused and not its missing value.
        let arg = if takes_value { arg.num_args(0..=1) } else { arg };
        if let Some(short) = short { arg.short(short) } else { arg }
    })
}

/// Refuses the first flag of [`LATER`] that was given, with its verb: "--proxy is".
pub(super) fn refuse(matches: &ArgMatches) -> Result<(), String> {
    let is_given = |long: &str| matches.value_source(long) == Some(ValueSource::CommandLine);
    // Not every subcommand has these flags, and clap panics when asked for one that it does not
    // know.
    let is_known = |long: &str| matches.try_contains_id(long).is_ok();
    if let Some((long, ..)) = LATER.iter().find(|(long, ..)| is_known(long) && is_given(long)) {
        return Err(format!("--{long} is"));
    }
    // As it was typed, whatever it was read as.
    let typed = |long: &str| matches.get_raw(long).filter(|_| is_given(long));
    let has = |long: &str, value: &str| {
        is_known(long) && typed(long).is_some_and(|mut words| words.any(|word| word == value))
    };
    let given = LATER_VALUES.iter().find(|(long, value)| has(long, value));
    given.map_or(Ok(()), |(long, value)| Err(format!("--{long} {value} is")))
}

/// Refuses the first setting of [`LATER`], whatever it is for: who made it counts on it. A switch
/// that is set to false is none.
pub(super) fn refuse_settings(settings: &Settings) -> Result<(), String> {
    let is_later = |setting: &Setting| LATER.iter().any(|(later, ..)| *later == setting.long);
    let is_made = |setting: &&Setting| is_later(setting) && setting.value != Value::Switch(false);
    if let Some(Setting { long, origin, .. }) = settings.all().iter().find(is_made) {
        return Err(format!("--{long} ({origin}) is"));
    }
    let made = settings.all().iter().find_map(|setting| Some((setting, later_value(setting)?)));
    made.map_or(Ok(()), |(Setting { long, origin, .. }, value)| {
        Err(format!("--{long} {value} ({origin}) is"))
    })
}

/// Returns what a setting is set to of [`LATER_VALUES`].
fn later_value(setting: &Setting) -> Option<&'static str> {
    let Value::Words(words) = &setting.value else { return None };
    let is_set = |(long, value): &&(&str, &str)| {
        setting.long == *long && words.iter().any(|word| word == value)
    };
    LATER_VALUES.iter().find(is_set).map(|(_, value)| *value)
}
