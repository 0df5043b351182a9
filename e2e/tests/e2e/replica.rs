//! A second process of a service.

use std::process::{Child, Command, Stdio};

use annex_e2e::World;
use xtask::Part;

/// It ends with this value.
pub(crate) struct Replica {
    process: Child,
    ports: Vec<u16>,
}

impl Replica {
    /// `listeners` are the options that name its ports, the one for operations first; `more` are further arguments.
    pub(crate) fn start(
        world: &World,
        part: Part,
        listeners: &[&str],
        more: &[&str],
    ) -> anyhow::Result<Self> {
        let (mut args, mut ports) =
            (more.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>(), Vec::new());
        for listener in listeners {
            let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            args.extend([(*listener).to_owned(), format!("127.0.0.1:{port}")]);
            ports.push(port);
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let process = world.stack.command(part, &args)?.stderr(Stdio::null()).spawn()?;
        Ok(Self { process, ports })
    }

    pub(crate) fn runs(&mut self) -> anyhow::Result<bool> {
        Ok(self.process.try_wait()?.is_none())
    }

    /// The URL of the listener with this place in the list.
    pub(crate) fn url(&self, listener: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports[listener])
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
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
pub(crate) fn signal(pid: i32, name: &str) -> anyhow::Result<()> {
    let status = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status()?;
    anyhow::ensure!(status.success(), "kill -{name} {pid}: {status}");
    Ok(())
}
