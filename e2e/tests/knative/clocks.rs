//! Clocks that are wrong and jump. Who leads is decided by how long a Lease stayed the same on one's own monotonic clock, and by no time
//! that anybody has written into it.

use std::{fs, path::Path};

use annex_e2e::{
    World,
    replica::{CONTROLLER_LISTENERS, Replica, another_leads, leader, lease, says},
    until,
};
use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::task::block_in_place;
use xtask::Part;

use crate::environment::{alone, namespace};

/// What shifts the wall clock of the process that it is loaded into, by what a file says, and leaves the monotonic one alone.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// The wall clock of one process.
struct Clock(tempfile::TempDir);

impl Clock {
    fn at(shift: &str) -> anyhow::Result<Self> {
        anyhow::ensure!(Path::new(LIBRARY).is_file(), "the package faketime is not installed: {LIBRARY}");
        let clock = Self(tempfile::tempdir()?);
        clock.jump(shift)?;
        Ok(clock)
    }

    fn jump(&self, shift: &str) -> anyhow::Result<()> {
        // Renamed, so that nobody reads half of it.
        let (new, file) = (self.0.path().join("new"), self.0.path().join("shift"));
        fs::write(&new, shift)?;
        Ok(fs::rename(&new, &file)?)
    }

    fn controller(&self, world: &World) -> anyhow::Result<Replica> {
        let file = self.0.path().join("shift");
        let variables = [
            ("LD_PRELOAD", LIBRARY),
            ("FAKETIME_TIMESTAMP_FILE", file.to_str().context("a path in Unicode")?),
            ("FAKETIME_CACHE_DURATION", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ];
        Replica::start_with(world, Part::Controller, &CONTROLLER_LISTENERS, &[], &variables)
    }
}

/// When the holder has renewed last, by its own clock.
async fn renewed(world: &World) -> anyhow::Result<Timestamp> {
    let spec = lease(world).await?.spec.context("a spec")?;
    Ok(spec.renew_time.context("renewed")?.0)
}

/// How far from now that is.
async fn renewal(world: &World) -> anyhow::Result<SignedDuration> {
    Ok(renewed(world).await?.duration_since(Timestamp::now()))
}

async fn transitions(world: &World) -> anyhow::Result<Option<i32>> {
    Ok(lease(world).await?.spec.and_then(|spec| spec.lease_transitions))
}

/// The holder, whose clock goes on as it is, renews for twice as long as anybody waits who takes it for dead.
async fn renewals(world: &World) -> anyhow::Result<()> {
    let patience =
        lease(world).await?.spec.and_then(|spec| spec.lease_duration_seconds).context("a duration")?;
    let last = renewed(world).await? + SignedDuration::from_secs(2 * i64::from(patience));
    until("it goes on renewing", || async { Ok((renewed(world).await? > last).then_some(())) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_are_wrong_and_jump_make_nobody_lead_and_hold_nobody_up() -> anyhow::Result<()> {
    let hour = SignedDuration::from_hours(1);
    let (world, cluster, _turn) = alone().await?;
    let workspace = world.user("alice").await?.tenant("kn-clocks").await?;
    let first = until("somebody leads", || leader(world)).await?;
    let before = transitions(world).await?;

    // To a clock that is two hours ahead, whoever leads has not renewed for two hours.
    let clock = Clock::at("+2h")?;
    let ahead = clock.controller(world)?;
    says(world, &ahead.url(0), &format!("stands by; {first} leads")).await?;
    renewals(world).await?;
    assert_eq!((leader(world).await?, transitions(world).await?), (Some(first.clone()), before));

    // It leads, and what it writes comes two hours too early.
    block_in_place(|| world.stack.stop(Part::Controller))?;
    let second = another_leads(world, &first).await?;
    until("it renews by its own clock", || async { Ok((renewal(world).await? > hour).then_some(())) })
        .await?;
    let at_work = transitions(world).await?;
    block_in_place(|| world.stack.start(Part::Controller))?;
    says(world, &world.stack.ops_url(Part::Controller), &format!("stands by; {second} leads")).await?;

    // Two hours back, and ahead again, while it works.
    workspace.install("hello", "com.example.hello", json!({})).await?;
    clock.jump("+0")?;
    until("its clock went back", || async { Ok((renewal(world).await? < hour).then_some(())) }).await?;
    workspace.installed("hello").await?;
    clock.jump("+2h")?;
    until("its clock went ahead", || async { Ok((renewal(world).await? > hour).then_some(())) }).await?;
    renewals(world).await?;
    assert_eq!((leader(world).await?, transitions(world).await?), (Some(second.clone()), at_work));

    // It dies. What it has written last is two hours from now, and is not waited for.
    drop(ahead);
    another_leads(world, &second).await?;
    workspace.installs().delete("hello", &Default::default()).await?;
    cluster.gone(annex_e2e::Kind::Namespace, "", &namespace(&workspace)).await
}
