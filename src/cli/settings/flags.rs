//! What may be set, read off clap's definition of the command line.

use std::ffi::OsString;

use clap::builder::OsStr;
use clap::{Arg, ArgAction, Command, ValueHint};

use super::{Scope, Setting, Value, refusal};
use crate::cli::exit::Failure;

/// The table of a configuration file that is for every command with network flags.
pub(crate) const NETWORK: &str = "network";

/// The headings of the help that network flags stand under.
const NETWORK_HEADINGS: [&str; 3] = ["Network", "Limits", "Timeouts"];

/// Flags that say where settings come from, or answer at once.
const NEVER_SET: [&str; 4] = ["config", "no-config", "help", "version"];

/// Commands whose flags say what is wanted this once: nothing of them can be set but which way
/// traffic takes.
const NEVER_SET_OF: [&str; 3] = ["edit", "magnet", "show"];

/// Switches that another flag takes back when it is typed, because it would do nothing beside them:
/// the switch, and that flag.
const TAKEN_BACK_BY: [(&str, &str); 1] = [("no-dht", "dht_bootstrap")];

/// What a flag takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Nothing: it is given or not.
    Switch,
    /// One value.
    Word,
    /// A value each time it is given.
    List,
}

/// The flag that takes a switch back.
#[derive(Clone, Debug)]
pub(crate) struct Negation {
    pub(crate) id: String,
    pub(crate) long: String,
}

/// A flag that may be set.
#[derive(Clone, Debug)]
pub(crate) struct Flag {
    /// The subcommand that has it; `None` for flags of all.
    pub(crate) command: Option<String>,
    /// Its name with clap.
    pub(crate) id: String,
    /// Its long name without the dashes.
    pub(crate) long: String,
    pub(crate) kind: Kind,
    /// Whether it stands under a heading of network flags.
    pub(crate) in_network: bool,
    /// Whether its value is a path, in which `~` has a meaning.
    pub(crate) is_path: bool,
    /// Whether the help leaves it out: it is of a later version, or obeyed anyway.
    pub(crate) is_hidden: bool,
    /// How a switch is taken back, unless that name is another flag's.
    pub(crate) negation: Option<Negation>,
    arg: Arg,
}

impl Flag {
    fn new(arg: &Arg, command: Option<&Command>, root: &Command) -> Option<Self> {
        let long = arg.get_long().filter(|long| !NEVER_SET.contains(long))?.to_owned();
        let kind = match arg.get_action() {
            ArgAction::SetTrue => Kind::Switch,
            ArgAction::Append => Kind::List,
            ArgAction::Set | ArgAction::Count => Kind::Word,
            _ => return None,
        };
        let negative = long.strip_prefix("no-").map_or_else(|| format!("no-{long}"), str::to_owned);
        let all = root.get_arguments().chain(command.into_iter().flat_map(Command::get_arguments));
        let is_taken = all.into_iter().any(|arg| arg.get_long() == Some(&negative));
        let is_switch = kind == Kind::Switch && !is_taken;
        let is_path = !matches!(arg.get_value_hint(), ValueHint::Unknown | ValueHint::Other);
        Some(Self {
            command: command.map(|command| command.get_name().to_owned()),
            id: arg.get_id().to_string(),
            kind,
            in_network: arg.get_help_heading().is_some_and(|it| NETWORK_HEADINGS.contains(&it)),
            is_path,
            is_hidden: arg.is_hide_set(),
            negation: is_switch
                .then(|| Negation { id: format!("not {}", arg.get_id()), long: negative }),
            long,
            arg: arg.clone(),
        })
    }

    /// Returns what it is if nothing sets it.
    pub(crate) fn defaults(&self) -> Option<Value> {
        let defaults = self.arg.get_default_values();
        match self.kind {
            Kind::Switch => Some(Value::Switch(false)),
            _ if defaults.is_empty() => None,
            _ => Some(Value::Words(defaults.iter().map(OsStr::to_os_string).collect())),
        }
    }

    /// Returns the ids of the flags that take it back when they are typed.
    pub(super) fn taken_back_by(&self) -> impl Iterator<Item = &str> {
        let by = TAKEN_BACK_BY.iter().filter(|(long, _)| *long == self.long).map(|(_, by)| *by);
        self.negation.iter().map(|negation| &negation.id[..]).chain(by)
    }

    /// Returns how a configuration file names it.
    pub(crate) fn key(&self) -> String {
        self.long.replace('-', "_")
    }

    /// Returns what clap says to these values of it.
    fn check(&self, words: &[OsString]) -> Result<(), clap::Error> {
        // The flag alone: what it needs or excludes among others is no matter of its value. And
        // as a word, because counts are set by a number and not by repetition.
        let flag = Arg::new("flag").long(self.long.clone()).num_args(1).allow_hyphen_values(true);
        let flag = flag.value_parser(self.arg.get_value_parser().clone());
        let flag = flag.value_names(self.arg.get_value_names().unwrap_or_default().to_vec());
        let typed = words.iter().flat_map(|word| [format!("--{}", self.long).into(), word.clone()]);
        let command = Command::new("check").no_binary_name(true).disable_help_flag(true);
        command.arg(flag.action(ArgAction::Append)).try_get_matches_from(typed).map(drop)
    }
}

/// The flags that may be set.
#[derive(Debug)]
pub(crate) struct Flags {
    all: Vec<Flag>,
    /// Those of [`NEVER_SET_OF`], of which switches are taken back like all others.
    unset: Vec<Flag>,
    commands: Vec<String>,
}

impl Flags {
    /// Reads them off a command that clap has not built yet: flags of all subcommands stand at the
    /// root.
    pub(crate) fn new(root: &Command) -> Self {
        let global = root.get_arguments().filter_map(|arg| Flag::new(arg, None, root));
        let own = |is_settable: bool| {
            root.get_subcommands().flat_map(move |command| {
                let is_once = NEVER_SET_OF.contains(&command.get_name());
                let flags = command.get_arguments();
                let flags = flags.filter_map(|arg| Flag::new(arg, Some(command), root));
                flags.filter(move |flag| is_settable == (flag.in_network || !is_once))
            })
        };
        let commands = root.get_subcommands().map(|command| command.get_name().to_owned());
        let commands = commands.filter(|name| !NEVER_SET_OF.contains(&name.as_str()));
        Self {
            all: global.chain(own(true)).collect(),
            unset: own(false).collect(),
            commands: commands.collect(),
        }
    }

    /// Adds the flags that take switches back; they are not shown.
    pub(crate) fn with_negations(&self, mut command: Command) -> Command {
        for flag in self.all.iter().chain(&self.unset) {
            let Some(Negation { id, long }) = &flag.negation else { continue };
            let arg = Arg::new(id.clone()).long(long.clone()).action(ArgAction::SetTrue).hide(true);
            let arg = arg.overrides_with(flag.id.clone());
            command = match &flag.command {
                None => command.arg(arg.global(true)),
                Some(name) => command.mut_subcommand(name, |sub| sub.arg(arg)),
            };
        }
        command
    }

    /// Returns all of them: those of every command, then those of each.
    pub(crate) fn all(&self) -> &[Flag] {
        &self.all
    }

    /// Returns the subcommands that have something to set.
    pub(crate) fn commands(&self) -> &[String] {
        &self.commands
    }

    /// Returns the flags of a subcommand.
    pub(crate) fn of(&self, command: &str) -> impl Iterator<Item = &Flag> {
        self.all.iter().filter(move |flag| flag.command.as_deref().is_none_or(|of| of == command))
    }

    /// Returns the flags that a setting of that scope and name is about, and whether it names what
    /// takes them back.
    pub(crate) fn find(&self, scope: &Scope, long: &str) -> impl Iterator<Item = (&Flag, bool)> {
        self.in_scope(scope).filter_map(move |flag| {
            let is_back = flag.negation.as_ref().is_some_and(|negation| negation.long == long);
            (is_back || flag.long == long).then_some((flag, is_back))
        })
    }

    /// Returns the flags that settings of that scope may be about.
    pub(crate) fn in_scope(&self, scope: &Scope) -> impl Iterator<Item = &Flag> {
        self.all.iter().filter(move |flag| match scope {
            Scope::All => true,
            Scope::Network => flag.in_network,
            Scope::Command(name) => flag.command.as_ref().is_none_or(|of| of == name),
        })
    }

    /// Refuses a value that one of its flags refuses.
    pub(super) fn check(&self, setting: &Setting) -> Result<(), Failure> {
        let Value::Words(words) = &setting.value else { return Ok(()) };
        for (flag, _) in self.find(&setting.scope, &setting.long) {
            if let Err(error) = flag.check(words) {
                // clap's first line says what is wrong, and of which flag.
                let text = error.to_string();
                let line = text.lines().next().unwrap_or_default();
                let line = line.strip_prefix("error: ").unwrap_or(line);
                return Err(refusal(format!("{}: {line}", setting.origin)));
            }
        }
        Ok(())
    }
}

/// Turns a switch of every command off if the last word that was typed about it does: clap looks at
/// each subcommand's words by themselves.
pub(crate) fn is_taken_back(args: &[OsString], long: &str, short: Option<char>) -> bool {
    let args = args.iter().skip(1).filter_map(|arg| arg.to_str()).take_while(|arg| *arg != "--");
    let said = args.filter_map(|arg| match arg.strip_prefix("--") {
        Some(name) if name == long => Some(false),
        Some(name) => (name.strip_prefix("no-") == Some(long)).then_some(true),
        None => {
            // Only the first letter: those after one that takes a value are that value.
            let letter = arg.strip_prefix('-').and_then(|cluster| cluster.chars().next());
            (letter.is_some() && letter == short).then_some(false)
        }
    });
    said.last().unwrap_or(false)
}
