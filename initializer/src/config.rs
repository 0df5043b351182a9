use std::path::PathBuf;

use annex_apis::provider::EXPORT_NAME;
use kube_kcp::ClusterName;

/// The settings that decide what a seed holds, as command line arguments.
#[derive(clap::Args, Clone, Debug)]
pub struct SeedArgs {
    /// The kcp's base URL as tenants reach it (its front proxy), https, without a path.
    #[arg(long, env = "ANNEX_TENANT_SERVER")]
    pub tenant_server: String,
    /// The PEM certificates that tenants check that server by. Absent: the system's.
    #[arg(long, env = "ANNEX_TENANT_CA_FILE")]
    pub tenant_ca_file: Option<PathBuf>,
    /// The path of the workspace that holds the APIExport.
    #[arg(long, env = "ANNEX_EXPORT_PATH", default_value = "root:annex")]
    pub export_path: String,
}

/// The settings that decide what a seed holds.
#[derive(Clone, Debug)]
pub struct SeedConfig {
    /// The kcp's base URL as tenants reach it, without a slash at the end.
    pub tenant_server: String,
    /// PEM certificates for that server.
    pub tenant_ca: Option<String>,
    /// The path of the workspace that holds the APIExport.
    pub export_path: String,
    /// The APIExport's name.
    pub export_name: String,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SeedConfigError {
    /// Not a base URL.
    #[error(
        "--tenant-server must be an https URL without a path, such as https://kcp.example.com:6443, not {0:?}"
    )]
    Server(String),
    /// The CA file.
    #[error("--tenant-ca-file {path} cannot be read: {error}")]
    Ca {
        /// The file.
        path: PathBuf,
        /// What happened.
        error: std::io::Error,
    },
    /// Not PEM.
    #[error("--tenant-ca-file {0} holds no PEM certificate")]
    NotPem(PathBuf),
}

impl SeedArgs {
    /// Reads and checks what the arguments name.
    ///
    /// # Errors
    /// See [`SeedConfigError`].
    pub fn load(&self) -> Result<SeedConfig, SeedConfigError> {
        let server = self.tenant_server.trim_end_matches('/');
        let host = server.strip_prefix("https://").unwrap_or_default();
        if host.is_empty() || host.contains(['/', '?', '#', '@']) || host.contains(char::is_whitespace) {
            return Err(SeedConfigError::Server(self.tenant_server.clone()));
        }
        let tenant_ca = match &self.tenant_ca_file {
            None => None,
            Some(path) => {
                let pem = std::fs::read_to_string(path)
                    .map_err(|error| SeedConfigError::Ca { path: path.clone(), error })?;
                if !pem.contains("-----BEGIN CERTIFICATE-----") {
                    return Err(SeedConfigError::NotPem(path.clone()));
                }
                Some(pem)
            }
        };
        Ok(SeedConfig {
            tenant_server: server.to_owned(),
            tenant_ca,
            export_path: self.export_path.clone(),
            export_name: EXPORT_NAME.to_owned(),
        })
    }
}

impl SeedConfig {
    /// The API server of one workspace, as tenants reach it. By the cluster's name: a path can later lead to another
    /// workspace.
    #[must_use]
    pub fn workspace_url(&self, cluster: &ClusterName) -> String {
        format!("{}/clusters/{cluster}", self.tenant_server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(server: &str) -> Result<SeedConfig, SeedConfigError> {
        SeedArgs { tenant_server: server.into(), tenant_ca_file: None, export_path: "root:annex".into() }
            .load()
    }

    #[test]
    fn a_server_is_a_base_url() {
        for bad in ["", "http://a", "https://", "https://a/clusters/root", "https://u@a", "a:6443"] {
            assert!(matches!(load(bad), Err(SeedConfigError::Server(_))), "{bad}");
        }
        assert_eq!(load("https://a:6443/").unwrap().tenant_server, "https://a:6443");
    }
}
