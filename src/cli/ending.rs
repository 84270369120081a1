//! How the commands that move data go on until they end: watched until all is done or somebody
//! stops them, then everything is brought to its end in order.

use swarmloop::client::Client;

use super::exit::Exit;
use super::instruments::Instruments;
use super::signals::Signals;
use super::state;
use super::ui::Ui;
use super::watch::{End, Watch};

/// What is said when a signal has begun a graceful stop.
pub(crate) const STOPPING: &str = "stopping… press ^C again to quit now";

/// Runs what is watched until it ends, then ends the client, and writes what was measured; returns
/// what the process exits with.
pub(crate) fn run(
    mut watch: Watch,
    client: Client,
    signals: &Signals,
    instruments: Instruments,
    ui: &mut Ui,
) -> Exit {
    let end = watch.run(&instruments.watched(&client), signals, ui);
    if let End::Stopped(_) = end {
        ui.tell(STOPPING);
    }
    instruments.take_last(&client);
    let left = state::shut_down(client, signals.time_to_stop(), watch.has_failed(), ui);
    let exit = match watch.conclude(ui, end) {
        Exit::Success => left,
        exit => exit,
    };
    instruments.finish(exit, ui)
}
