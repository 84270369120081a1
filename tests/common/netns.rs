//! Networks made of kernel namespaces: each node has interfaces, addresses and routes of its own,
//! and nothing that runs there reaches the machine or the outside.
//!
//! ```text
//!  node 1 ── eth0 10.77.1.2/24 ── 10.77.1.1 ─┐
//!            fd77:1::2/64         fd77:1::1  ├─ the router's namespace, which forwards
//!  node 2 ── eth0 10.77.2.2/24 ── 10.77.2.1 ─┘
//! ```
//!
//! No two nodes share a /24, for clients take one for a sign that nodes belong together, but in a
//! [shared](Network::shared) network, which is one link. All of it
//! goes when the values are dropped, a panic included, with what still runs inside. What a killed
//! test left is deleted by the next one.

// Each test crate takes from here what it needs.
#![allow(dead_code, reason = "no single test uses all of a harness")]

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    io::{self, Write as _},
    net::{Ipv4Addr, Ipv6Addr},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::{self, Command, Output},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use rustix::{
    process::{Pid, Signal, kill_process},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

/// Whether namespaces can be made here: by root, with Debian's `iproute2`, outside containers that
/// forbid it. When they cannot, says so on stderr and returns false: the test has nothing to test
/// and passes.
///
/// # Panics
///
/// When they cannot and `SWARMLOOP_REQUIRE_PEERS=1`: where all is supposed to be installed, a
/// skipped test is a failed one.
pub(crate) fn have() -> bool {
    static OBSTACLE: OnceLock<Option<String>> = OnceLock::new();
    let Some(why) = OBSTACLE.get_or_init(obstacle) else { return true };
    let line = format!("skipped: no network namespaces: {why}");
    assert!(env::var_os("SWARMLOOP_REQUIRE_PEERS").is_none_or(|v| v != "1"), "{line}");
    // Not `eprintln!`, whose output libtest swallows when a test passes.
    let _ = writeln!(io::stderr(), "{line}");
    false
}

/// Nodes and the router between them.
pub(crate) struct Network {
    router: Namespace,
    /// The second octet of its addresses.
    number: u8,
    links: u8,
    /// Whether nodes share a /24 and a /64, as those of one local network do.
    is_shared: bool,
}

impl Network {
    /// Makes a network without nodes; [`have`] has said that it can.
    pub(crate) fn new() -> Self {
        Self::numbered(77)
    }

    /// The same, with another second octet than 77: nodes of several networks have to tell them
    /// apart.
    pub(crate) fn numbered(number: u8) -> Self {
        let router = Namespace::new();
        let on = "echo 1 >/proc/sys/net/ipv4/ip_forward; \
                  echo 1 >/proc/sys/net/ipv6/conf/all/forwarding";
        expect_success(&mut router.command("sh"), &["-c", on]);
        Self { router, number, links: 0, is_shared: false }
    }

    /// Makes a network whose nodes are on one link, with addresses of one /24 and /64: what one
    /// sends to a group comes to all.
    pub(crate) fn shared() -> Self {
        let network = Self { is_shared: true, ..Self::new() };
        // No querier is there to ask who is in which group, so everybody gets everything.
        network.ip(&format!("link add {BRIDGE} type bridge mcast_snooping 0"));
        network.ip(&format!("address add 10.{}.0.1/24 dev {BRIDGE}", network.number));
        let gateway = v6(network.number, 0, 1);
        network.ip(&format!("address add {gateway}/64 dev {BRIDGE} nodad"));
        network.ip(&format!("link set {BRIDGE} up"));
        network
    }

    /// Makes a node with one interface, `eth0`, through which it reaches every other node.
    pub(crate) fn node(&mut self) -> Node {
        let mut node = Node { namespace: Namespace::new(), links: Vec::new() };
        self.link(&mut node);
        let Link { gateway_v4, gateway_v6, .. } = *node.link();
        node.ip(&format!("route add default via {gateway_v4}"));
        node.ip(&format!("route add default via {gateway_v6}"));
        node
    }

    /// Gives a node of this or another network one more interface, of the next name (`eth1`), to
    /// this network; it leads to the /24 and /64 of its own addresses until there are routes.
    pub(crate) fn link(&mut self, node: &mut Node) {
        self.links += 1;
        let (subnet, host) = if self.is_shared { (0, self.links + 1) } else { (self.links, 2) };
        let v4 = |host| Ipv4Addr::new(10, self.number, subnet, host);
        let v6 = |host: u8| v6(self.number, subnet, host.into());
        let link = Link {
            name: format!("eth{}", node.links.len()),
            router_name: format!("to{}", self.links),
            v4: v4(host),
            gateway_v4: v4(1),
            v6: v6(host),
            gateway_v6: v6(1),
        };
        let (near, far) = (&link.name, &link.router_name);
        let at = &node.namespace.name;
        self.router.ip(&format!("link add {far} type veth peer name {near} netns {at}"));
        let ends = [
            (&self.router, far, link.gateway_v4, link.gateway_v6),
            (&node.namespace, near, link.v4, link.v6),
        ];
        if self.is_shared {
            self.router.ip(&format!("link set {far} master {BRIDGE} up"));
        }
        for (namespace, name, v4, v6) in ends.into_iter().skip(usize::from(self.is_shared)) {
            namespace.ip(&format!("address add {v4}/24 dev {name}"));
            // `nodad`: usable at once, not only after a second of asking whether it is taken.
            namespace.ip(&format!("address add {v6}/64 dev {name} nodad"));
            namespace.ip(&format!("link set {name} up"));
        }
        node.links.push(link);
    }

    /// Does `work` in the router's namespace; see [`Node::within`].
    pub(crate) fn within_router<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.router.within(work)
    }

    /// Runs `ip` with these words in the router's namespace.
    pub(crate) fn ip(&self, words: &str) {
        self.router.ip(words);
    }
}

/// A machine of its own, as far as the network goes.
pub(crate) struct Node {
    namespace: Namespace,
    links: Vec<Link>,
}

/// One interface of a node.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// Its name within the node.
    pub(crate) name: String,
    /// The name of its other end within the router.
    pub(crate) router_name: String,
    /// Its address, of a /24 of its own.
    pub(crate) v4: Ipv4Addr,
    /// The router's address of the same /24.
    pub(crate) gateway_v4: Ipv4Addr,
    /// Its address, of a /64 of its own.
    pub(crate) v6: Ipv6Addr,
    /// The router's address of the same /64.
    pub(crate) gateway_v6: Ipv6Addr,
}

impl Node {
    /// The namespace's name, for `ip netns exec NAME`.
    pub(crate) fn name(&self) -> &str {
        &self.namespace.name
    }

    /// `eth0`.
    pub(crate) fn link(&self) -> &Link {
        &self.links[0]
    }

    /// All interfaces, in the order in which they were made.
    pub(crate) fn links(&self) -> &[Link] {
        &self.links
    }

    /// The address of `eth0`.
    pub(crate) fn v4(&self) -> Ipv4Addr {
        self.link().v4
    }

    /// The IPv6 address of `eth0`.
    pub(crate) fn v6(&self) -> Ipv6Addr {
        self.link().v6
    }

    /// A command that will run in the node: `ip netns exec NAME PROGRAM`, which becomes the program
    /// itself, so that the child's number is the program's.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.namespace.command(program)
    }

    /// Does `work` on a thread in the node's namespace, and waits for it. Sockets that it makes
    /// belong to the node wherever they are used later; threads that it starts do, too.
    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.namespace.within(work)
    }

    /// Runs `ip` with these words in the node.
    pub(crate) fn ip(&self, words: &str) {
        self.namespace.ip(words);
    }

    /// What [`Node::command`]'s programs find in `/etc/resolv.conf` from now on.
    pub(crate) fn resolv_conf(&self, text: &str) {
        let folder = self.namespace.etc();
        fs::create_dir_all(&folder).expect("root may write to /etc");
        fs::write(folder.join("resolv.conf"), text).expect("root may write to /etc");
    }
}

/// A namespace with its loopback up. Dropping it ends what runs inside and deletes it.
struct Namespace {
    name: String,
}

impl Namespace {
    fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let namespace = Self { name: format!("{PREFIX}{}-{number}", process::id()) };
        expect_success(&mut Command::new("ip"), &["netns", "add", &namespace.name]);
        namespace.ip("link set lo up");
        namespace
    }

    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    fn ip(&self, words: &str) {
        let words: Vec<&str> = words.split_whitespace().collect();
        expect_success(Command::new("ip").args(["-n", &self.name]), &words);
    }

    fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file = File::open(Path::new(NAMESPACES).join(&self.name)).expect("it exists");
        let enter_and_work = move || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(file.as_fd(), kind).expect("root may enter it");
            work()
        };
        let done = thread::scope(|scope| scope.spawn(enter_and_work).join());
        // What the closure asserted is the test's own failure.
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// What `ip netns exec` lays over `/etc`.
    fn etc(&self) -> PathBuf {
        Path::new("/etc/netns").join(&self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        delete(&self.name);
        let _ = fs::remove_dir_all(self.etc());
    }
}

/// Ends what runs in a namespace and deletes it, as far as that is possible.
fn delete(name: &str) {
    let inside = Command::new("ip").args(["netns", "pids", name]).output();
    let inside = inside.map(|output| output.stdout).unwrap_or_default();
    let pids = String::from_utf8_lossy(&inside).into_owned();
    for pid in pids.lines().filter_map(|line| line.trim().parse().ok()) {
        // A thread of this very process can be inside as well.
        let pid: i32 = pid;
        if pid.cast_unsigned() != process::id()
            && let Some(pid) = Pid::from_raw(pid)
        {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    let _ = Command::new("ip").args(["netns", "delete", name]).output();
}

/// Why no namespace can be made, if so; found out by making one. Deletes what tests have left that
/// were killed.
fn obstacle() -> Option<String> {
    for entry in fs::read_dir(NAMESPACES).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
        if owner.is_some_and(|(pid, _)| !Path::new("/proc").join(pid).exists()) {
            delete(&name);
            let _ = fs::remove_dir_all(Path::new("/etc/netns").join(&name));
        }
    }
    let name = format!("{PREFIX}{}-probe", process::id());
    let made = Command::new("ip").args(["netns", "add", &name]).output();
    let why = match made {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("ip (Debian's iproute2): {error}")),
    };
    delete(&name);
    why
}

/// The address `host` of the /64 of a link; its digits look like those of the IPv4 address.
fn v6(network: u8, link: u8, host: u16) -> Ipv6Addr {
    let digits = u16::from(network / 10) << 4 | u16::from(network % 10);
    Ipv6Addr::new(0xfd00 | digits, link.into(), 0, 0, 0, 0, 0, host)
}

fn expect_success(command: &mut Command, args: &[&str]) {
    let Output { status, stderr, .. } = command.args(args).output().expect("`have` found ip");
    assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
}

/// What joins the links of a shared network.
const BRIDGE: &str = "lan";

/// Before the number of the process that made a namespace.
const PREFIX: &str = "swarmloop-test-";

/// Where `ip netns` keeps them.
const NAMESPACES: &str = "/run/netns";
