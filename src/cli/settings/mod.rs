//! Settings that are not typed: configuration files and the environment, merged into what clap
//! takes for the defaults of flags.
//!
//! Later ones win: built-in defaults, `/etc/swarmloop/config.toml`,
//! `$XDG_CONFIG_HOME/swarmloop/config.toml`, `SWARMLOOP_*`, the command line. What may be set is
//! read off the flags themselves ([`flags`]), so that a new flag is a new key and a new variable
//! without another word.
//!
//! **Invariant:** a key that no flag has, or a value that its flag refuses, ends the program: a
//! setting that does nothing is never accepted.

mod env;
mod file;
pub(crate) mod flags;

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap::parser::ValueSource;
use swarmloop::text::Escaped;

use self::flags::{Flag, Flags};
use super::exit::{Exit, Failure};
use super::input::{escaped_path, read_limited};

/// The largest configuration file that is read, in bytes: thousands of settings.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// Where this machine keeps the settings of all its users.
const SYSTEM_CONFIG: &str = "/etc/swarmloop/config.toml";

/// Where settings may come from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// Configuration files that need not exist, the weaker first.
    files: Vec<PathBuf>,
    /// What `~` stands for.
    home: Option<PathBuf>,
    /// The variables that may be settings.
    env: Vec<(String, OsString)>,
}

impl Sources {
    /// Looks at this process's environment.
    pub(crate) fn of_process() -> Self {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let home = absolute("HOME");
        let user = absolute("XDG_CONFIG_HOME")
            .or_else(|| home.as_ref().map(|home| home.join(".config")))
            .map(|folder| folder.join("swarmloop/config.toml"));
        let env =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        Self {
            files: [PathBuf::from(SYSTEM_CONFIG)].into_iter().chain(user).collect(),
            home,
            env: env::settable(env.filter(|(name, _)| name.starts_with(env::PREFIX)).collect()),
        }
    }

    /// Tells whether the environment turns a switch on.
    pub(crate) fn has_switch(&self, long: &str) -> bool {
        let value = env::value(&self.env, long);
        value.is_some_and(|(name, value)| env::switch(&name, value) == Ok(true))
    }
}

/// Where a setting was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// In a file, on a line that counts from 1.
    File(PathBuf, usize),
    /// By an environment variable.
    Env(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, line) => write!(f, "{}:{line}", escaped_path(path)),
            Self::Env(name) => write!(f, "{}", Escaped(name)),
        }
    }
}

/// Which commands a setting is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Scope {
    /// Every command that has such a flag.
    All,
    /// Every command with network flags, which are those under that heading of the help.
    Network,
    /// One command.
    Command(String),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("before the first table"),
            Self::Network => write!(f, "in [{}]", flags::NETWORK),
            Self::Command(name) => write!(f, "in [{name}]"),
        }
    }
}

/// What a flag is set to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Value {
    /// A flag that is given or not.
    Switch(bool),
    /// One value, or several of a flag that may be repeated.
    Words(Vec<OsString>),
}

/// One setting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Setting {
    pub(crate) scope: Scope,
    /// The flag's long name.
    pub(crate) long: String,
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// All settings, the stronger after the weaker.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    list: Vec<Setting>,
}

impl Settings {
    /// Reads configuration files and environment. `matches` is the command line, read without
    /// them; it may name another file, or none.
    pub(crate) fn load(
        sources: &Sources,
        flags: &Flags,
        matches: &ArgMatches,
    ) -> Result<Self, Failure> {
        let mut list = Vec::new();
        for (path, must_exist) in files(sources, matches)? {
            if let Some(text) = read(&path, must_exist)? {
                list.extend(file::settings(&path, &text, sources.home.as_deref(), flags)?);
            }
        }
        list.extend(env::settings(&sources.env, flags)?);
        let settings = Self { list };
        for setting in &settings.list {
            flags.check(setting)?;
        }
        Ok(settings)
    }

    /// Returns all of them.
    pub(crate) fn all(&self) -> &[Setting] {
        &self.list
    }

    /// Returns what a flag of a command is set to, if it is; of no command, what holds for all of
    /// them.
    pub(crate) fn of(&self, flag: &Flag, command: Option<&str>) -> Option<&Setting> {
        let is_for = |setting: &&Setting| {
            setting.long == flag.long
                && match &setting.scope {
                    Scope::All => true,
                    Scope::Network => flag.in_network,
                    Scope::Command(name) => Some(name.as_str()) == command,
                }
        };
        self.list.iter().rfind(is_for)
    }

    /// Makes the settings of the chosen subcommand the defaults of its flags, but for switches that
    /// the command line turns off, by their own name or by a flag that means nothing beside them.
    pub(crate) fn apply(
        &self,
        mut command: clap::Command,
        flags: &Flags,
        matches: &ArgMatches,
    ) -> clap::Command {
        let Some((name, matches)) = matches.subcommand() else { return command };
        for flag in flags.of(name) {
            let is_off = flag.taken_back_by().any(|id| is_typed(matches, id));
            let words = match self.of(flag, Some(name)).map(|setting| &setting.value) {
                Some(Value::Words(words)) => words.clone(),
                Some(Value::Switch(true)) if !is_off => vec!["true".into()],
                _ => continue,
            };
            let set = |arg: clap::Arg| arg.default_values(words);
            command = match &flag.command {
                None => command.mut_arg(&flag.id, set),
                Some(_) => command.mut_subcommand(name, |sub| sub.mut_arg(&flag.id, set)),
            };
        }
        command
    }
}

/// Returns the files to read, and whether each must be there.
fn files(sources: &Sources, matches: &ArgMatches) -> Result<Vec<(PathBuf, bool)>, Failure> {
    let variable = |name| env::value(&sources.env, name);
    let typed: Option<&PathBuf> = matches.get_one("config");
    if let Some(path) = typed {
        return Ok(vec![(path.clone(), true)]);
    }
    let is_off = match variable("no-config") {
        _ if matches.get_flag("no_config") => true,
        Some((name, value)) => env::switch(&name, value)?,
        None => false,
    };
    if is_off {
        return Ok(Vec::new());
    }
    match variable("config") {
        Some((_, path)) => Ok(vec![(PathBuf::from(path), true)]),
        None => Ok(sources.files.iter().map(|path| (path.clone(), false)).collect()),
    }
}

/// Reads a configuration file; `None` if it is not there and need not be.
fn read(path: &Path, must_exist: bool) -> Result<Option<String>, Failure> {
    let shown = escaped_path(path);
    match File::open(path).and_then(|file| read_limited(file, MAX_CONFIG_BYTES)) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(refusal(format!("cannot read configuration '{shown}': no UTF-8"))),
        },
        Err(error)
            if !must_exist
                && matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(error) => Err(refusal(format!("cannot read configuration '{shown}': {error}"))),
    }
}

/// A configuration that the program does not go on with.
fn refusal(message: impl Into<String>) -> Failure {
    Failure::new(Exit::Usage, "bad_config", message)
}

/// Tells whether a flag was typed.
fn is_typed(matches: &ArgMatches, id: &str) -> bool {
    matches.try_contains_id(id).is_ok()
        && matches.value_source(id) == Some(ValueSource::CommandLine)
}

#[cfg(test)]
mod tests;
