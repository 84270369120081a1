//! Peers that the user's list names are neither dialled nor let in, and go when a new list names
//! them.

use std::sync::Arc;

use swarmloop::filter::{FilterBuilder, IpFilter};
use swarmloop::proto::blocklist::parse_line;

use crate::common::{FAST, Setup, World};

const BLOCKED: &str = "closed: on the blocklist";

fn list(lines: &[&str]) -> Arc<IpFilter> {
    let mut builder = FilterBuilder::default();
    for line in lines {
        let range = parse_line(line.as_bytes()).expect("a line of a list");
        builder.add(range.expect("a range")).expect("there is room");
    }
    Arc::new(builder.build())
}

fn peers(hosts: &[&str]) -> Vec<(String, u16)> {
    hosts.iter().map(|host| ((*host).to_owned(), 6881)).collect()
}

#[test]
fn who_is_on_the_list_is_not_dialled_and_takes_nobodys_place() {
    let peers = peers(&["10.9.9.1", "2001:db8::7", "10.9.9.2", "10.9.9.3"]);
    let setup = Setup { peers, ..Setup::default() }.config(|config| {
        config.blocklist = Some(list(&["x:10.9.9.1-10.9.9.2", "2001:db8::/64"]));
        config.dial_rate_per_s = 1;
    });
    let world = setup.build();
    let dialled: Vec<String> = world.dials.iter().map(|(_, addr)| addr.to_string()).collect();
    assert_eq!(dialled, ["10.9.9.3:6881"], "with the one token that there is");
    assert_eq!(world.session.counters().blocked, 3);
    assert_eq!(world.status().known, 0);
    let why = world.status().last_dial_error.map(|error| error.to_string());
    assert_eq!(why.as_deref(), Some(BLOCKED), "a download that waits for them can say so");
}

#[test]
fn who_is_on_the_list_is_not_let_in_whatever_the_family_is_called() {
    let setup = Setup::seed().config(|config| config.blocklist = Some(list(&["203.0.113.0/24"])));
    let mut world = setup.build();
    for addr in ["203.0.113.9:1", "[::ffff:203.0.113.9]:1"] {
        assert!(world.knock(addr.parse().unwrap()).is_none(), "{addr}");
    }
    assert!(world.knock("203.0.114.9:1".parse().unwrap()).is_some());
    let counters = world.session.counters();
    assert_eq!((counters.blocked, counters.refused, counters.accepted), (2, 0, 1));
}

#[test]
fn a_new_list_closes_who_is_on_it_and_lets_the_others_have_their_chance() {
    let peers = peers(&["10.9.9.1"]);
    let setup = Setup { peers, ..Setup::default() };
    let mut world = setup.config(|config| config.blocklist = Some(list(&["10.9.9.1"]))).build();
    let (one, other) = (world.join(FAST), world.join(FAST));
    let stranger = world.accept();
    assert!(world.dials.is_empty());
    world.session.set_blocklist(Some(list(&["10.0.0.1", "10.0.0.3"])), world.now);
    world.settle();
    assert_eq!(world.closed_with(one).as_deref(), Some(BLOCKED));
    assert!(world.is_open(other) && !world.is_open(stranger));
    assert_eq!(world.dials.len(), 1, "the one that the old list had named");
    world.session.set_blocklist(None, world.now);
    world.settle();
    assert!(world.knock("10.0.0.1:1".parse().unwrap()).is_some());
}

#[test]
fn a_list_costs_an_idle_session_no_wake_up() {
    let peers = peers(&["10.9.9.1"]);
    let setup = Setup { peers, ..Setup::seed() };
    let world = setup.config(|config| config.blocklist = Some(list(&["0.0.0.0/0"]))).build();
    assert_eq!(world.session.poll_timeout(), None);
    assert!(World::seed().session.poll_timeout().is_none());
}
