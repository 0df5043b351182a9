use std::path::PathBuf;

use anyhow::Context as _;
use kube_kcp::{Connection, ShardHost, trust_also};

/// How a service reaches kcp, as command line arguments.
#[derive(clap::Args, Clone, Debug)]
pub struct KcpArgs {
    /// A kubeconfig whose current context is the provider's workspace. It is read again when kcp refuses its credentials.
    #[arg(long, env = "KUBECONFIG")]
    pub kubeconfig: PathBuf,
    /// Where a shard of kcp is reached, if not at the host that kcp lists: LISTED=REACHED, or just REACHED for all of them.
    #[arg(
        long = "shard-host",
        env = "ANNEX_SHARD_HOSTS",
        value_name = "[LISTED=]REACHED",
        value_delimiter = ','
    )]
    pub shard_hosts: Vec<ShardHost>,
    /// The PEM certificates that shards are checked by, besides the kubeconfig's.
    #[arg(long, env = "ANNEX_SHARD_CA_FILE")]
    pub shard_ca_file: Option<PathBuf>,
}

impl KcpArgs {
    /// Prepares the connection; nothing is sent yet.
    ///
    /// # Errors
    /// A file cannot be read or used.
    pub async fn connection(&self) -> anyhow::Result<Connection> {
        let authorities = self.shard_ca_file.as_ref().map(|path| {
            let failed = || format!("--shard-ca-file {} cannot be used", path.display());
            let pem = std::fs::read(path).with_context(failed)?;
            // Tried here, so that what is no PEM is an error and not silently left out.
            trust_also(&mut kube::Config::new(http::Uri::default()), &pem).with_context(failed)?;
            anyhow::Ok(pem)
        });
        let authorities = authorities.transpose()?;
        let adapt = move |config: &mut kube::Config| {
            if let Some(pem) = &authorities
                && let Err(error) = trust_also(config, pem)
            {
                tracing::error!(%error, "--shard-ca-file");
            }
        };
        Connection::from_kubeconfig(&self.kubeconfig, adapt)
            .await
            .with_context(|| format!("--kubeconfig {} cannot be used", self.kubeconfig.display()))
    }
}
