use std::time::Duration;

use kube_kcp::LeaseOptions;

/// How the Lease is held that says which replica of a service leads, as command line arguments.
#[derive(clap::Args, Clone, Debug)]
pub struct LeaseArgs {
    /// The namespace, in the provider's workspace, of the Lease that says which replica leads.
    #[arg(long, env = "ANNEX_LEASE_NAMESPACE", default_value = "annex-system")]
    pub lease_namespace: String,
    /// Its name. Absent: the program's.
    #[arg(long, env = "ANNEX_LEASE_NAME")]
    pub lease_name: Option<String>,
    /// After how many seconds without a renewal another replica takes over. The one that leads stops writing after two thirds of that.
    #[arg(long, env = "ANNEX_LEASE_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(3..=300))]
    pub lease_seconds: u64,
    /// Who this replica is, for people: the name of its pod.
    #[arg(long, env = "POD_NAME", default_value_t = host_name())]
    pub identity: String,
}

impl LeaseArgs {
    /// The Lease's name, which is `program` unless another was given.
    #[must_use]
    pub fn name<'a>(&'a self, program: &'a str) -> &'a str {
        self.lease_name.as_deref().unwrap_or(program)
    }

    /// How it is held.
    #[must_use]
    pub fn options(&self) -> LeaseOptions {
        let duration = Duration::from_secs(self.lease_seconds);
        LeaseOptions {
            duration,
            renew_deadline: duration * 2 / 3,
            retry: duration * 2 / 15,
            ..LeaseOptions::new(self.identity.clone())
        }
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "unnamed".to_owned() } else { name.to_owned() }
}
