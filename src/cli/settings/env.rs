//! Settings of the environment: `SWARMLOOP_` and the flag in capitals, `-` as `_`.

use std::ffi::{OsStr, OsString};

use super::flags::{Flags, Kind};
use super::{Origin, Scope, Setting, Value, refusal};
use crate::cli::after::TOLD;
use crate::cli::exit::Failure;
use crate::cli::words;

/// What the names of all variables begin with.
pub(super) const PREFIX: &str = "SWARMLOOP_";

/// Flags that have a second variable, which counts where the first one is not set.
const OTHER_NAMES: [(&str, &str); 1] = [("log-level", "SWARMLOOP_LOG")];

/// Leaves out what `--on-complete` tells a program of a download, which may be this program.
pub(super) fn settable(mut env: Vec<(String, OsString)>) -> Vec<(String, OsString)> {
    let is_set = |name: &&str| env.iter().any(|(set, _)| set == name);
    if TOLD.iter().all(is_set) {
        env.retain(|(name, _)| !TOLD.contains(&name.as_str()));
    }
    env
}

/// Returns the settings that the variables make. Variables that no flag has are not ours; empty
/// ones count as not set.
pub(super) fn settings(env: &[(String, OsString)], flags: &Flags) -> Result<Vec<Setting>, Failure> {
    let mut settings = Vec::new();
    for flag in flags.all() {
        let longs = flag.negation.as_ref().map(|negation| (negation.long.as_str(), true));
        for (long, is_back) in longs.into_iter().chain([(flag.long.as_str(), false)]) {
            let Some((name, value)) = value(env, long) else { continue };
            let value = match flag.kind {
                Kind::Switch => Value::Switch(switch(&name, value)? != is_back),
                Kind::Word => Value::Words(vec![value.to_owned()]),
                Kind::List => Value::Words(list(&name, value)?),
            };
            let (origin, long) = (Origin::Env(name), flag.long.clone());
            let setting = Setting { scope: Scope::All, long, value, origin };
            // Several commands may have the same flag.
            if !settings.contains(&setting) {
                settings.push(setting);
            }
        }
    }
    Ok(settings)
}

/// Returns the variable of a flag and its value, if it has one.
pub(super) fn value<'a>(env: &'a [(String, OsString)], long: &str) -> Option<(String, &'a OsStr)> {
    let own = format!("{PREFIX}{}", long.replace('-', "_").to_uppercase());
    let other = OTHER_NAMES.iter().find(|(of, _)| *of == long).map(|(_, name)| (*name).to_owned());
    [Some(own), other].into_iter().flatten().find_map(|name| {
        let value = env.iter().find(|(known, value)| *known == name && !value.is_empty());
        value.map(|(_, value)| (name, value.as_os_str()))
    })
}

/// Reads what a switch may be set to.
pub(super) fn switch(name: &str, value: &OsStr) -> Result<bool, Failure> {
    let value = value.to_str().map(str::to_ascii_lowercase);
    match value.as_deref() {
        Some("1" | "true" | "yes" | "on") => Ok(true),
        Some("0" | "false" | "no" | "off") => Ok(false),
        _ => Err(refusal(format!("{name} is neither true nor false"))),
    }
}

/// Reads the values of a flag that may be repeated: words as a shell splits them.
fn list(name: &str, value: &OsStr) -> Result<Vec<OsString>, Failure> {
    let text = value.to_str().ok_or_else(|| refusal(format!("{name} is no UTF-8")))?;
    let words = words::split(text).map_err(|error| refusal(format!("{name}: {error}")))?;
    Ok(words.into_iter().map(OsString::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_is_told_of_a_download_is_no_setting() {
        let all = || TOLD.iter().chain(&["SWARMLOOP_SEED"]);
        let env = |names: Vec<&&str>| -> Vec<(String, OsString)> {
            names.into_iter().map(|name| ((*name).to_owned(), "x".into())).collect()
        };
        assert_eq!(settable(env(all().collect())), env(vec![&"SWARMLOOP_SEED"]));
        let by_hand = env(all().skip(1).collect());
        assert_eq!(settable(by_hand.clone()), by_hand, "nobody was told of a download");
    }
}
