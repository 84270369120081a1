//! swarmloop: a BitTorrent engine on one event loop.
//!
//! The one idea behind it: **deciding is separate from doing.** A value, [`session::Session`],
//! holds all protocol state. It is told what happened and what time it is, and says what should be
//! done next: bytes, actions, events, one deadline. A thin shell owns sockets, threads, clock and
//! entropy. So the same engine runs over mio ([`reactor`]), and over a virtual network in virtual
//! time ([`sim`]), where a whole swarm follows from one seed.
//!
//! # The layers
//!
//! A file may use what is below it, and nothing above or beside it; `tests/tidy.rs` fails on any
//! other edge.
//!
//! ```text
//!  L7  main, cli ── client                                   tests
//!                     │                                        │
//!  L6            reactor (mio, threads, files, clock)         sim (all of it virtual)
//!                     └───────────────┬────────────────────────┘
//!  L5                              session                ← the value
//!  L4                              torrent
//!  L3     peer  picker  choker  tracker  tracker_server  dht  lsd  (no arrows between these)
//!  L2                  wire, disk, filter, rate, stats
//!  L1                            proto
//!  L0         bitfield, geometry, id, net_policy, rng, subnet, text, time
//! ```
//!
//! # The turn
//!
//! 1. Wait until something is ready or due.
//! 2. Read the clock, once.
//! 3. Take in completions of disk and DNS, accepted and opened streams, and datagrams.
//! 4. Read each ready stream, up to a budget: `recv_slices`, read, `recv_advance`.
//! 5. Take in the deadlines that have passed.
//! 6. `end_turn`: now requests, choke decisions, haves, announces and dials are decided.
//! 7. One vectored write for each stream that has something to send.
//! 8. Carry out the actions, send the datagrams, take the events. What a peer asked to read and is
//!    in memory is read here, and leaves in a second round of 6 and 7.
//!
//! **Inputs, then `end_turn`, then drain until `None`, then sleep.**
//!
//! # The life of a block
//!
//! [`torrent::Torrent::refill`] asks [`picker::Picker::pick`], which opens a piece only if the
//! [frame pool](wire::frame::FramePool) has credit for all of it; the peer's
//! [pipeline](peer::pipeline::Pipeline) remembers what it expects, and a `request` leaves with the
//! turn's one write. Later the stream is ready: [`wire::recv::RecvState`] says where the bytes go,
//! and the kernel copies the payload **into its final home**, a [`wire::frame::Frame`]. The frame
//! moves by value into the piece's row ([`torrent::pieces`]), and with the whole row into a
//! [`disk::job::Verify`]; a worker hashes it, compares, and only then writes it in one run. The
//! [`disk::job::Outcome`] brings the frames back, peers are told `have`. In user space the payload
//! is not copied as a rule: one read takes in a [chain](wire::scratch) of blocks, each into a
//! frame.
//!
//! # The life of a timer
//!
//! A peer's deadlines are a [table](peer::timer::Timers) of a few named slots. After a connection
//! was touched, the session enters its earliest deadline into the [wheel](session::wheel::Wheel) if
//! no earlier entry stands; one that moves later is left where it is and corrected when it comes
//! up. [`session::Session::poll_timeout`] is the wheel's next slot. An idle session has no
//! deadline, and makes no wake-ups.
//!
//! # The life of a measurement
//!
//! Eleven [HDR histograms](stats::Metric) and plain [counters](stats::Counters) are always on.
//! Whoever knows that something ended returns since when it was under way ([`peer::PeerEvent`],
//! [`disk::job::Times`]), and its owner records it in the turn's time; only the reactor looks at
//! its own clock twice a turn, for how long it was busy. [`client::Client::take_histograms`] swaps
//! them for empty ones between two turns. What happened, rather than how long it took, is in the
//! [trace](session::trace): a ring of typed records, off unless the configuration gives it room.
//! Each peer then keeps a [tape](wire::tape) of its messages, which the session plays back into the
//! ring.
//!
//! # What is absent, on purpose
//!
//! * No clock, socket, file, thread, environment variable or system entropy below layer 6.
//! * No reference from a peer to its torrent, or from a torrent to its session: events go up as
//!   values, and the owner decides.
//! * No lock, no reference count on mutable state, no hash map with random order below layer 6;
//!   and no `unsafe` anywhere but in [`disk`]'s SHA-1 kernels.
//! * No queue, buffer or list that peer input can grow without a named `MAX_*`.
//!
//! # Where to start reading
//!
//! [`session::io`] (the contract), then `reactor/mod.rs` (`turn()` is one page), [`wire::recv`]
//! (bytes to steps), [`peer`] and its timers, [`torrent`] (every decision about a swarm), and last
//! [`sim`] with one test of `tests/sim_swarm.rs`: change the seed, watch it.
//!
//! # Using it
//!
//! The engine on a thread of its own, commands in and events out:
//!
//! ```no_run
//! use swarmloop::client::{AddTorrent, Client, ClientConfig, Mode};
//! use swarmloop::proto::metainfo::Metainfo;
//! use swarmloop::session::io::Event;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::start(ClientConfig {
//!     listen: vec!["0.0.0.0:6881".parse()?],
//!     ..ClientConfig::default()
//! })?;
//! let torrent = std::fs::read("debian.torrent")?;
//! let metainfo = Metainfo::parse(&torrent.into())?;
//! let mode = Mode::Download { overwrite: false };
//! client.add_torrent(AddTorrent::new(metainfo, "downloads".into(), mode))?;
//! for event in client.events() {
//!     if let Event::Complete { elapsed, .. } = event {
//!         println!("complete after {elapsed:?}");
//!         break;
//!     }
//! }
//! client.shutdown(std::time::Duration::from_secs(3));
//! # Ok(())
//! # }
//! ```
//!
//! Or drive the loop yourself, on your own thread, with [`reactor::Reactor::turn`].

// L0: values.
pub mod bitfield;
pub mod geometry;
pub mod id;
pub mod net_policy;
pub mod rng;
pub mod subnet;
pub mod text;
pub mod time;
// L1: codecs.
pub mod proto;
// L2: words of wire and disk, and what is counted and sorted out.
pub mod disk;
pub mod filter;
pub mod rate;
pub mod stats;
pub mod wire;
// L3: machines.
pub mod choker;
pub mod dht;
pub mod lsd;
pub mod peer;
pub mod picker;
pub mod tracker;
pub mod tracker_server;
// L4: one swarm.
pub mod torrent;
// L5: the value.
pub mod session;
// L6: drivers.
pub mod reactor;
pub mod sim;
// L7: the surface.
pub mod client;
