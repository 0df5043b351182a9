//! Flows that stop and fail where a test wants it: the controller of a test's environment is built with its feature `fault-injection`.

mod case;

use std::{collections::BTreeSet, io::Write as _, path::PathBuf};

use annex_apis::Install;
use anyhow::Context as _;
use kube::ResourceExt as _;
use tokio::task::block_in_place;
use xtask::Part;

pub use self::case::{Case, NEW, OLD, each_case, publish_both, spec_of};
use crate::{World, until};

/// In this annotation an Install says what is to happen to its flow.
pub const FAULTS_ANNOTATION: &str = "faults.annex.sh/flow";

/// Where in a stage the controller dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It has not begun.
    Before,
    /// It has begun, and what it does is not done.
    In,
    /// What it does is done, and nothing says so yet.
    After,
    /// It has failed, and nothing says so yet.
    Failed,
    /// It has failed, and what it did is about to be undone.
    Undo,
}

/// What is to become of the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing fails.
    Finishes,
    /// The stage fails, and what was done is undone.
    RollsBack,
    /// The stage fails, and what was done stays.
    Stays,
}

/// One case: the controller dies at this moment of this stage, and the stage fails or does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its name in `status.flow.stages`.
    pub stage: String,
    /// When the controller dies.
    pub moment: Moment,
    /// What is to become of the flow.
    pub fate: Fate,
}

impl Fault {
    /// What an Install says in [`FAULTS_ANNOTATION`] so that this happens.
    #[must_use]
    pub fn annotation(&self) -> String {
        let hold = format!("{}:hold", self.point());
        if self.fate == Fate::Finishes { hold } else { format!("{hold},{}:In:fail", self.stage) }
    }

    /// Where the controller dies, by the name that it has there.
    #[must_use]
    pub fn point(&self) -> String {
        format!("{}:{:?}", self.stage, self.moment)
    }

    /// A case of each end that a flow can come to in this stage, and of each moment that matters for it.
    #[must_use]
    pub fn few(stage: &str) -> Vec<Self> {
        let fault = |(moment, fate)| Self { stage: stage.to_owned(), moment, fate };
        [
            (Moment::Before, Fate::Finishes),
            (Moment::In, Fate::Finishes),
            (Moment::After, Fate::Finishes),
            (Moment::In, Fate::RollsBack),
            (Moment::Undo, Fate::RollsBack),
            (Moment::In, Fate::Stays),
        ]
        .map(fault)
        .into()
    }

    /// Every case of these stages, which are all those of a flow. Of those that only take away what was there before there is one alone that
    /// a pass stops at, and a failure there undoes nothing.
    #[must_use]
    pub fn all(stages: &[String]) -> Vec<Self> {
        let fault = |stage: &String, moment, fate| Self { stage: stage.clone(), moment, fate };
        let mut all = Vec::new();
        for stage in stages {
            all.extend(
                [Moment::Before, Moment::In, Moment::After].map(|at| fault(stage, at, Fate::Finishes)),
            );
            all.extend([Moment::Before, Moment::In, Moment::Failed].map(|at| fault(stage, at, Fate::Stays)));
            all.extend(
                [Moment::Before, Moment::In, Moment::Failed].map(|at| fault(stage, at, Fate::RollsBack)),
            );
            if !is_check(stage) {
                all.push(fault(stage, Moment::Undo, Fate::RollsBack));
            }
            if stage == "Publish" {
                break;
            }
        }
        if let Some(first) = stages.iter().skip_while(|stage| *stage != "Publish").nth(1) {
            all.extend([Moment::In, Moment::After].map(|at| fault(first, at, Fate::Finishes)));
        }
        all
    }
}

/// Whether a stage only finds something out: where it fails there is nothing to undo.
#[must_use]
pub fn is_check(stage: &str) -> bool {
    ["Resolve", "Verify", "CheckDependencies", "CheckQuota"].contains(&stage)
}

/// A controller that meets faults. It gets its own settings back when this is dropped.
#[derive(Debug)]
pub struct Faults<'a> {
    world: &'a World,
    folder: tempfile::TempDir,
}

impl<'a> Faults<'a> {
    /// Starts the controller so that it meets them, and works at so many Installs at a time that none waits for one that is held.
    ///
    /// # Errors
    /// It does not start.
    pub fn begin(world: &'a World) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let args = ["--concurrency", "1000", "--concurrency-per-workspace", "100"];
        let path = folder.path().to_str().context("a path")?;
        world.stack.configure(Part::Controller, &args, &[("ANNEX_FAULTS_DIR", path)]);
        let faults = Self { world, folder };
        block_in_place(|| faults.world.stack.start(Part::Controller))?;
        Ok(faults)
    }

    /// Returns once each of these Installs, as it was changed last, is held at its point.
    ///
    /// # Errors
    /// Some are not; which, is said.
    pub async fn hold(&self, points: &[(Install, String)]) -> anyhow::Result<()> {
        let wanted: BTreeSet<PathBuf> =
            points.iter().map(|(install, point)| self.marker(install, point)).collect();
        let missing = || -> Vec<&PathBuf> { wanted.iter().filter(|path| !path.exists()).collect() };
        let all = until("all are held", || async { Ok(missing().is_empty().then_some(())) }).await;
        all.with_context(|| format!("not held: {:?}", missing()))
    }

    /// Returns once the Installs of all these cases, as they were changed last, are held.
    ///
    /// # Errors
    /// As [`Faults::hold`].
    pub async fn hold_all(&self, cases: &[Case], installs: Vec<Install>) -> anyhow::Result<()> {
        let points = installs.into_iter().zip(cases).map(|(install, case)| (install, case.fault.point()));
        self.hold(&points.collect::<Vec<_>>()).await
    }

    /// An Install that is held at this point goes on.
    ///
    /// # Errors
    /// It is not held there.
    pub fn let_go(&self, install: &Install, point: &str) -> anyhow::Result<()> {
        let mut marker = std::fs::OpenOptions::new().append(true).open(self.marker(install, point))?;
        Ok(marker.write_all(b"go on")?)
    }

    fn marker(&self, install: &Install, point: &str) -> PathBuf {
        let (uid, generation) =
            (install.uid().unwrap_or_default(), install.metadata.generation.unwrap_or_default());
        self.folder.path().join(format!("{uid}.{generation}.{}", point.replace('/', "+")))
    }

    /// The controller dies as it is, and another begins.
    ///
    /// # Errors
    /// That does not start.
    pub fn crash(&self) -> anyhow::Result<()> {
        block_in_place(|| {
            self.world.stack.kill(Part::Controller)?;
            self.world.stack.start(Part::Controller)
        })
    }
}

impl Drop for Faults<'_> {
    fn drop(&mut self) {
        self.world.stack.configure(Part::Controller, &[], &[]);
        let restarted = block_in_place(|| self.world.stack.start(Part::Controller));
        assert!(restarted.is_ok() || std::thread::panicking(), "{restarted:?}");
    }
}
