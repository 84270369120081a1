//! `edit`: changes what a torrent file says, and as little else as can be.

use std::path::Path;

use bytes::Bytes;
use swarmloop::proto::metainfo::{Edit, Metainfo};
use swarmloop::text::Escaped;

use super::args::create::announce_url;
use super::args::edit::EditArgs;
use super::exit::{Exit, Failure};
use super::input::{self, bad_torrent, escaped_path};
use super::json;
use super::target::Target;
use super::ui::Ui;

/// Changes one torrent file.
pub(crate) fn run(args: &EditArgs, ui: &mut Ui) -> Result<Exit, Failure> {
    if !args.changes_something() {
        let message = "no change is named. Nothing was written";
        let hint = "-a adds a tracker, -c sets the comment; `swarmloop edit -h` lists all changes";
        return Err(Failure::new(Exit::Usage, "no_change", message).hint(hint));
    }
    let (torrent, _) = input::read(&args.torrent)?;
    let before = Metainfo::parse(&torrent).map_err(|error| bad_torrent(&args.torrent, &error))?;
    let output = output(args)?;
    if !args.dry_run {
        output.check_alone(&[("--json", ui.is_json())])?;
    }
    let edit = edit(args, &before, ui)?;
    let edited = edit.apply(&torrent).map_err(|error| bad_torrent(&args.torrent, &error))?;
    let edited = Bytes::from(edited);
    let after = Metainfo::parse(&edited).map_err(|error| bad_torrent(&args.torrent, &error))?;
    let is_changed = edited != torrent;
    if !args.dry_run && (is_changed || args.output.is_some()) {
        let replace = args.output.is_none() || args.force;
        output.check(replace)?;
        output.write(&edited, replace, ui)?;
    }
    tell(args, &output, (&before, &after), is_changed, ui);
    Ok(Exit::Success)
}

/// Returns where the torrent goes: into what a link leads to, and not into the link's place.
fn output(args: &EditArgs) -> Result<Target, Failure> {
    if let Some(output) = &args.output {
        return Ok(Target::named(output));
    }
    let path = Path::new(&args.torrent);
    if args.torrent == "-" {
        let message = "'-' (stdin) cannot be written to";
        let failure = Failure::new(Exit::Usage, "stdin", message);
        return Err(failure.hint("-o names a file, or stdout by -"));
    }
    let is_link = path.is_symlink();
    let real = if is_link { path.canonicalize() } else { Ok(path.to_owned()) };
    let failed = |error| Failure::io(&format!("read '{}'", escaped_path(path)), &error);
    real.map(Target::File).map_err(failed)
}

/// Returns what the flags ask for, given what is there.
fn edit(args: &EditArgs, before: &Metainfo, ui: &mut Ui) -> Result<Edit, Failure> {
    let private = (args.private || args.public).then_some(args.private);
    Ok(Edit {
        trackers: trackers(args, before, ui)?,
        web_seeds: web_seeds(args, before, ui),
        comment: args.comment.clone(),
        source: args.source.clone(),
        private,
        name: args.name.clone(),
    })
}

/// Returns the announce URLs by tier, if they are not what they were.
fn trackers(
    args: &EditArgs,
    before: &Metainfo,
    ui: &mut Ui,
) -> Result<Option<Vec<Vec<String>>>, Failure> {
    let mut tiers = before.trackers.clone();
    for url in &args.delete {
        let had = tiers.concat().len();
        for tier in &mut tiers {
            tier.retain(|kept| kept != url);
        }
        if tiers.concat().len() == had {
            not_there(url, "an announce URL", ui);
        }
    }
    for pair in args.replace.chunks_exact(2) {
        for url in tiers.iter_mut().flatten() {
            *url = url.replace(&pair[0], &pair[1]);
            announce_url(url).map_err(|error| {
                let message = format!("'{}' would be no announce URL: {error}", Escaped(url));
                Failure::new(Exit::Usage, "bad_url", message)
            })?;
        }
    }
    tiers.extend(args.add.iter().map(|tier| tier.0.clone()));
    let mut seen = Vec::new();
    for tier in &mut tiers {
        tier.retain(|url| {
            let is_new = !seen.contains(url);
            seen.push(url.clone());
            is_new
        });
    }
    tiers.retain(|tier| !tier.is_empty());
    Ok((tiers != before.trackers).then_some(tiers))
}

/// Returns the web seeds, if they are not what they were.
fn web_seeds(args: &EditArgs, before: &Metainfo, ui: &mut Ui) -> Option<Vec<String>> {
    let mut urls = before.web_seeds.clone();
    for url in &args.delete_web_seeds {
        let had = urls.len();
        urls.retain(|kept| kept != url);
        if urls.len() == had {
            not_there(url, "a web seed", ui);
        }
    }
    for url in &args.web_seeds {
        if !urls.contains(url) {
            urls.push(url.clone());
        }
    }
    (urls != before.web_seeds).then_some(urls)
}

fn not_there(url: &str, what: &str, ui: &mut Ui) {
    ui.warning("not_there", &format!("'{}' is not {what} of it", Escaped(url)), None);
}

/// Says what is different now, or would be.
fn tell(
    args: &EditArgs,
    output: &Target,
    (before, after): (&Metainfo, &Metainfo),
    is_changed: bool,
    ui: &mut Ui,
) {
    for change in changes(before, after) {
        ui.say(&change);
    }
    let (old, new) = (before.info_hash, after.info_hash);
    if old != new {
        let text = format!("the info-hash is another one: {new}, not {old}");
        ui.warning("info_hash", &text, None);
    }
    let verb = match (is_changed, args.dry_run) {
        (false, _) => "unchanged",
        (true, false) => "edited",
        (true, true) => "would edit",
    };
    ui.record(|| json::edited(output.path(), (old, new), is_changed, args.dry_run));
    ui.say(&format!("{verb}  {}  {new}", output.shown()));
    if !args.dry_run {
        if let Some(path) = output.path() {
            ui.result_path(path);
        }
        ui.count_ok();
    }
}

/// Returns a line for each thing that is not what it was; safe to print.
fn changes(before: &Metainfo, after: &Metainfo) -> Vec<String> {
    let shown = |text: Option<&str>| match text {
        Some(text) => format!("'{}'", Escaped(text)),
        None => "none".to_owned(),
    };
    let tiers = |tiers: &[Vec<String>]| {
        let tiers: Vec<String> = tiers.iter().map(|tier| tier.join(",")).collect();
        if tiers.is_empty() { None } else { Some(tiers.join(" ")) }
    };
    let seeds = |urls: &[String]| if urls.is_empty() { None } else { Some(urls.join(" ")) };
    let private = |of: &Metainfo| Some(if of.private { "yes" } else { "no" }.to_owned());
    [
        ("name", Some(before.name.clone()), Some(after.name.clone())),
        ("private", private(before), private(after)),
        ("source", before.source(), after.source()),
        ("comment", before.comment.clone(), after.comment.clone()),
        ("trackers", tiers(&before.trackers), tiers(&after.trackers)),
        ("web seeds", seeds(&before.web_seeds), seeds(&after.web_seeds)),
    ]
    .into_iter()
    .filter(|(_, before, after)| before != after)
    .map(|(what, before, after)| {
        format!("{what}: {}, not {}", shown(after.as_deref()), shown(before.as_deref()))
    })
    .collect()
}
