//! What goes wrong on purpose: hosts that die or fall silent, streams that break or pause.

use super::agenda::Happening;
use super::{HostId, Sim};
use crate::disk::job::Job;
use crate::time::Duration;

impl Sim {
    /// Ends a host's session on the spot, as a kill does: its streams are reset, jobs that write
    /// may be torn. Its files stay.
    pub fn kill(&mut self, host: HostId) {
        for (stream, side) in std::mem::take(&mut self.hosts[host.0].driver.conns).into_values() {
            self.net.reset(stream, &mut self.agenda);
            self.net.close(stream, side, &mut self.agenda);
        }
        let at = &mut self.hosts[host.0];
        at.session = None;
        at.life += 1;
        at.driver.inbox.clear();
        at.driver.woken = false;
        at.driver.timer = None;
    }

    /// Ends a host's session and cuts its power: of what was written since the last sync, any part
    /// may be there afterwards.
    pub fn cut_power(&mut self, host: HostId) {
        self.kill(host);
        let now = self.agenda.now();
        let disk = &mut self.hosts[host.0].disk;
        disk.now = now;
        // What it was at is done in part, and of that any part is left.
        for job in self.agenda.take_jobs(host) {
            if self.rng.below(2) == 0 {
                disk.tear(job, &mut self.rng);
            }
        }
        disk.cut_power(&mut self.rng);
    }

    /// Starts a host that was killed, with the torrents that it had and what is on its disk.
    pub fn restart(&mut self, host: HostId) {
        let torrents = self.hosts[host.0].torrents.clone();
        self.restart_without(host);
        for (source, options) in torrents {
            self.add_torrent(host, &source, options);
        }
    }

    /// Starts a host that was killed, without torrents, with what is on its disk.
    pub fn restart_without(&mut self, host: HostId) {
        let now = self.now();
        self.net.revive(host);
        self.hosts[host.0].boot(now);
    }

    /// Makes everything to and from a host vanish from now on, without a word to anybody.
    pub fn blackhole(&mut self, host: HostId) {
        self.net.blackhole(host, self.agenda.now());
    }

    /// Enters the first of the faults that come again and again.
    pub(super) fn plan_faults(&mut self) {
        self.plan(self.options.reset_every, Happening::RandomReset);
        self.plan(self.options.stall_every, Happening::RandomStall);
    }

    fn plan(&mut self, mean: Option<Duration>, happening: Happening) {
        if let Some(mean) = mean {
            // Exponential gaps: each moment is as likely as any other.
            let gap = mean.mul_f64(-(1.0 - self.rng.unit()).ln());
            self.agenda.enter_in(gap, happening);
        }
    }

    pub(super) fn reset_some_stream(&mut self) {
        let open = self.net.open_streams();
        if let Some(stream) = open.get(self.rng.below(open.len())) {
            self.net.reset(*stream, &mut self.agenda);
        }
        self.plan(self.options.reset_every, Happening::RandomReset);
    }

    pub(super) fn stall_some_stream(&mut self) {
        let open = self.net.open_streams();
        if let Some(stream) = open.get(self.rng.below(open.len())) {
            self.net.stall(*stream, self.options.stall_for, &mut self.agenda);
        }
        self.plan(self.options.stall_every, Happening::RandomStall);
    }

    /// A job's time has come. If the host has died since, a part of it may have been done.
    pub(super) fn on_disk_done(&mut self, host: HostId, life: u32, job: Job, took: Duration) {
        let now = self.agenda.now();
        let at = &mut self.hosts[host.0];
        at.disk.now = now;
        if at.life != life {
            // A torn write of an earlier life must not come after one of this life.
            if at.session.is_none() {
                at.disk.tear(job, &mut self.rng);
            }
            return;
        }
        if let Some(outcome) = at.disk.run(job, took) {
            self.tell(host, super::Input::Disk(outcome));
        }
    }
}
