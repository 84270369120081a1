//! What happens to a download when it is complete: its data is moved (`--move-to`), then a command
//! is run (`--on-complete`), on a thread of its own and one download after the other.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf, absolute};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use swarmloop::client::AddTorrent;
use swarmloop::session::io::Resume;
use swarmloop::text::Escaped;

use super::exit::{Exit, Failure};
use super::relocate::Move;

/// The variables by which a program is told of a download. Some are named as settings are; in a
/// program that is run so they are none.
pub(crate) const TOLD: [&str; 6] = [
    "SWARMLOOP_TORRENT",
    "SWARMLOOP_HASH",
    "SWARMLOOP_NAME",
    "SWARMLOOP_SIZE",
    "SWARMLOOP_PATH",
    "SWARMLOOP_DIR",
];

/// A program and its arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Words(pub(crate) Vec<String>);

/// What is to be done with one download.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The torrent as it was named: a path, or `-`.
    pub(crate) source: OsString,
    /// The torrent as it was added.
    pub(crate) torrent: AddTorrent,
    /// Its file or top folder.
    pub(crate) top: OsString,
    /// Where it is to be.
    pub(crate) move_to: Option<PathBuf>,
    /// Where its state is kept when it is there.
    pub(crate) state_there: Option<Resume>,
    pub(crate) command: Option<Words>,
}

impl Plan {
    /// Returns the move of the data from where `torrent` has it.
    pub(crate) fn moving<'a>(&'a self, torrent: &'a AddTorrent, to: &'a Path) -> Move<'a> {
        let states = torrent.resume.as_ref().zip(self.state_there.as_ref());
        let states = states.map(|(here, there)| (&*here.file, &*there.file));
        let (metainfo, selection) = (&torrent.metainfo, &torrent.selection);
        Move { metainfo, selection, from: &torrent.dir, to, states }
    }
}

/// A part of a plan that is to be carried out; the number is the torrent's.
#[derive(Debug)]
enum Task {
    Move(usize, Box<Plan>),
    Run(usize, Box<Plan>),
}

/// A part of a plan that was carried out; the number is the torrent's.
#[derive(Debug)]
pub(crate) enum Step {
    /// The data is where it was to be moved, and perhaps something is left where it was; or it is
    /// still where it was.
    Moved(usize, Box<Plan>, Result<Option<Failure>, Failure>),
    /// The command has ended well, or not.
    Ran(usize, Result<(), Failure>),
}

/// The plans of a run, and the thread that carries them out.
#[derive(Debug, Default)]
pub(crate) struct After {
    plans: BTreeMap<usize, Plan>,
    worker: Option<Worker>,
    /// Tasks that were handed over and are not done.
    under_way: usize,
}

#[derive(Debug)]
struct Worker {
    tasks: Sender<Task>,
    steps: Receiver<Step>,
}

impl After {
    /// Plans something for a torrent.
    pub(crate) fn plan(&mut self, number: usize, plan: Plan) {
        if plan.move_to.is_some() || plan.command.is_some() {
            self.plans.insert(number, plan);
        }
    }

    /// Takes out what is planned for a torrent.
    pub(crate) fn take(&mut self, number: usize) -> Option<Plan> {
        self.plans.remove(&number)
    }

    /// Tells whether something is being done.
    pub(crate) const fn is_busy(&self) -> bool {
        self.under_way > 0
    }

    /// Begins to move the data.
    pub(crate) fn begin_move(&mut self, number: usize, plan: Plan) -> Result<(), Failure> {
        self.begin(Task::Move(number, Box::new(plan)))
    }

    /// Begins to run the command, if one is planned; the data is in the torrent's folder.
    pub(crate) fn begin_command(&mut self, number: usize, plan: Plan) -> Result<(), Failure> {
        if plan.command.is_none() {
            return Ok(());
        }
        self.begin(Task::Run(number, Box::new(plan)))
    }

    fn begin(&mut self, task: Task) -> Result<(), Failure> {
        if self.worker.is_none() {
            let worker = Worker::start();
            self.worker = Some(worker.map_err(|error| Failure::io("start a thread", &error))?);
        }
        if let Some(worker) = &self.worker {
            // It ends with its last task and not before.
            let _ = worker.tasks.send(task);
            self.under_way += 1;
        }
        Ok(())
    }

    /// Returns what was done since this was last asked, without waiting.
    pub(crate) fn step(&mut self) -> Option<Step> {
        let step = self.worker.as_ref()?.steps.try_recv().ok()?;
        self.under_way -= 1;
        Some(step)
    }
}

impl Worker {
    fn start() -> io::Result<Self> {
        let (tasks, inbox) = mpsc::channel();
        let (outbox, steps) = mpsc::channel();
        thread::Builder::new().name("after".to_owned()).spawn(move || {
            for task in inbox {
                // Whoever planned it may have ended; what was begun is finished all the same.
                let _ = outbox.send(carry_out(task));
            }
        })?;
        Ok(Self { tasks, steps })
    }
}

fn carry_out(task: Task) -> Step {
    match task {
        Task::Move(number, plan) => {
            let torrent = &plan.torrent;
            let to = plan.move_to.as_ref().unwrap_or(&torrent.dir);
            let moved = plan.moving(torrent, to).perform();
            Step::Moved(number, plan, moved)
        }
        Task::Run(number, plan) => Step::Ran(number, run(&plan)),
    }
}

/// Runs a command and waits for it. What is foreign reaches it through the environment alone.
fn run(plan: &Plan) -> Result<(), Failure> {
    let words = plan.command.as_ref().map_or(&[][..], |words| &words.0);
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    let metainfo = &plan.torrent.metainfo;
    let dir = &plan.torrent.dir;
    let dir = absolute(dir).unwrap_or_else(|_| dir.clone());
    let told: [OsString; TOLD.len()] = [
        plan.source.clone(),
        metainfo.info_hash.to_string().into(),
        metainfo.name.clone().into(),
        metainfo.total_len().to_string().into(),
        dir.join(&plan.top).into(),
        dir.into(),
    ];
    let status = Command::new(program)
        .args(arguments)
        .envs(TOLD.iter().zip(told))
        .stdin(Stdio::null())
        // What is on stdout are the results.
        .stdout(io::stderr())
        .status();
    let name = Escaped(&metainfo.name);
    let program = Escaped(program);
    let message = match status {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => format!("'{program}', run for '{name}', ended with {status}"),
        Err(error) => format!("cannot run '{program}' for '{name}': {error}"),
    };
    Err(Failure::new(Exit::Failed, "on_complete", format!("{message}. The download is complete")))
}
