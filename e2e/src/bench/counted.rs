use std::{collections::BTreeMap, time::Duration};

use annex_e2e::World;
use anyhow::Context as _;
use xtask::Part;

const WRITES: &str = "annex_controller_api_writes_total";
const CALLS: &str = "annex_runner_calls_total";

/// The controller's writes, tries that failed included, and the calls that a runner was asked for, as their own metrics count them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counted(BTreeMap<String, f64>);

impl Counted {
    async fn read(world: &World) -> anyhow::Result<Self> {
        let mut counted = BTreeMap::new();
        for (part, name) in [(Part::Controller, WRITES), (Part::Runner, CALLS)] {
            let text = world.runner()?.text(&format!("{}/metrics", world.stack.ops_url(part))).await?;
            for line in text.lines().filter(|line| line.starts_with(name)) {
                let (series, value) = line.rsplit_once(' ').context("a value")?;
                counted.insert(series.to_owned(), value.parse()?);
            }
        }
        Ok(Self(counted))
    }

    /// As it is once nothing was counted for a while: what belongs to something else must not be counted with what is measured, and what
    /// belongs to that must not be missed.
    pub(crate) async fn settled(world: &World) -> anyhow::Result<Self> {
        let mut last = Self::read(world).await?;
        let mut quiet = 0;
        let mut ticks = tokio::time::interval(Duration::from_millis(500));
        while quiet < 4 {
            ticks.tick().await;
            let now = Self::read(world).await?;
            quiet = if now == last { quiet + 1 } else { 0 };
            last = now;
        }
        Ok(last)
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
        let grown = self.0.iter().map(|(series, value)| {
            (series.clone(), value - before.0.get(series).copied().unwrap_or_default())
        });
        Self(grown.filter(|(_, value)| *value != 0.0).collect())
    }

    /// What the controller wrote.
    pub(crate) fn writes(&self) -> f64 {
        self.of(WRITES)
    }

    /// Of these, statuses of Installs.
    pub(crate) fn statuses(&self) -> f64 {
        self.of("what=\"InstallStatus\"")
    }

    pub(crate) fn calls(&self) -> f64 {
        self.of(CALLS)
    }

    fn of(&self, part: &str) -> f64 {
        self.0.iter().filter(|(series, _)| series.contains(part)).map(|(_, value)| value).sum()
    }

    /// Each series, for people.
    pub(crate) fn series(&self) -> String {
        self.0.iter().map(|(series, value)| format!("\n  {series} {value}")).collect()
    }
}

/// The controller's resident memory, as the kernel counts it.
pub(crate) fn resident_mib(world: &World) -> anyhow::Result<f64> {
    let pid = world.stack.pid(Part::Controller)?.context("the controller does not run")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024.0)
}
