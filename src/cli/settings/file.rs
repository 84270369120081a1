//! Configuration files: TOML, a key for each flag, a table for each command.
//!
//! ```toml
//! dir = "~/Downloads"      # every command that has --dir
//! [network]                # every command with network flags
//! port = "6881-6889"
//! [get]                    # one command
//! seed = true
//! ```

use std::ffi::OsString;
use std::ops::Range;
use std::path::Path;

use swarmloop::text::Escaped;
use toml::de::{DeTable, DeValue};

use super::flags::{Flag, Flags, Kind, NETWORK};
use super::{Origin, Scope, Setting, Value, refusal};
use crate::cli::exit::Failure;
use crate::cli::input::escaped_path;

/// How alike two names are that may be meant for each other: of `gte` and `get` one letter in three
/// is in another place.
const MIN_LIKENESS: f64 = 0.6;

/// Returns the settings of a file, those of a narrower scope after the others.
pub(super) fn settings(
    path: &Path,
    text: &str,
    home: Option<&Path>,
    flags: &Flags,
) -> Result<Vec<Setting>, Failure> {
    let reader = Reader { path, text, home, flags };
    let table = DeTable::parse(text).map_err(|error| {
        let message = error.message().lines().next().unwrap_or_default().to_owned();
        reader.refuse(error.span().unwrap_or_default(), &message)
    })?;
    let mut settings = Vec::new();
    let mut tables = Vec::new();
    for (key, value) in table.get_ref() {
        match value.get_ref() {
            DeValue::Table(table) => tables.push((key, table)),
            value => {
                settings.push(reader.setting(&Scope::All, key.get_ref(), key.span(), value)?);
            }
        }
    }
    for narrow in [false, true] {
        for (key, table) in &tables {
            let scope = reader.scope(key.get_ref(), key.span())?;
            if narrow == matches!(scope, Scope::Command(_)) {
                for (key, value) in *table {
                    let (name, value) = (key.get_ref(), value.get_ref());
                    settings.push(reader.setting(&scope, name, key.span(), value)?);
                }
            }
        }
    }
    Ok(settings)
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    home: Option<&'a Path>,
    flags: &'a Flags,
}

impl Reader<'_> {
    /// Returns what a table is about.
    fn scope(&self, name: &str, at: Range<usize>) -> Result<Scope, Failure> {
        let commands = self.flags.commands().iter().map(String::as_str);
        if name == NETWORK {
            return Ok(Scope::Network);
        }
        if commands.clone().any(|command| command == name) {
            return Ok(Scope::Command(name.to_owned()));
        }
        let failure = self.refuse(at, &format!("unknown table [{}]", Escaped(name)));
        let tables = commands.chain([NETWORK]).map(str::to_owned);
        Err(match likest(name, tables) {
            Some(table) => failure.hint(format!("did you mean [{table}]?")),
            None => failure,
        })
    }

    fn setting(
        &self,
        scope: &Scope,
        key: &str,
        at: Range<usize>,
        value: &DeValue<'_>,
    ) -> Result<Setting, Failure> {
        // A key is written with `_`; `-`, as of the flag, would be another way to say the same.
        let long = key.replace('_', "-");
        let found = self.flags.find(scope, &long).next().filter(|_| !key.contains('-'));
        let Some((flag, is_back)) = found else { return Err(self.unknown(scope, key, at)) };
        let value = match flag.kind {
            Kind::Switch => match value {
                DeValue::Boolean(on) => Value::Switch(*on != is_back),
                _ => return Err(self.refuse(at, &format!("{key} is either true or false"))),
            },
            kind => Value::Words(self.words(flag, kind, value).ok_or_else(|| {
                let what = if kind == Kind::List { "a list of values" } else { "one value" };
                self.refuse(at.clone(), &format!("{key} is {what}"))
            })?),
        };
        let origin = Origin::File(self.path.to_owned(), self.line(at));
        Ok(Setting { scope: scope.clone(), long: flag.long.clone(), value, origin })
    }

    /// Returns what a flag is set to; a list may have one value without brackets.
    fn words(&self, flag: &Flag, kind: Kind, value: &DeValue<'_>) -> Option<Vec<OsString>> {
        match (kind, value) {
            (Kind::List, DeValue::Array(values)) => {
                values.iter().map(|value| self.word(flag, value.get_ref())).collect()
            }
            _ => self.word(flag, value).map(|word| vec![word]),
        }
    }

    /// Returns a value as it would be typed.
    fn word(&self, flag: &Flag, value: &DeValue<'_>) -> Option<OsString> {
        match value {
            DeValue::String(text) => match (text.strip_prefix("~/"), self.home) {
                (Some(rest), Some(home)) if flag.is_path => Some(home.join(rest).into()),
                _ => Some(text.as_ref().into()),
            },
            DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().into()),
            DeValue::Float(number) => Some(number.as_str().into()),
            _ => None,
        }
    }

    fn unknown(&self, scope: &Scope, key: &str, at: Range<usize>) -> Failure {
        let shown = Escaped(key);
        let failure = self.refuse(at, &format!("unknown key '{shown}' {scope}"));
        let long = key.replace('_', "-");
        let keys = || self.flags.in_scope(scope).filter(|flag| !flag.is_hidden).map(Flag::key);
        let mut elsewhere: Vec<&str> = self
            .flags
            .find(&Scope::All, &long)
            .filter_map(|(flag, _)| flag.command.as_deref())
            .collect();
        elsewhere.dedup();
        match likest(key, keys()) {
            Some(meant) => failure.hint(format!("did you mean '{meant}'?")),
            None if elsewhere.is_empty() => failure,
            None => failure.hint(format!("it is for [{}]", elsewhere.join("], ["))),
        }
    }

    fn refuse(&self, at: Range<usize>, why: &str) -> Failure {
        let (path, line) = (escaped_path(self.path), self.line(at));
        refusal(format!("bad configuration '{path}': line {line}: {}", Escaped(why)))
    }

    /// Returns the line of a place in the file, counted from 1.
    fn line(&self, at: Range<usize>) -> usize {
        self.text.get(..at.start).unwrap_or(self.text).matches('\n').count() + 1
    }
}

/// Returns the name that is most like another one, if one is.
fn likest(name: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let alike = names.map(|known| (strsim::normalized_damerau_levenshtein(name, &known), known));
    let alike = alike.filter(|(likeness, _)| *likeness > MIN_LIKENESS);
    alike.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, known)| known)
}
