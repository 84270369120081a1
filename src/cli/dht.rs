//! The DHT of a run: whether there is one, with whom it begins, and what of it is kept for the
//! next.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use swarmloop::client::ClientConfig;
use swarmloop::dht::{DhtConfig, MAX_SAVED_LEN};
use swarmloop::reactor::egress::Egress;

use super::args::network::NetworkArgs;
use super::exit::Failure;
use super::input::{escaped_path, read_limited};
use super::new_file;
use super::state_dir;

/// Who is asked first by a node that knows nobody: those who made the DHT, and the authors of the
/// clients that most of it consists of.
const ROUTERS: [(&str, u16); 4] = [
    ("router.bittorrent.com", 6881),
    ("dht.transmissionbt.com", 6881),
    ("router.utorrent.com", 6881),
    ("dht.libtorrent.org", 25401),
];

/// Has a client take part in the DHT as the arguments say, all of whose traffic goes by `egress`.
pub(crate) fn configure(args: &NetworkArgs, egress: &Egress, config: &mut ClientConfig) {
    if args.no_dht {
        return;
    }
    let mut dht = DhtConfig::default();
    dht.bootstrap = bootstrap(args, egress);
    config.dht_saved = kept();
    config.dht = Some(dht);
}

/// Returns with whom to begin. From a loopback address nobody else is reached, so nobody else is
/// asked.
fn bootstrap(args: &NetworkArgs, egress: &Egress) -> Vec<(String, u16)> {
    if !args.dht_bootstrap.is_empty() || egress.is_loopback() {
        return args.dht_bootstrap.clone();
    }
    ROUTERS.map(|(host, port)| (host.to_owned(), port)).to_vec()
}

/// Returns what the last run has kept: nothing while another process uses it, because two nodes
/// must not be one.
fn kept() -> Vec<u8> {
    let read = || {
        let file = File::open(path()?).ok()?;
        file.try_lock().ok()?;
        let bytes = read_limited(&file, MAX_SAVED_LEN as u64).ok();
        // Locked for as long as this process lives.
        std::mem::forget(file);
        bytes
    };
    read().unwrap_or_default()
}

/// Keeps what the next run begins with.
pub(crate) fn keep(saved: &[u8]) -> Result<(), Failure> {
    let Some(path) = path().filter(|_| !saved.is_empty()) else { return Ok(()) };
    if let Some(folder) = path.parent() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| Failure::io(&format!("create '{}'", escaped_path(folder)), &error))?;
    }
    new_file::put(&path, saved, true)
}

fn path() -> Option<PathBuf> {
    Some(state_dir::state_dir()?.join("dht"))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn who_is_bound_to_this_machine_asks_nobody_outside() {
        let by = |addrs: &[IpAddr], interface| Egress::new(addrs, interface).expect("it is there");
        let args = NetworkArgs::default();
        let (everywhere, ipv4) = (by(&[], None), by(&[Ipv4Addr::UNSPECIFIED.into()], None));
        assert_eq!(bootstrap(&args, &everywhere).len(), ROUTERS.len());
        assert_eq!(bootstrap(&args, &ipv4).len(), ROUTERS.len());
        let v4 = by(&[[127, 0, 0, 3].into()], None);
        let v6 = by(&[Ipv6Addr::LOCALHOST.into()], None);
        let interface = if cfg!(target_os = "linux") { by(&[], Some("lo")) } else { v4.clone() };
        let local = [v4, v6, interface];
        assert!(local.iter().all(|egress| bootstrap(&args, egress).is_empty()));
        let named = vec![("127.0.0.9".to_owned(), 6881)];
        let args = NetworkArgs { dht_bootstrap: named.clone(), ..args };
        for egress in local.iter().chain([&everywhere]) {
            assert_eq!(bootstrap(&args, egress), named);
        }
    }

    #[test]
    fn without_the_dht_nothing_of_it_is_configured() {
        let mut config = ClientConfig::default();
        configure(
            &NetworkArgs { no_dht: true, ..NetworkArgs::default() },
            &Egress::any(),
            &mut config,
        );
        assert!(config.dht.is_none() && config.dht_saved.is_empty());
    }
}
