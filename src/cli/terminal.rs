//! What stderr is, if it is a terminal: how large, and whose.

use std::io::{self, IsTerminal};

use rustix::process::getpgrp;
use rustix::termios::{tcgetpgrp, tcgetwinsize};

/// Rows and columns of a terminal that does not say.
const USUAL_SIZE: (u16, u16) = (24, 80);

/// Returns the rows and columns of stderr.
pub(crate) fn size() -> (u16, u16) {
    match tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row, size.ws_col),
        _ => USUAL_SIZE,
    }
}

/// Tells whether stderr is a terminal that now belongs to another program, because this one runs in
/// the background: lines that move the cursor would run through that one's.
pub(crate) fn is_in_background() -> bool {
    let stderr = io::stderr();
    stderr.is_terminal() && tcgetpgrp(stderr).is_ok_and(|group| group != getpgrp())
}
