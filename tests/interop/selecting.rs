//! Some files of what others seed, and what others make of some files.

use std::fs;
use std::path::Path;

use crate::{
    clients::{Client, Role, Running, payload::Payload},
    site::Site,
};

/// The second and the fourth file of [`Payload::Multi`]: both share their first and last pieces
/// with files that are not wanted.
const WANTED: [usize; 2] = [1, 3];

#[test]
fn get_fetches_two_of_several_files_from_libtorrent_then_the_rest() {
    two_then_the_rest(Client::Libtorrent);
}

#[test]
fn get_fetches_two_of_several_files_from_transmission_then_the_rest() {
    two_then_the_rest(Client::Transmission);
}

fn two_then_the_rest(seeder: Client) {
    let clients = [seeder, Client::Swarmloop];
    let Some(mut site) = Site::open(Payload::Multi, None, &clients) else { return };
    let seed = site.seed(seeder, Role::Seed, &[]);
    let into = site.scratch("some files");
    get(&site, &into, &seed, &["-s", "2,4"]);
    assert_eq!(Payload::Multi.compare_some(&into, &WANTED), Ok(()));
    let hidden = format!(".{}.parts", Payload::Multi.name());
    let mut names: Vec<String> = fs::read_dir(&into)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, [hidden, Payload::Multi.name().to_owned()]);

    get(&site, &into, &seed, &[]);
    assert_eq!(Payload::Multi.compare(&into, true), Ok(()));
    assert_eq!(fs::read_dir(&into).unwrap().count(), 1, "the parts file is gone");
}

/// Runs `get` with the seed's address to its good end.
fn get(site: &Site, into: &Path, seed: &Running, args: &[&str]) {
    let seed = seed.address().to_string();
    let args = [&["--no-trackers", "--peer", &seed, "--timeout", "60s"], args].concat();
    let output = site.get(site.torrent(), into, &args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
