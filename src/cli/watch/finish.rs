//! The end of a download: its result is handed over, its data moved, a command run, and it is
//! seeded from where it is then.

use std::time::Duration;

use swarmloop::client::{AddTorrent, ClientError, Mode};
use swarmloop::session::io::Resume;

use super::{Engine, Watch, record_files};
use crate::cli::after::{Plan, Step};
use crate::cli::exit::Failure;
use crate::cli::input::escaped_path;
use crate::cli::json;
use crate::cli::progress::done_line;
use crate::cli::torrent::Outcome;
use crate::cli::ui::Ui;

/// A torrent that was taken out of the engine, because its data moves.
#[derive(Debug)]
pub(super) struct Leaving {
    place: usize,
    number: usize,
    plan: Plan,
}

impl Watch {
    /// Plans what happens to a torrent when it is complete.
    pub(crate) fn plan(&mut self, number: usize, plan: Plan) {
        self.after.plan(number, plan);
    }

    /// Brings a move to its end that an earlier run was killed in, of a torrent that is about to be
    /// added where it was moved to.
    pub(crate) fn resume_move(
        &mut self,
        ui: &mut Ui,
        number: usize,
        torrent: &AddTorrent,
        plan: &Plan,
    ) {
        let mut is_free =
            |dir| matches!(self.locks.claim_torrent(&torrent.metainfo, dir), Ok(None));
        // Whoever has it may be moving it now.
        if is_free(&plan.torrent.dir)
            && is_free(&torrent.dir)
            && let Some(failure) = plan.moving(&plan.torrent, &torrent.dir).resume()
        {
            self.failed_after(number, &failure, ui);
        }
    }

    /// Ends a download as complete and hands over the result.
    pub(super) fn complete(
        &mut self,
        place: usize,
        engine: &impl Engine,
        ui: &mut Ui,
        elapsed: Duration,
        downloaded: bool,
    ) -> Result<(), ClientError> {
        if !self.roster.end(place, Outcome::Complete) {
            return Ok(());
        }
        let torrent = self.roster.torrent_mut(place);
        let number = torrent.number;
        let done = torrent.files.complete();
        record_files(number, &done, ui);
        let path = torrent.path.as_deref();
        ui.record(|| json::complete(number, &torrent.snapshot, elapsed, path));
        let (peers, paint) = (torrent.peers_counted(), ui.paint());
        ui.say(&done_line(&torrent.name, &torrent.snapshot, elapsed, downloaded, peers, paint));
        ui.count_ok();
        match self.after.take(number) {
            Some(plan) if plan.move_to.is_some() => {
                // Where the result will be is not known before it is there.
                self.roster.torrent_mut(place).leave();
                let id = self.roster.torrent(place).id;
                self.leaving.push(Leaving { place, number, plan });
                return engine.remove(id);
            }
            // A command is for what has just been downloaded.
            Some(plan) if downloaded => {
                self.tell_result(place, ui);
                self.run_command(number, plan, ui);
            }
            _ => self.tell_result(place, ui),
        }
        Ok(())
    }

    /// Tells whether something is still to be done with what is complete.
    pub(super) fn is_finishing(&self) -> bool {
        self.after.is_busy() || !self.leaving.is_empty()
    }

    /// Moves what the engine has let go of, and takes in what was done.
    pub(super) fn finish(&mut self, engine: &impl Engine, ui: &mut Ui) -> Result<(), ClientError> {
        for leaving in std::mem::take(&mut self.leaving) {
            let id = self.roster.torrent(leaving.place).id;
            if !engine.snapshots(&[id])?.is_empty() {
                self.leaving.push(leaving);
                continue;
            }
            let Leaving { place, number, plan } = leaving;
            self.moving.insert(number, place);
            let claimed = self.claim_new_place(&plan);
            let begun = claimed.and_then(|()| self.after.begin_move(number, plan.clone()));
            if let Err(failure) = begun {
                self.moved(number, plan, Err(failure), engine, ui);
            }
        }
        while let Some(step) = self.after.step() {
            match step {
                Step::Moved(number, plan, moved) => self.moved(number, *plan, moved, engine, ui),
                Step::Ran(number, Err(failure)) => self.failed_after(number, &failure, ui),
                Step::Ran(_, Ok(())) => {}
            }
        }
        Ok(())
    }

    /// Claims the torrent in the folder that its data is to be moved to.
    fn claim_new_place(&mut self, plan: &Plan) -> Result<(), Failure> {
        let Some(to) = &plan.move_to else { return Ok(()) };
        // Who cannot lock has been told so.
        self.locks.claim_torrent(&plan.torrent.metainfo, to).map(drop)
    }

    /// Takes in that data was moved, or could not be; it is seeded from where it is.
    fn moved(
        &mut self,
        number: usize,
        mut plan: Plan,
        moved: Result<Option<Failure>, Failure>,
        engine: &impl Engine,
        ui: &mut Ui,
    ) {
        let Some(place) = self.moving.remove(&number) else { return };
        let is_moved = moved.is_ok();
        match (moved, plan.move_to.take()) {
            (Err(failure), _) => self.failed_after(number, &failure, ui),
            (Ok(_), None) => {}
            (Ok(left), Some(to)) => {
                if let Some(failure) = left {
                    self.failed_after(number, &failure, ui);
                }
                let torrent = self.roster.torrent_mut(place);
                torrent.path = Some(to.join(&plan.top));
                ui.record(|| json::moved(number, &to));
                ui.say(&format!("moved  {}  to {}", torrent.name, escaped_path(&to)));
                plan.torrent.dir = to;
                plan.torrent.resume = plan.state_there.take();
            }
        }
        self.tell_result(place, ui);
        if self.goal.seeding().is_some() {
            // Everything was checked a moment ago, wherever it was then.
            let resume =
                plan.torrent.resume.clone().map(|resume| Resume { check: false, ..resume });
            let torrent = AddTorrent { mode: Mode::Seed, resume, ..plan.torrent.clone() };
            match engine.add(torrent) {
                Ok((id, snapshot)) => self.roster.come_back(place, id, snapshot),
                Err(error) => self.failed_after(number, &Failure::client(&error), ui),
            }
        }
        if is_moved {
            self.run_command(number, plan, ui);
        }
    }

    fn run_command(&mut self, number: usize, plan: Plan, ui: &mut Ui) {
        // What it prints comes after what was said before it.
        ui.settle();
        if let Err(failure) = self.after.begin_command(number, plan) {
            self.failed_after(number, &failure, ui);
        }
    }

    /// Tells what went wrong with what is complete; the download counts all the same.
    fn failed_after(&mut self, number: usize, failure: &Failure, ui: &mut Ui) {
        ui.error(failure, Some(number));
        self.lost.push(failure.exit);
    }

    fn tell_result(&self, place: usize, ui: &mut Ui) {
        if let Some(path) = &self.roster.torrent(place).path {
            ui.result_path(path);
        }
    }
}
