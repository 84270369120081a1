//! What a load is asked to do.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use super::conn::Role;
use super::wanted::Order;
use crate::failure::Failure;
use crate::own::Own;
use crate::payload::Payload;

/// Arguments of every subcommand that loads a client. The letters are those of libtorrent's
/// `connection_tester`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LoadArgs {
    /// Connections
    #[arg(short, long, value_name = "N", default_value_t = 50)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) conns: u32,
    /// The client's address
    #[arg(short, long, value_name = "HOST[:PORT]", default_value = "127.0.0.1")]
    pub(crate) dest: String,
    /// The client's port, if it is not in its address
    #[arg(short, long, value_name = "PORT", default_value_t = 6881)]
    pub(crate) port: u16,
    /// The torrent, made by `gen`
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) torrent: PathBuf,
    /// Where the payload of any other torrent is; it is read into memory
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) data: Option<PathBuf>,
    /// Wait for the client's connections here instead of dialling it
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Close and open so many connections a second
    #[arg(short = 'r', long, value_name = "N", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u32).range(..=MAX_CHURN))]
    pub(crate) churn: u32,
    /// Go on for so many seconds [default: until all of the payload is moved]
    #[arg(short = 'T', long, value_name = "SECS")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=MAX_SECS))]
    pub(crate) time: Option<u64>,
    /// Fail if the payload is not moved after so many seconds
    #[arg(long, value_name = "SECS", default_value_t = 600)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=MAX_SECS))]
    pub(crate) limit: u64,
    /// The client's process, to be measured
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Option<u32>,
    /// Load our own engine in this process
    #[arg(long = "self", conflicts_with_all = ["dest", "port", "listen", "pid"])]
    pub(crate) own: bool,
    /// Where --self keeps its files meanwhile [default: in memory]
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath, requires = "own")]
    pub(crate) dir: Option<PathBuf>,
    /// Connections that are being opened at one time
    #[arg(long, value_name = "N", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) in_flight: u32,
}

/// The most reconnects a second: what a microsecond tells apart.
const MAX_CHURN: i64 = 1_000_000;

/// The longest run, in seconds: a year.
const MAX_SECS: u64 = 366 * 86_400;

/// When an upload is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Until {
    /// The client says in one way or another that it has everything.
    Complete,
    /// As much as the torrent has was sent.
    Sent,
    /// The client has closed every connection.
    Closed,
    /// The client's process (--pid) has ended.
    Exit,
}

/// What a load does, checked.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Where the client is; nowhere if it is to come to us.
    pub(crate) target: Option<SocketAddr>,
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) conns: usize,
    pub(crate) roles: Roles,
    /// Reconnects a second.
    pub(crate) churn: u32,
    /// A run of so long is asked for.
    pub(crate) time: Option<Duration>,
    pub(crate) limit: Duration,
    pub(crate) until: Until,
    pub(crate) pid: Option<u32>,
    pub(crate) in_flight: usize,
    /// Requests outstanding on a connection.
    pub(crate) outstanding: usize,
    /// Requests, or what else the roles send, a second over all connections; a closed loop if
    /// there is none.
    pub(crate) rate: Option<u64>,
    pub(crate) order: Order,
    /// Open the connections in steps, then hold them for so long.
    pub(crate) hold: Option<Duration>,
}

/// What we play on which connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Roles {
    /// So many connections, the first ones, are seeds.
    pub(crate) seeds: usize,
    /// What all others are.
    pub(crate) rest: Role,
}

impl Roles {
    /// Returns the role of the `n`-th connection, zero-based.
    pub(crate) const fn of(self, n: usize) -> Role {
        if n < self.seeds { Role::Seed } else { self.rest }
    }
}

impl Options {
    /// Tells whether payload goes to the client.
    pub(crate) fn has_seeds(&self) -> bool {
        self.roles.seeds > 0
    }

    /// Tells whether payload comes from the client.
    pub(crate) fn has_leeches(&self) -> bool {
        self.roles.rest == Role::Leech && self.roles.seeds < self.conns
    }
}

impl LoadArgs {
    /// Checks the arguments, raises the limit on descriptors and reads the torrent.
    ///
    /// With `--self` starts the client, for whom we are to play `ours`; it lives as long as what
    /// is returned of it.
    pub(crate) fn prepare(&self, ours: Role) -> Result<(Options, Payload, Option<Own>), Failure> {
        let conns = usize::try_from(self.conns).expect("32 bits fit");
        let budget = swarmloop::reactor::limits::raise_fd_limit().conns;
        if conns > budget {
            return Err(Failure::usage(format!(
                "{conns} connections, but the limit on open files leaves {budget}"
            )));
        }
        let payload = Payload::load(&self.torrent, self.data.as_deref())?;
        let own = self.own.then(|| Own::start(&payload, ours, conns, self.dir.as_deref()));
        let own = own.transpose()?;
        let target = match (&own, self.listen) {
            (Some(own), _) => Some(own.addr),
            (None, Some(_)) => None,
            (None, None) => Some(self.target()?),
        };
        let options = Options {
            target,
            listen: self.listen,
            conns,
            roles: Roles { seeds: 0, rest: Role::Leech },
            churn: self.churn,
            time: self.time.map(Duration::from_secs),
            limit: Duration::from_secs(self.limit),
            until: Until::Complete,
            pid: if self.own { Some(std::process::id()) } else { self.pid },
            in_flight: usize::try_from(self.in_flight).expect("32 bits fit"),
            outstanding: 1,
            rate: None,
            order: Order::Random,
            hold: None,
        };
        Ok((options, payload, own))
    }

    /// Finds the client's address.
    fn target(&self) -> Result<SocketAddr, Failure> {
        let found = match self.dest.parse::<SocketAddr>() {
            Ok(addr) => return Ok(addr),
            Err(_) => match self.dest.rsplit_once(':') {
                Some((host, port)) if !host.contains(':') => match port.parse::<u16>() {
                    Ok(port) => (host, port).to_socket_addrs(),
                    Err(_) => return Err(Failure::usage(format!("'{port}' is no port"))),
                },
                _ => (self.dest.as_str(), self.port).to_socket_addrs(),
            },
        };
        let cannot_find = |error: &dyn std::fmt::Display| {
            let shown = swarmloop::text::Escaped(&self.dest);
            Failure::input(format!("cannot find '{shown}': {error}"))
        };
        let mut found = found.map_err(|error| cannot_find(&error))?;
        found.next().ok_or_else(|| cannot_find(&"it has no address"))
    }
}
