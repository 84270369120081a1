//! What processes and the machine have used, from `/proc`.

use std::fs;
use std::net::SocketAddrV4;
use std::time::Duration;

/// A tick of the times in `/proc`: `USER_HZ`, which is part of the kernel's interface on every
/// architecture that matters.
const TICK: Duration = Duration::from_millis(10);

/// The state of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// What a process has used so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Usage {
    /// Processor time of all its threads, and of the children that it has waited for.
    pub(super) cpu: Duration,
    /// The most resident memory in bytes that it ever had; 0 once it has ended.
    pub(super) peak_resident: u64,
}

/// Returns what a process has used, `None` if there is none of this number.
///
/// The kernel counts a process in whole ticks, threads that have ended included, and each living
/// thread in nanoseconds; neither is ever too much, so the larger of the two is nearer.
pub(super) fn of_process(pid: u32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks = Duration::from_millis(ticks(&stat)?.checked_mul(10)?);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    Some(Usage { cpu: ticks.max(of_threads(pid)), peak_resident: kib(&status, "VmHWM:") })
}

/// Returns how long all processors together have been at work since the machine started.
pub(super) fn of_machine() -> Duration {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    TICK * u32::try_from(busy_ticks(&stat)).unwrap_or(u32::MAX)
}

/// Tells whether something listens on this address, without connecting to it.
pub(super) fn listens(addr: SocketAddrV4) -> bool {
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    is_listening(&table, addr)
}

/// Returns the sum of user and system time and of those of the children that were waited for.
fn ticks(stat: &str) -> Option<u64> {
    // The name may hold spaces and brackets; the fields behind it are numbers. utime is field 14.
    let (_, fields) = stat.rsplit_once(')')?;
    let times = fields.split_whitespace().skip(11).take(4);
    Some(times.filter_map(|field| field.parse::<u64>().ok()).sum())
}

fn of_threads(pid: u32) -> Duration {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
    let run_time = |thread: fs::DirEntry| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(threads.filter_map(|thread| run_time(thread.ok()?)).sum())
}

/// Returns a line's number of KiB in bytes, 0 if it is not there.
fn kib(status: &str, key: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

/// Returns the ticks of the first line that are neither idle nor waiting for a disk; those of
/// guests are in user time already.
fn busy_ticks(stat: &str) -> u64 {
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let busy = fields.take(8).enumerate().filter(|(at, _)| !matches!(at, 3 | 4));
    busy.filter_map(|(_, field)| field.parse::<u64>().ok()).sum()
}

fn is_listening(table: &str, addr: SocketAddrV4) -> bool {
    // Addresses are in network order, printed as a number of the machine's.
    let local =
        |ip: u32| format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.to_be_bytes()), addr.port());
    let (own, any) = (local(u32::from(*addr.ip())), local(0));
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let at = fields.next().unwrap_or_default();
        (at == own || at == any) && fields.nth(1) == Some(LISTEN)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 100 20 3 4 15 16";
        assert_eq!(ticks(stat), Some(127));
        assert_eq!(ticks("7"), None);
    }

    #[test]
    fn waiting_is_not_work() {
        assert_eq!(busy_ticks("cpu  1 2 4 1000 1000 8 16 32 64 128\ncpu0 9 9 9 9\n"), 63);
        assert_eq!(busy_ticks(""), 0);
    }

    #[test]
    fn this_process_has_used_something() {
        let usage = of_process(std::process::id()).expect("it is there");
        assert!(usage.peak_resident > 0, "{usage:?}");
        assert!(of_machine() >= usage.cpu);
        assert_eq!(of_process(u32::MAX), None);
    }

    #[test]
    fn listeners_are_told_from_connections_and_from_others() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        let addr = socket.local_addr().expect("bound").to_string();
        let addr: SocketAddrV4 = addr.parse().expect("IPv4");
        assert!(listens(addr));
        drop(socket);
        assert!(!listens(addr));
        let head = "  sl  local_address rem_address   st\n";
        let connected = format!("{head}   1: 0100007F:1C21 0100007F:0001 01\n");
        let anywhere = format!("{head}   1: 00000000:1C21 00000000:0000 0A\n");
        let addr = "127.0.0.1:7201".parse().expect("an address");
        assert!(!is_listening(&connected, addr));
        assert!(is_listening(&anywhere, addr));
        assert!(!is_listening(&anywhere, "127.0.0.1:7200".parse().expect("an address")));
    }
}
