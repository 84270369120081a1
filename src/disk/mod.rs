//! The words between the session and whoever does its disk work: jobs, outcomes, and the pure
//! arithmetic under them.
//!
//! **Invariant:** nothing here touches a file. [`crate::reactor`] does the jobs with threads and
//! files, [`crate::sim`] in memory; the session cannot tell which.

pub mod folders;
pub mod hash;
pub mod job;
pub mod layout;
pub mod metadata;
pub mod parts;
pub mod selection;
pub mod sha1_lanes;
pub mod slots;
pub mod spill;
pub mod state;
pub mod verdict;
