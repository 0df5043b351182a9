//! What has to be on the machine before anything is built or started.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::checkout::Checkout;
use crate::compute::machine;
use crate::settings::Settings;
use crate::tools::{Tool, Tools};

/// The oldest Go that builds the pinned modules.
const GO: (u32, u32) = (1, 25);

struct Missing {
    what: String,
    how: String,
}

/// Names everything that is missing at once: a list is mended in one go, a first error again and again.
pub(crate) fn check(checkout: &Checkout, settings: &Settings) -> Result<()> {
    let mut missing = Vec::new();
    let mut tools = Tools::missing(checkout, settings)?;
    tools.retain(|tool| *tool != Tool::Envoy);
    if !tools.is_empty() {
        let names = tools.iter().map(|tool| tool.name()).collect::<Vec<_>>().join(" and ");
        missing.extend(go(&names));
    }
    if settings.runs_cluster()
        && let Some(needs) = machine::objection()
    {
        missing.push(Missing {
            what: format!("a compute cluster of one's own needs {needs}"),
            how: "use any cluster that has Knative Serving with --compute-kubeconfig FILE, or none with --compute direct"
                .to_owned(),
        });
    }
    if settings.tls && !runs("curl") {
        missing.push(Missing {
            what: "curl is not installed, which shows that domains answer over TLS".to_owned(),
            how: "install it with your system's packages, or leave out --tls (--tls=false, where it is recorded)".to_owned(),
        });
    }
    if let Some(file) = settings.compute_kubeconfig.as_deref().filter(|file| !file.is_file()) {
        missing.push(Missing {
            what: format!("--compute-kubeconfig names {}, which does not exist", file.display()),
            how: "correct the path".to_owned(),
        });
    }
    if let (None, Some(kcp)) = (&settings.kcp_kubeconfig, &settings.kcp_bin)
        && !is_program(kcp)
    {
        missing.push(Missing {
            what: format!("KCP_BIN names {}, which is not a program", kcp.display()),
            how: "correct KCP_BIN, or unset it and let kcp be built".to_owned(),
        });
    }
    if let Some(file) = settings.kcp_kubeconfig.as_deref().filter(|file| !file.is_file()) {
        missing.push(Missing {
            what: format!("--kcp-kubeconfig names {}, which does not exist", file.display()),
            how: "correct the path, or leave it out and let kcp be started here".to_owned(),
        });
    }
    for folder in ["manifests/provider", "manifests/samples"] {
        if !checkout.join(folder).read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
            missing.push(Missing {
                what: format!("{folder} is empty"),
                how: "`git checkout manifests`, then `cargo xtask generate`".to_owned(),
            });
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let mut list = String::new();
    for (number, Missing { what, how }) in (1..).zip(&missing) {
        // Writing to a string cannot fail.
        let _ = write!(list, "\n  {number}. {what}\n     {how}");
    }
    bail!("before this can work:{list}")
}

fn go(tools: &str) -> Option<Missing> {
    let how = format!(
        "install it as https://go.dev/doc/install says (or with your system's packages), and have `go` in PATH; it \
         builds {tools} once, into a cache. KCP_BIN=path uses a kcp that you have"
    );
    let wanted = format!("Go {}.{} or newer", GO.0, GO.1);
    let output = Command::new("go").args(["env", "GOVERSION"]).output();
    let version = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    let Some(version) = version.and_then(|version| String::from_utf8(version).ok()) else {
        return Some(Missing { what: format!("{wanted} is not installed"), how });
    };
    match parse_go(version.trim()) {
        Some(found) if found < GO => {
            Some(Missing { what: format!("{wanted} is needed, and this is {}", version.trim()), how })
        }
        // A version of another form is a development build: newer, most likely.
        _ => None,
    }
}

/// `go1.26.8` → (1, 26).
fn parse_go(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.strip_prefix("go")?.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn runs(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions_of_go() {
        assert_eq!(parse_go("go1.26.8"), Some((1, 26)));
        assert_eq!(parse_go("go1.25rc1"), Some((1, 25)));
        assert_eq!(parse_go("devel +abc"), None);
    }

    #[test]
    fn tells_a_program_from_none() {
        assert!(runs("cargo"));
        assert!(!runs("annex-no-such-program"));
    }

    #[test]
    fn lists_everything_at_once() {
        let checkout = Checkout::find().unwrap();
        let mut settings = Settings::new(Path::new("state"));
        settings.kcp_bin = Some("/does/not/exist".into());
        let message = check(&checkout, &settings).unwrap_err().to_string();
        assert!(message.contains("1. ") && message.contains("KCP_BIN"), "{message}");
    }
}
