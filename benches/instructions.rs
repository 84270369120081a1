//! Counts the instructions of every scenario under callgrind and compares the counts with
//! `benches/instructions.tsv`: `cargo bench --bench instructions [-- [--bless] [PART OF A NAME]]`.
//!
//! A count does not depend on what else the machine does, so this can be a gate where times cannot:
//! a count that is more than 3 % above the one on file is a failure. `--bless` files the counts of
//! now. Only what happens between two calls of [`count_this`] is counted, not the set-up.
//!
//! Counts are of one compiler: with another one they are printed and not judged. Valgrind's
//! processor has neither SHA-NI nor AVX-512, and the C library is told to do without AVX, so that
//! all machines count the same. Without valgrind nothing is counted, and that is no failure.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a report on the terminal")]

mod scenarios;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, hint, thread};

use scenarios::Scenario;

/// By how much a count may be above the one on file, in per cent: what moving a function in the
/// binary or another version of the C library makes of it.
const MAX_RISE: f64 = 3.0;
/// Calls before the ones that are counted, so that tables have grown.
const WARM_UP_CALLS: u32 = 2;
/// Calls that are counted.
const CALLS: u32 = 4;
/// Sizes that callgrind is too slow for, or that tell nothing beside the one between them.
const LEFT_OUT: [&str; 2] = ["picker/1k: ", "picker/1M: "];

fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let mut args: Vec<_> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [flag, name] = &args[..]
        && flag == "--count"
    {
        run(name);
        return ExitCode::SUCCESS;
    }
    let is_blessed = args.iter().any(|arg| arg == "--bless");
    args.retain(|arg| arg != "--bless");
    if let Err(reason) = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status() {
        println!("instructions are not counted: valgrind does not start ({reason})");
        return ExitCode::SUCCESS;
    }
    let names: Vec<_> = all().into_iter().map(|(name, _)| name).collect();
    let chosen: Vec<_> = names
        .iter()
        .filter(|name| args.is_empty() || args.iter().any(|part| name.contains(part)))
        .collect();
    let counts = count_all(&chosen);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.tsv");
    let mut filed = Filed::read(&file);
    let now = compiler();
    if is_blessed {
        if filed.compiler != now {
            filed = Filed { compiler: now, counts: BTreeMap::new() };
        }
        filed.counts.extend(counts);
        filed.counts.retain(|name, _| names.contains(name));
        fs::write(&file, filed.to_text()).expect("the counts are written");
        println!("{} counts are on file", filed.counts.len());
        return ExitCode::SUCCESS;
    }
    let is_judged = filed.compiler == now;
    let rises = report(&filed, &counts);
    let stale: Vec<_> = filed.counts.keys().filter(|name| !names.contains(name)).collect();
    for name in &stale {
        println!("{name}: on file, but no scenario any more");
    }
    if !is_judged {
        println!("not judged: on file is {}, this is {now}; see --bless", filed.compiler);
        ExitCode::SUCCESS
    } else if rises == 0 && stale.is_empty() {
        println!("{} counts are within {MAX_RISE} % of those on file", counts.len());
        ExitCode::SUCCESS
    } else {
        println!(
            "{rises} counts rose; if that is meant: cargo bench --bench instructions -- --bless"
        );
        ExitCode::FAILURE
    }
}

/// All scenarios with their full names.
fn all() -> Vec<(String, Scenario)> {
    let groups = [
        ("bencode", scenarios::bencode::all()),
        ("choker", scenarios::choker::all()),
        ("frames", scenarios::frames::all()),
        ("picker", scenarios::picker::all()),
        ("wheel", scenarios::wheel::all()),
        ("wire", scenarios::wire::all()),
    ];
    let mut all = Vec::new();
    for (group, scenarios) in groups {
        all.extend(scenarios.into_iter().map(|it| (format!("{group}/{}", it.name), it)));
    }
    all.retain(|(name, _)| !LEFT_OUT.iter().any(|prefix| name.starts_with(prefix)));
    all
}

/// In the process that callgrind looks at: sets up one scenario and calls it.
fn run(name: &str) {
    let (_, scenario) = all().into_iter().find(|(own, _)| own == name).expect("a scenario's name");
    let mut call = (scenario.start)();
    (0..WARM_UP_CALLS).for_each(|_| call());
    count_this(&mut *call);
}

/// What callgrind counts, by this function's name.
#[inline(never)]
fn count_this(call: &mut dyn FnMut()) {
    for _ in 0..CALLS {
        hint::black_box(&mut *call)();
    }
}

/// Counts the scenarios in as many processes at a time as there are processors.
fn count_all(names: &[&String]) -> BTreeMap<String, f64> {
    let batches: BTreeMap<String, u64> =
        all().into_iter().map(|(name, it)| (name, it.batch)).collect();
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut counts = Vec::new();
        while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            let operations = u64::from(CALLS) * batches[*name];
            let out = Path::new(env!("CARGO_TARGET_TMPDIR"))
                .join(format!("callgrind-{:?}", thread::current().id()));
            counts.push(((*name).clone(), per(count(name, &out), operations)));
        }
        counts
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| worker.join().expect("no panic");
        workers.into_iter().flat_map(join).collect()
    })
}

/// Instructions an operation, to a tenth.
fn per(instructions: u64, operations: u64) -> f64 {
    let tenths = instructions * 10 / operations;
    // As exact as can be: the largest counts are some millions.
    f64::from(u32::try_from(tenths).expect("a scenario takes less than 400 million")) / 10.0
}

/// Counts one scenario in a process of its own, whose profile goes to `out`.
fn count(name: &str, out: &PathBuf) -> u64 {
    let own = env::current_exe().expect("a running program has a path");
    let done = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--collect-atstart=no"])
        .arg("--toggle-collect=*count_this*")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(own)
        .args(["--count", name])
        // Spelled as before and since glibc 2.33; a name that is not known is passed over.
        .env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX2_Usable,-AVX2,-ERMS,-FSRM")
        .output()
        .expect("valgrind starts");
    assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
    let profile = fs::read_to_string(out).expect("callgrind writes a profile");
    let totals = profile.lines().find_map(|line| line.strip_prefix("totals: "));
    let instructions = totals.and_then(|count| count.trim().parse().ok()).expect("a count");
    assert!(instructions > 0, "{name}: nothing was counted");
    fs::remove_file(out).expect("the profile is ours");
    instructions
}

/// Prints a table of the counts and returns how many are too high, or not on file.
fn report(filed: &Filed, counts: &BTreeMap<String, f64>) -> usize {
    let width = counts.keys().map(String::len).max().unwrap_or(0);
    println!("{:width$} {:>12} {:>12} {:>8}", "instructions an operation", "on file", "now", "");
    let mut rises = 0;
    for (name, now) in counts {
        let before = filed.counts.get(name);
        let change = before.map_or(f64::INFINITY, |before| (now / before - 1.0) * 100.0);
        let is_rise = change > MAX_RISE;
        rises += usize::from(is_rise);
        let before = before.map_or("-".to_owned(), |before| format!("{before:.1}"));
        let mark = match () {
            () if is_rise => "  ROSE",
            () if change < -MAX_RISE => "  fell: bless it, to keep the gain",
            () => "",
        };
        println!("{name:width$} {before:>12} {now:>12.1} {change:>+7.1} %{mark}");
    }
    rises
}

/// The counts on file and the compiler that they are of.
struct Filed {
    compiler: String,
    counts: BTreeMap<String, f64>,
}

const COMPILER_LINE: &str = "# compiler: ";

impl Filed {
    /// Reads the file; nothing is on file if there is none.
    fn read(file: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap_or_default();
        let compiler = text.lines().find_map(|line| line.strip_prefix(COMPILER_LINE));
        let counts = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (name, count) = line.split_once('\t')?;
            Some((name.to_owned(), count.parse().ok()?))
        });
        Self { compiler: compiler.unwrap_or_default().to_owned(), counts: counts.collect() }
    }

    fn to_text(&self) -> String {
        let mut text = format!(
            "# Instructions an operation, by callgrind: cargo bench --bench instructions\n\
             {COMPILER_LINE}{}\n",
            self.compiler
        );
        for (name, count) in &self.counts {
            writeln!(text, "{name}\t{count:.1}").expect("writing to a string does not fail");
        }
        text
    }
}

/// The compiler's version and what it compiles for.
fn compiler() -> String {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("-vV").output().expect("the compiler says its version");
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let field = |name| version.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    format!("rustc {} for {}", field("release: "), field("host: "))
}
