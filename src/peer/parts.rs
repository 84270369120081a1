//! What a connection holds only while it is used in one direction or the other. A peer that does
//! nothing has neither part.

use crate::id::Block;
use crate::peer::pipeline::Pipeline;
use crate::peer::uploads::Uploads;
use crate::rate::RateEstimator;
use crate::time::{Duration, Instant};

/// Our side as a downloader: there from the first request on.
#[derive(Debug)]
pub(super) struct Download {
    pub pipeline: Pipeline,
    pub rate: RateEstimator,
}

/// Our side as an uploader: there from the first request or unchoke on.
#[derive(Debug)]
pub(super) struct Upload {
    pub requests: Uploads,
    pub rate: RateEstimator,
    /// When we last choked it; `None` if not since this part is there.
    pub choked_at: Option<Instant>,
    /// When it was last of use.
    used_at: Instant,
}

/// How long a part is of no use before it is put away: long past what any pause between two
/// requests takes, so that the same memory is not freed and taken again and again.
const PUT_AWAY_AFTER: Duration = Duration::from_secs(60);
/// How long a block that we have given up may still come before it counts as one that was never
/// asked for: well past the time in which a remote that says nothing is closed, for a slow one says
/// it behind all that it had queued.
const FORGET_LATE_AFTER: Duration = Duration::from_secs(5 * 60);

impl Download {
    pub(super) const fn new(request_limit: usize, now: Instant) -> Self {
        Self { pipeline: Pipeline::new(request_limit, now), rate: RateEstimator::new(now) }
    }

    /// Tells whether it will not be missed: nothing is outstanding, nothing was for long, there is
    /// nothing to be held against the remote, and what it may still send that we have given up
    /// will not be.
    pub(super) fn is_of_no_use(&self, now: Instant) -> bool {
        let late = self.pipeline.expects_late();
        let after = if late { FORGET_LATE_AFTER } else { PUT_AWAY_AFTER };
        self.pipeline.is_at_rest() && now - self.pipeline.progress_at() >= after
    }
}

impl Upload {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            requests: Uploads::default(),
            rate: RateEstimator::new(now),
            choked_at: None,
            used_at: now,
        }
    }

    /// Appends a request if fewer than `limit` wait, and tells whether it did.
    pub(super) fn push(&mut self, block: Block, limit: usize, now: Instant) -> bool {
        self.used_at = now;
        self.requests.push(block, limit)
    }

    /// Tells whether nothing is lost with it: nothing was asked for in a long time.
    pub(super) fn is_of_no_use(&self, now: Instant) -> bool {
        self.requests.is_empty() && now - self.used_at >= PUT_AWAY_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{BLOCK_LEN, PieceIndex};

    #[test]
    fn a_download_is_kept_for_as_long_as_what_was_given_up_may_still_come() {
        let block = Block { piece: PieceIndex(0), begin: 0, len: BLOCK_LEN };
        let mut download = Download::new(250, Instant::ZERO);
        let at_rest = Instant::ZERO + PUT_AWAY_AFTER;
        assert!(download.is_of_no_use(at_rest));
        download.pipeline.push(block, Instant::ZERO);
        assert!(download.pipeline.cancel(block));
        assert!(!download.is_of_no_use(at_rest));
        let forgotten = Instant::ZERO + FORGET_LATE_AFTER;
        assert!(download.is_of_no_use(forgotten), "a remote need not answer at all");
        download.pipeline.rejected(block);
        assert!(download.is_of_no_use(at_rest), "this one has");
    }
}
