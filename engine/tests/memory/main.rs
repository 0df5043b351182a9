//! The memory of the whole process under attack. A test of its own program, because others in it would be measured as well.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the lints see tests only in the test functions themselves, not in what these share"
)]

#[allow(dead_code, reason = "the other program of tests uses all of it")]
#[path = "../sandbox/bench.rs"]
mod bench;
#[path = "../sandbox/guest.rs"]
mod guest;
#[allow(dead_code, reason = "the other program of tests uses all of it")]
#[path = "../sandbox/wat_guest.rs"]
mod wat_guest;

use bench::Bench;

/// With what each ends.
const ATTACKS: [(&str, &str); 9] = [
    ("/allocate", "MemoryLimit"),
    ("/resources?100000", "TooManyResources"),
    ("/timers?100000", "TooManyResources"),
    ("/headers?100000", "HeadersTooLarge"),
    ("/body", "ResponseTooLarge"),
    ("/host-bytes", "Trap"),
    ("/recurse", "Trap"),
    ("/half-then-panic", "Trap"),
    ("/unfinished", "BadResponse"),
];

#[tokio::test]
async fn memory_is_back_where_it_was() {
    let bench = Bench::new().await;
    let attack = async || {
        for (path, code) in ATTACKS {
            assert_eq!(bench.attack(path).await.code(), code, "{path}");
        }
        // Not ended, but made to hold all that it may.
        bench.text("/buffers?300").await;
    };
    // Calls that compute for long go on on other threads, each of which has an allocator's arena of its own: until each has been through it.
    for _ in 0..5 {
        attack().await;
    }
    let before = resident_kib();
    for _ in 0..10 {
        attack().await;
    }
    let grown = resident_kib().saturating_sub(before);
    // A single instance left behind would be 64 MiB. What is below this is the allocator's own ebb and flow.
    assert!(grown < 16 << 10, "{grown} KiB more");
}

/// The memory of this process, in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
