//! What a runner does with a bundle at every load: hash, verify, unpack. Beside `zstd -d` and `sha256sum` of the same bytes, one after the
//! other, which do no less work and check nothing. And how many lookups a core answers from an index of many installs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::figures::{percentile, rounded};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The program of bundle/examples/bundle-throughput.rs
    #[arg(long)]
    throughput: PathBuf,
    /// The program of registry/examples/lookups.rs
    #[arg(long)]
    lookups: PathBuf,
    /// What the bundle unpacks to, in MiB; the default packs to almost the 200 MiB that a bundle may have
    #[arg(long, default_value_t = 350)]
    mib: u64,
    /// How often each side does it, by turns
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// Measures; the last line of the output is JSON.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let throughput = |what: &str| {
        let mut command = Command::new(&arguments.throughput);
        command.arg(what).arg(folder);
        command
    };
    println!("packing {} MiB …", arguments.mib);
    output(throughput("make").arg(arguments.mib.to_string()))?;
    let archive = folder.join("bundle.tar.zst");
    let size = fs::metadata(&archive)?.len();
    let (mut ours, mut theirs, mut peak) = (Vec::new(), Vec::new(), 0);
    // The first round is not counted: it brings the archive into the page cache, for both.
    for round in 0..=arguments.rounds {
        let (verified, said) = timed(&mut throughput("verify"))?;
        peak = peak.max(peak_kib(&said).context("throughput does not say how much memory it took")?);
        // Each writes into new files.
        fs::remove_dir_all(folder.join("unpacked"))?;
        let taken = peer(&archive, &folder.join("bundle.tar"))?;
        println!("verify and unpack {verified:.2?}, zstd -d and sha256sum {taken:.2?}");
        if round > 0 {
            ours.push(verified);
            theirs.push(taken);
        }
    }
    let (ours, theirs) = (percentile(&ours, 0.5), percentile(&theirs, 0.5));
    let lookups: Value = serde_json::from_str(&output(&mut Command::new(&arguments.lookups))?)?;
    println!(
        "{}",
        json!({
            "bench": "bundle",
            "throughput_ratio": rounded(theirs.as_secs_f64() / ours.as_secs_f64()),
            "peak_rss_mib": rounded(mib(peak * 1024)),
            "archive_mib": rounded(mib(size)),
            "unpacked_mib": arguments.mib,
            "verify_s": rounded(ours.as_secs_f64()),
            "zstd_and_sha256sum_s": rounded(theirs.as_secs_f64()),
            "installs": lookups.get("installs"),
            "lookups_per_s_per_core": lookups.get("lookups_per_second_per_core"),
            "lookup_p50_ns": lookups.get("p50_ns"),
            "lookup_p99_ns": lookups.get("p99_ns"),
        })
    );
    Ok(())
}

/// How long `zstd -d` and then `sha256sum` of what came of it take.
fn peer(archive: &Path, tar: &Path) -> Result<Duration> {
    let (unpacked, _) = timed(Command::new("zstd").args(["-d", "-f", "-q"]).arg(archive).arg("-o").arg(tar))?;
    let (hashed, _) = timed(Command::new("sha256sum").arg(tar))?;
    fs::remove_file(tar)?;
    Ok(unpacked + hashed)
}

fn timed(command: &mut Command) -> Result<(Duration, String)> {
    let started = Instant::now();
    let said = output(command)?;
    Ok((started.elapsed(), said))
}

fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot run {program}; is it installed?"))?;
    if !output.status.success() {
        bail!("{program} ended with {}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn peak_kib(said: &str) -> Option<u64> {
    said.lines().find_map(|line| line.strip_prefix("peak ")?.strip_suffix(" KiB")?.parse().ok())
}

#[expect(clippy::cast_precision_loss, reason = "a figure")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_throughput_says() {
        assert_eq!(peak_kib("sha256:00\npeak 20480 KiB\n"), Some(20480));
        assert_eq!(peak_kib("sha256:00\n"), None);
    }
}
