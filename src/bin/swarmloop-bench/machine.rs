//! On what a measurement was made, and by which command: no host name, no absolute path.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

/// Returns processor, cores, memory and kernel; what the system does not tell is null.
pub(crate) fn facts() -> Value {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    json!({
        "cpu": cpu_model(),
        "cores": cores,
        "memory_bytes": memory(),
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
        "kernel": first_line("/proc/sys/kernel/osrelease"),
        "tcp_congestion_control": first_line("/proc/sys/net/ipv4/tcp_congestion_control"),
    })
}

/// Returns the command line of this process, paths as file names.
pub(crate) fn command() -> String {
    shown(std::env::args_os())
}

/// Returns a command line with paths as file names.
pub(crate) fn shown(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    let args = args.into_iter().map(|arg| relative(&arg.as_ref().to_string_lossy()));
    args.collect::<Vec<_>>().join(" ")
}

/// Shortens an argument that is an absolute path, or a flag with one for its value, to its last
/// component.
fn relative(arg: &str) -> String {
    let (flag, value) = match arg.split_once('=') {
        Some((flag, value)) if flag.starts_with("--") => (Some(flag), value),
        _ => (None, arg),
    };
    let path = Path::new(value);
    let shown = match path.file_name() {
        Some(name) if path.is_absolute() => name.to_string_lossy().into_owned(),
        _ => value.to_owned(),
    };
    flag.map_or(shown.clone(), |flag| format!("{flag}={shown}"))
}

fn cpu_model() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn first_line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.lines().next()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_name_no_absolute_path() {
        for (arg, shown) in [
            ("/usr/bin/swarmloop-bench", "swarmloop-bench"),
            ("--out=/tmp/results", "--out=results"),
            ("data/x.torrent", "data/x.torrent"),
            ("--json", "--json"),
            ("-c", "-c"),
            ("a=/b", "a=/b"),
            ("/", "/"),
        ] {
            assert_eq!(relative(arg), shown);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_machine_is_described_without_its_name() {
        let facts = facts();
        assert!(facts["cores"].as_u64().is_some_and(|cores| cores > 0));
        assert!(facts["kernel"].as_str().is_some_and(|kernel| !kernel.is_empty()));
        assert!(facts["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 0));
        assert!(facts.get("host").is_none());
    }
}
