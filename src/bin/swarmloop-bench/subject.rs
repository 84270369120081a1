//! What a process and the machine have used, as the system counts it (Linux; nothing elsewhere).

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// What a process, its threads and its children have used.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Usage {
    /// Processor time, kernel and user.
    pub(crate) cpu: Duration,
    /// Resident memory now, in bytes.
    pub(crate) rss: u64,
    /// The most it ever was, in bytes.
    pub(crate) peak_rss: u64,
    /// Resident memory that is no file's: heap and stacks, in bytes.
    pub(crate) anon: u64,
}

/// The deepest line of descent that is followed, and the most processes looked at: a client has a
/// handful.
const MAX_PROCESSES: usize = 64;

/// Looks at a process; `None` if there is none of this number.
pub(crate) fn usage(pid: u32) -> Option<Usage> {
    let mut usage = of_process(pid)?;
    let mut queue = children(pid);
    let mut seen = 1;
    while let Some(child) = queue.pop()
        && seen < MAX_PROCESSES
    {
        seen += 1;
        if let Some(of_child) = of_process(child) {
            usage.cpu += of_child.cpu;
            usage.rss += of_child.rss;
            usage.peak_rss += of_child.peak_rss;
            usage.anon += of_child.anon;
            queue.extend(children(child));
        }
    }
    Some(usage)
}

/// Tells whether a process is there and has not ended; one that nobody has waited for has.
pub(crate) fn is_alive(pid: u32) -> bool {
    stat_fields(pid).is_some_and(|fields| !matches!(fields[0].as_str(), "Z" | "X"))
}

/// Returns the processor time of everything on this machine.
pub(crate) fn machine_cpu() -> Option<Duration> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|n| n.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; the guests' are in `user`.
    let busy = [0, 1, 2, 5, 6].iter().map(|&at| ticks.get(at).copied().unwrap_or(0)).sum();
    Some(of_ticks(busy))
}

/// Returns the processor time of the calling thread alone.
pub(crate) fn thread_cpu() -> Option<Duration> {
    run_time(&PathBuf::from("/proc/thread-self/schedstat"))
}

fn of_process(pid: u32) -> Option<Usage> {
    let fields = stat_fields(pid)?;
    let ticks = |at: usize| fields.get(at).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    // Fields 14 to 17 of proc_pid_stat(5), counted from the state, which is field 3: the process
    // with its ended threads, then its ended children.
    let (own, waited) = (of_ticks(ticks(11) + ticks(12)), of_ticks(ticks(13) + ticks(14)));
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let bytes = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = value.and_then(|value| value.trim().strip_suffix("kB")?.trim().parse().ok());
        kib.unwrap_or(0u64) * 1024
    };
    Some(Usage {
        // The scheduler's figure is exact, but knows only of threads that run.
        cpu: own.max(of_threads(pid)) + waited,
        rss: bytes("VmRSS:"),
        peak_rss: bytes("VmHWM:"),
        anon: bytes("RssAnon:"),
    })
}

/// Returns the fields of `stat` that follow the name, which may hold anything.
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<_> = text.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect();
    (!fields.is_empty()).then_some(fields)
}

/// Returns the processor time of the threads that a process has now.
fn of_threads(pid: u32) -> Duration {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
    threads.flatten().filter_map(|thread| run_time(&thread.path().join("schedstat"))).sum()
}

/// Reads the first number of a `schedstat`: nanoseconds on a processor.
fn run_time(schedstat: &PathBuf) -> Option<Duration> {
    let text = fs::read_to_string(schedstat).ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists =
        threads.flatten().filter_map(|t| fs::read_to_string(t.path().join("children")).ok());
    lists
        .flat_map(|list| list.split(' ').filter_map(|n| n.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// Returns a time that is counted in hundredths of a second (`USER_HZ`, 100 on every Linux that
/// Rust runs on).
const fn of_ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks.saturating_mul(10))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_uses_time_and_memory() {
        let before = usage(std::process::id()).expect("ourselves");
        let mut sum = 0u64;
        while usage(std::process::id()).expect("ourselves").cpu == before.cpu {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(before.rss > 0 && before.peak_rss >= before.anon && before.anon > 0);
        assert!(thread_cpu().is_some_and(|cpu| !cpu.is_zero()));
        assert!(machine_cpu().is_some_and(|cpu| !cpu.is_zero()));
        assert!(is_alive(std::process::id()));
    }

    #[test]
    fn a_process_that_is_not_there_has_no_usage() {
        // Above the largest process number that Linux gives (2^22).
        assert_eq!(usage(u32::MAX), None);
        assert!(!is_alive(u32::MAX));
    }
}
