//! Torrents of a run whose metadata is looked for, and what becomes of them when it is here.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use swarmloop::client::{Client, ClientError};
use swarmloop::proto::metainfo::Metainfo;

use super::{Engine, Watch};
use crate::cli::args::get::GetArgs;
use crate::cli::exit::Failure;
use crate::cli::get::Download;
use crate::cli::input::escaped_path;
use crate::cli::json;
use crate::cli::seek::{self, Found, Sought};
use crate::cli::snapshot::Snapshot;
use crate::cli::torrent::{Outcome, Torrent};
use crate::cli::ui::Ui;

/// What of a run is still looked for, and for what.
#[derive(Debug, Default)]
pub(super) struct Seeking {
    /// By place in the roster.
    sought: BTreeMap<usize, Sought>,
    /// `None` if nothing is.
    args: Option<Box<GetArgs>>,
}

impl Watch {
    /// Adds torrents by their info-hashes to the client and to the run, to be downloaded as `args`
    /// say. Those that the client refuses, the run goes on without.
    pub(crate) fn look_for(
        &mut self,
        sought: Vec<Sought>,
        args: &GetArgs,
        client: &Client,
        ui: &mut Ui,
    ) {
        for sought in sought {
            self.seeking.args.get_or_insert_with(|| Box::new(args.clone()));
            ui.record(|| json::start_magnet(&sought, SystemTime::now()));
            let added = client.add_magnet(sought.to_add(args));
            match added.and_then(|id| Ok((id, client.status(id)?))) {
                Ok((id, status)) => {
                    let snapshot = Snapshot { until: self.goal.until(), ..status.into() };
                    let (number, name) = (sought.number, sought.name());
                    let torrent = Torrent::sought(number, id, &name, snapshot, Instant::now());
                    self.seeking.sought.insert(self.roster.all().len(), sought);
                    self.roster.add(torrent);
                }
                Err(error) => {
                    let failure = Failure::client(&error);
                    self.lost.push(failure.exit);
                    ui.count_failed(&failure, sought.number);
                }
            }
        }
    }

    /// Takes in metadata that was looked for: the torrent is downloaded, or was only to be known.
    pub(super) fn found(
        &mut self,
        place: usize,
        metainfo: Metainfo,
        engine: &impl Engine,
        ui: &mut Ui,
    ) -> Result<(), ClientError> {
        let Some(sought) = self.seeking.sought.remove(&place) else { return Ok(()) };
        let Some(args) = self.seeking.args.take() else { return Ok(()) };
        let found = seek::found(&args, sought, metainfo, ui);
        self.seeking.args = Some(args);
        match found {
            Err(failure) => self.give_up(place, failure, engine, ui),
            Ok(Found::Saved(path)) => {
                self.roster.end(place, Outcome::Complete);
                let torrent = self.roster.torrent_mut(place);
                torrent.leave();
                let (number, shown) = (torrent.number, escaped_path(&path));
                ui.record(|| json::saved(number, &shown));
                ui.say(&format!("saved  {}  as {shown}", torrent.name));
                ui.count_ok();
                ui.result_path(&path);
                engine.remove(torrent.id)
            }
            Ok(Found::Ready(download)) => self.go_on(place, *download, engine, ui),
        }
    }

    /// Goes on with a torrent whose metadata is here.
    fn go_on(
        &mut self,
        place: usize,
        download: Download,
        engine: &impl Engine,
        ui: &mut Ui,
    ) -> Result<(), ClientError> {
        let Download { number, torrent, path, plan, is_moved, .. } = download;
        ui.record(|| json::metadata(number, &torrent.metainfo, &torrent.selection));
        match self.locks.claim_torrent(&torrent.metainfo, &torrent.dir) {
            Ok(None) => {}
            Ok(Some(error)) => ui.detail(1, &format!("cannot lock: {error}")),
            Err(failure) => return self.give_up(place, failure, engine, ui),
        }
        if is_moved {
            self.resume_move(ui, number, &torrent, &plan);
        } else {
            self.plan(number, plan);
        }
        let (metainfo, selection) = (torrent.metainfo.clone(), torrent.selection.clone());
        match engine.add(torrent) {
            Ok((_, snapshot)) => {
                self.roster.torrent_mut(place).found(&metainfo, &selection, path);
                self.roster.replace(place, snapshot);
                Ok(())
            }
            Err(error @ ClientError::PathTaken(_)) => {
                self.give_up(place, Failure::client(&error), engine, ui)
            }
            Err(error) => Err(error),
        }
    }

    fn give_up(
        &mut self,
        place: usize,
        failure: Failure,
        engine: &impl Engine,
        ui: &mut Ui,
    ) -> Result<(), ClientError> {
        self.fail(place, ui, failure);
        let torrent = self.roster.torrent_mut(place);
        torrent.leave();
        engine.remove(torrent.id)
    }
}
