//! What a later check needs is built while an earlier one mostly waits for servers: two cores are idle then, and the programs for images take as
//! long as all end-to-end tests.

use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};

use crate::binaries;
use crate::checkout::Checkout;
use crate::compute::runner_image::PROGRAMS;
use crate::interrupt::end_group;
use crate::progress::note;

/// A build that is under way. It ends with this value, whatever it has built until then being kept.
pub(crate) struct Ahead(Option<Child>);

impl Ahead {
    /// Begins to build the programs that are in images, and leaves the processor to whoever else needs it.
    pub(crate) fn images(checkout: &Checkout) -> Result<Self> {
        binaries::add_static_target(checkout)?;
        let build = binaries::static_build(checkout, &PROGRAMS, false);
        // A session is a group to the scheduler, and niceness counts within one: the group has to be nice as well.
        const LAST: &str = "echo 19 > /proc/self/autogroup 2>/dev/null; exec nice -n 19 \"$@\"";
        let mut command = Command::new("setsid");
        command.args(["sh", "-c", LAST, "sh"]).arg(build.get_program()).args(build.get_args());
        command.envs(build.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(checkout.root()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Its words would be among those of the tests. If it fails, the check that needs it says why.
        let child = command.spawn().context("cannot run setsid")?;
        note("the programs for images are built meanwhile");
        Ok(Self(Some(child)))
    }

    /// Waits until it has ended, in whatever way: whoever needs what it builds builds it again, and finds out.
    pub(crate) fn wait(mut self) {
        drop(self.0.take().map(|mut child| child.wait()));
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            end_group(child);
        }
    }
}
