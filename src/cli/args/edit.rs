//! The arguments of `edit`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::ValueHint;

use super::create::{Tier, name, tier, web_seed};

/// What the long help of `edit` adds.
pub(crate) const EDIT_HELP: &str = "\
The file is replaced in one step, so that whoever looks finds the old one or the new one. What is
not changed stays as it is, unknown keys too. Announce URLs are deleted first, then replaced, then
added.

--name, --source, --private and --public change the info-hash, if they change anything: that is
another torrent, of which the peers of the old one do not know.

Examples:
  swarmloop edit x.torrent -r http://old.example http://new.example
  swarmloop edit x.torrent -a udp://a:1,udp://b:1 --comment '' -o y.torrent
  swarmloop edit x.torrent --comment mastered -o - >y.torrent";

/// Arguments of `edit`.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(crate) struct EditArgs {
    /// Torrent file; - is stdin
    #[arg(value_name = "TORRENT", value_hint = ValueHint::FilePath)]
    pub(crate) torrent: OsString,
    /// Add announce URLs as a tier behind the others; may be repeated
    #[arg(short, long, value_name = "URL[,URL...]", value_parser = tier)]
    pub(crate) add: Vec<Tier>,
    /// Delete an announce URL; may be repeated
    #[arg(short, long, value_name = "URL")]
    pub(crate) delete: Vec<String>,
    /// Replace a part of every announce URL by another text; may be repeated
    #[arg(short, long, num_args = 2, value_names = ["OLD", "NEW"])]
    pub(crate) replace: Vec<String>,
    /// Add the URL of a web seed; may be repeated
    #[arg(short = 'w', long = "webseed", value_name = "URL", value_parser = web_seed)]
    pub(crate) web_seeds: Vec<String>,
    /// Delete the URL of a web seed; may be repeated
    #[arg(long = "delete-webseed", value_name = "URL")]
    #[arg(hide_short_help = true)]
    pub(crate) delete_web_seeds: Vec<String>,
    /// Another comment; '' for none
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) comment: Option<String>,
    /// Another source; '' for none
    #[arg(long, value_name = "TEXT")]
    #[arg(hide_short_help = true)]
    pub(crate) source: Option<String>,
    /// Peers may come from the trackers only
    #[arg(short, long)]
    pub(crate) private: bool,
    /// Peers may come from everywhere
    #[arg(long, conflicts_with = "private")]
    #[arg(hide_short_help = true)]
    pub(crate) public: bool,
    /// Another name of the file or the top folder
    #[arg(short, long, value_name = "NAME", value_parser = name)]
    pub(crate) name: Option<String>,
    /// Write to this file instead; - is stdout
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,
    /// Replace a file that is where --output says
    #[arg(short, long, requires = "output")]
    pub(crate) force: bool,
    /// Say what would change, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

impl EditArgs {
    /// Tells whether any change is asked for.
    pub(crate) fn changes_something(&self) -> bool {
        let texts = [&self.comment, &self.source, &self.name];
        let lists = [&self.delete, &self.replace, &self.web_seeds, &self.delete_web_seeds];
        self.private
            || self.public
            || !self.add.is_empty()
            || lists.iter().any(|list| !list.is_empty())
            || texts.iter().any(|text| text.is_some())
    }
}
