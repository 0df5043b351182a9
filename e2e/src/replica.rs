//! More processes of a service, and who of the controller's leads.

use std::process::{Child, Command, Stdio};

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use xtask::Part;

use crate::{World, until};

/// The options that name the controller's ports, the one for operations first.
pub const CONTROLLER_LISTENERS: [&str; 1] = ["--listen"];

/// A second process of a service. It ends with this value.
#[derive(Debug)]
pub struct Replica {
    process: Child,
    ports: Vec<u16>,
}

impl Replica {
    /// `listeners` are the options that name its ports, the one for operations first; `more` are further arguments.
    ///
    /// # Errors
    /// The part has no program here, or it cannot be started.
    pub fn start(world: &World, part: Part, listeners: &[&str], more: &[&str]) -> anyhow::Result<Self> {
        Self::start_with(world, part, listeners, more, &[])
    }

    /// Like [`Replica::start`], with variables in its environment.
    ///
    /// # Errors
    /// As there.
    pub fn start_with(
        world: &World,
        part: Part,
        listeners: &[&str],
        more: &[&str],
        variables: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let (mut args, mut ports) =
            (more.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>(), Vec::new());
        for listener in listeners {
            let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            args.extend([(*listener).to_owned(), format!("127.0.0.1:{port}")]);
            ports.push(port);
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut command = world.stack.command(part, &args)?;
        command.envs(variables.iter().copied()).stderr(Stdio::null());
        let process = command.spawn()?;
        Ok(Self { process, ports })
    }

    /// Whether it has not ended.
    ///
    /// # Errors
    /// The system does not say.
    pub fn runs(&mut self) -> anyhow::Result<bool> {
        Ok(self.process.try_wait()?.is_none())
    }

    /// The URL of the listener with this place in the list.
    ///
    /// # Panics
    /// There are not so many.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "a test names a listener that it has asked for, or fails")]
    pub fn url(&self, listener: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports[listener])
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    /// The system does not let it.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Sends a signal such as `STOP` to one process.
///
/// # Errors
/// There is no such process.
pub fn signal(pid: i32, name: &str) -> anyhow::Result<()> {
    let status = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status()?;
    anyhow::ensure!(status.success(), "kill -{name} {pid}: {status}");
    Ok(())
}

/// The Lease of the controllers.
///
/// # Errors
/// Nobody has led yet.
pub async fn lease(world: &World) -> anyhow::Result<Lease> {
    let leases: Api<Lease> = Api::namespaced(world.admin().await?.at("root:annex")?, "annex-system");
    Ok(leases.get("annex-controller").await?)
}

/// Who leads, as the Lease says. None: nobody.
///
/// # Errors
/// As [`lease`].
pub async fn leader(world: &World) -> anyhow::Result<Option<String>> {
    let holder = lease(world).await?.spec.and_then(|spec| spec.holder_identity);
    Ok(holder.filter(|holder| !holder.is_empty()))
}

/// Who leads once `before` does not any more.
///
/// # Errors
/// Nobody else does within [`PATIENCE`](crate::PATIENCE).
pub async fn another_leads(world: &World, before: &str) -> anyhow::Result<String> {
    until("another leads", || async { Ok(leader(world).await?.filter(|leader| leader != before)) }).await
}

/// Returns once the replica with this URL of its operations says so of itself.
///
/// # Errors
/// It does not within [`PATIENCE`](crate::PATIENCE).
pub async fn says(world: &World, operations: &str, what: &str) -> anyhow::Result<()> {
    let runner = world.runner()?;
    until(&format!("{operations} says: {what}"), || async {
        let text = runner.text(&format!("{operations}/readyz")).await.unwrap_or_default();
        Ok(text.contains(what).then_some(()))
    })
    .await
}
