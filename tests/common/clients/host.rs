//! Where a program runs: in the network of the machine, or in that of a node of its own.

use std::{path::Path, process::Command};

use super::{
    process::{self, Process},
    tools::Tool,
};
use crate::netns::Node;

/// A place for one client. The node, if it is one, goes with it.
pub(crate) struct Host(Option<Node>);

impl Host {
    /// The machine itself, whose loopback the clients share.
    pub(crate) fn machine() -> Self {
        Self(None)
    }

    /// A node that the client has for itself.
    pub(crate) fn node(node: Node) -> Self {
        Self(Some(node))
    }

    /// Starts a tool here, whose log in `folder` gets its name; see [`Process::start`].
    pub(crate) fn start(
        &self,
        folder: &Path,
        tool: Tool,
        configure: impl FnOnce(&mut Command),
    ) -> Process {
        self.enter(tool, |program, head| {
            Process::start(tool.name(), folder, program, |command| configure(command.args(head)))
        })
    }

    /// Runs a short command here to its end and returns what it printed, `None` when it failed.
    pub(crate) fn output(
        &self,
        tool: Tool,
        configure: impl FnOnce(&mut Command),
    ) -> Option<String> {
        self.enter(tool, |program, head| {
            process::output(program, |command| configure(command.args(head)))
        })
    }

    /// Does `work`, whose sockets are of this place.
    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &self.0 {
            None => work(),
            Some(node) => node.within(work),
        }
    }

    /// Calls `run` with the program to start, and its first arguments, for `tool` to run here.
    fn enter<T>(&self, tool: Tool, run: impl FnOnce(&Path, &[&Path]) -> T) -> T {
        let tool = tool.path();
        match &self.0 {
            None => run(&tool, &[]),
            Some(node) => {
                let head = ["netns", "exec", node.name()].map(Path::new);
                run(Path::new("ip"), &[&head[..], &[&tool]].concat())
            }
        }
    }
}
