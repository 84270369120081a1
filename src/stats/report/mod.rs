//! Histograms as files that people and their tools read: interval logs (`.hlog`), percentile tables
//! (`.hgrm`), a JSON summary, and one HTML page with the plots.
//!
//! Everything here makes text from values, or values from text that may be anybody's: what a
//! foreign log can make us hold has a limit, and every complaint about one says what is wrong.
//!
//! **Invariant:** nothing in here reads a clock or touches a file; [`crate::stats`] does not know
//! that it exists.

mod codec;
mod distribution;
mod figures;
pub mod hgrm;
pub mod hlog;
pub mod page;
mod series;
pub mod summary;

pub use codec::CodecError;
pub use distribution::{Distribution, Quantiles, TooMany};
pub use figures::human;
pub use series::{Column, Report, Series};

/// Returns a count or a value for arithmetic whose result is shown.
#[expect(clippy::cast_precision_loss, reason = "what is shown has fewer digits than 53 bits")]
const fn float(number: u64) -> f64 {
    number as f64
}
