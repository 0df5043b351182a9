//! Two tenants, an install each, both answering: every command as a person would type it.

use std::env;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::checkout::Checkout;
use crate::http;
use crate::kubeconfig::Endpoint;
use crate::kubectl::{Kubectl, retry};
use crate::part::Part;
use crate::private_file;
use crate::progress::{say, seconds};
use crate::settings::Settings;
use crate::stack::Stack;

/// What a workspace is waited for with.
const READY: &str = "--for=jsonpath='{.status.phase}'=Ready --timeout=60s";
/// What an install is waited for with: on a cluster its first pod has to start.
const INSTALLED: &str = "--for=condition=Ready --timeout=180s";

/// A controller that starts anew looks at everything first; on a cluster the domain has to answer in the new way.
const READDRESSED: Duration = Duration::from_secs(60);

struct Tenant {
    user: &'static str,
    workspace: &'static str,
}

/// The sample extension, by the name in its manifest.
const SAMPLE: &str = "com.example.notes";
/// What is published: the folder, and a name for its archive. The guide for tenants goes through the versions of the second.
const SAMPLES: [(&str, &str); 4] = [
    ("samples/notes", "notes"),
    ("samples/steps/1.0.0", "steps-1.0.0"),
    ("samples/steps/1.1.0", "steps-1.1.0"),
    ("samples/steps/1.2.0", "steps-1.2.0"),
];
/// What the first tenant writes, and no other reads.
const NOTE: &str = "The others do not see this";

const TENANTS: [Tenant; 2] =
    [Tenant { user: "alice", workspace: "acme" }, Tenant { user: "bob", workspace: "globex" }];

/// Runs the demo; everything is left running.
///
/// # Errors
/// Like [`Stack::up`]; or a command of the demo fails, or a domain does not answer with its own tenant.
pub fn run(settings: &Settings) -> Result<()> {
    let started = Instant::now();
    let stack = Stack::up(settings)?;
    let shell = Shell::new(&stack)?;
    shell.introduce();

    let publishes = publish_samples(&shell, &stack)?;

    let (mut answers, mut pages) = (Vec::new(), Vec::new());
    for Tenant { user, workspace } in &TENANTS {
        say(&format!("\n# {user} makes a workspace and installs the sample extension in it."));
        let config = shell.path(&stack.paths().user_kubeconfig(user));
        let kubectl = format!("kubectl --kubeconfig {config}");
        let create = format!("apply -f manifests/samples/workspace-{workspace}.yaml");
        if settings.kcp_kubeconfig.is_none() {
            shell.run(&format!("{kubectl} {create}"))?;
            shell.run(&format!("{kubectl} wait workspace {workspace} {READY}"))?;
        } else {
            // There the administrator plays the tenants. kcp notes the owner of a workspace together with the scope of
            // the impersonation (the parent workspace alone), so that one made so would never get ready (v0.31.2).
            let admin = format!("kubectl --kubeconfig {}", shell.path(&stack.paths().kcp_kubeconfig()));
            let inside = format!("{admin} --server {}/clusters/root:{workspace}", server(&stack));
            let owner =
                format!("create clusterrolebinding owner-{user} --clusterrole=cluster-admin --user={user}");
            shell.run(&format!("{admin} {create}"))?;
            shell.run(&format!("{admin} wait workspace {workspace} {READY}"))?;
            shell.run(&format!("{inside} {owner} --dry-run=client -o yaml | {inside} apply -f -"))?;
        }
        let inside = format!("{kubectl} --context {workspace}");
        shell.run(&format!("{inside} apply -f manifests/samples/install.yaml"))?;
        shell.run(&format!("{inside} wait install/hello {INSTALLED}"))?;
        await_address(&stack.user(user).context(workspace), "hello", settings)?;
        shell.run(&format!("{inside} get installs"))?;
        let url =
            shell.run(&format!("{inside} get install hello -o jsonpath='{{.status.url}}{{\"\\n\"}}'"))?;
        answers.push((workspace, url.trim().to_owned()));
        if publishes {
            shell.run(&format!("{inside} apply -f manifests/samples/notes.yaml"))?;
            shell.run(&format!("{inside} wait install/notes {INSTALLED}"))?;
            await_address(&stack.user(user).context(workspace), "notes", settings)?;
            let url = stack.user(user).context(workspace).run(&[
                "get",
                "install",
                "notes",
                "--output=jsonpath={.status.url}",
            ])?;
            pages.push(url.trim().to_owned());
        }
    }
    say("\n# What the operator sees, in the provider's workspace.");
    let admin =
        format!("kubectl --kubeconfig {} --context annex", shell.path(&stack.paths().kcp_kubeconfig()));
    shell.run(&format!("{admin} get tenants,extensions,extensionversions"))?;

    say("\n# Each domain answers with its own tenant.");
    let mut identities = Vec::new();
    for (workspace, url) in &answers {
        let body = if settings.tls {
            shell.run(&curl(&shell.path(&stack.paths().domains_ca()), url)?)
        } else {
            say(&format!("$ curl -s {url}"));
            fetch(url).inspect(|body| say(body.trim_end()))
        };
        let body =
            body.with_context(|| format!("the install of {workspace} is Ready but does not answer"))?;
        identities.push(tenant_id(&body).with_context(|| format!("{url} answers without a tenant_id"))?);
    }
    if let [first, second] = identities.as_slice()
        && first == second
    {
        bail!("both domains answer as tenant {first}: see {}", stack.paths().log(Part::Runner).display());
    }
    if let [first, others @ ..] = pages.as_slice() {
        take_notes(&shell, &stack, first, others)?;
    }
    say(&format!("\n{}", next_steps(&shell, &stack, &pages)));
    say(&format!("Done in {}. Everything is left running.", seconds(started.elapsed())));
    Ok(())
}

/// Has the operator publish the samples, which the environment's own key signs. False: nobody can here, and the demo goes on without them.
fn publish_samples(shell: &Shell, stack: &Stack) -> Result<bool> {
    let administrator = stack.paths().kcp_kubeconfig();
    if !Endpoint::has_token(&administrator)? {
        say(
            "\n# The sample extensions are left out: the administrator of this kcp has no token, and the registry asks for one.",
        );
        return Ok(false);
    }
    say("\n# The operator publishes the sample extensions: built, signed, and checked by the registry.");
    private_file::folder(&stack.paths().sample())?;
    let key = shell.path(&stack.paths().publisher_key());
    for (folder, name) in SAMPLES {
        let archive = shell.path(&stack.paths().sample().join(format!("{name}.tar.zst")));
        shell.run(&format!("kubectl annex bundle {folder} -o {archive}"))?;
        shell.run(&format!("kubectl annex sign {archive} --key {key}"))?;
        shell.run(&format!(
            "kubectl annex publish {archive} --registry {} --kubeconfig {} --context annex",
            stack.registry_url()?,
            shell.path(&administrator)
        ))?;
    }
    Ok(true)
}

/// Shows that each workspace keeps notes of its own.
fn take_notes(shell: &Shell, stack: &Stack, first: &str, others: &[String]) -> Result<()> {
    say("\n# The sample's code runs in a sandbox for each call, and keeps what it stores by workspace.");
    let call = |url: &str| format!("{}/api/ext/{SAMPLE}/notes", url.trim_end_matches('/'));
    let note = json!({ "text": NOTE }).to_string();
    let read = |url: &str| ask(shell, stack, &call(url), None);
    ask(shell, stack, &call(first), Some(&note))?;
    if !read(first)?.contains(NOTE) {
        bail!("the note is not kept");
    }
    for other in others {
        if read(other)?.contains(NOTE) {
            bail!("a note of one workspace is seen in another");
        }
    }
    Ok(())
}

/// Calls an extension as a person would with curl; `json` is what is posted.
fn ask(shell: &Shell, stack: &Stack, url: &str, json: Option<&str>) -> Result<String> {
    let post =
        json.map(|json| format!(" -H 'content-type: application/json' -d '{json}'")).unwrap_or_default();
    if stack.settings().tls {
        return shell.run(&format!("{}{post} --fail", curl(&shell.path(&stack.paths().domains_ca()), url)?));
    }
    say(&format!("$ curl -s {url}{post}"));
    let (host, port, path) = split_url(url).with_context(|| format!("{url:?} is no http address"))?;
    let answer = match json {
        Some(json) => http::post(port, &host, &path, json)?,
        None => http::get(port, &host, &path)?,
    };
    say(answer.body.trim_end());
    if !(200..300).contains(&answer.status) {
        bail!("{url} answers {}", answer.status);
    }
    Ok(answer.body)
}

/// Runs lines as a person's shell in the checkout would, after printing them.
struct Shell {
    checkout: Checkout,
    path: String,
    cache: PathBuf,
}

impl Shell {
    fn new(stack: &Stack) -> Result<Self> {
        let tools = stack.kubectl_path().parent().context("kubectl has a folder")?;
        let plugins = stack.plugin_folder().context("kubectl-annex has a folder")?;
        let path = format!("{}:{}", tools.display(), plugins.display());
        Ok(Self { checkout: Checkout::find()?, path, cache: stack.paths().kubectl_cache() })
    }

    fn introduce(&self) {
        say(
            "\n# To repeat any of the following, so that kubectl is the pinned one and knows `kubectl annex`:",
        );
        if env::current_dir().is_ok_and(|here| here != self.checkout.root()) {
            say(&format!("$ cd {}", self.checkout.root().display()));
        }
        say(&format!("$ export PATH=\"{}:$PATH\"", self.path));
    }

    fn path(&self, path: &std::path::Path) -> String {
        self.checkout.display(path)
    }

    /// Prints the line, what it prints, and returns the latter.
    fn run(&self, line: &str) -> Result<String> {
        say(&format!("$ {line}"));
        let path = env::var("PATH").unwrap_or_default();
        let output = Command::new("sh")
            .args(["-c", line])
            .current_dir(self.checkout.root())
            .env("PATH", format!("{}:{path}", self.path))
            .env("KUBECACHEDIR", &self.cache)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run sh")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !text.is_empty() {
            say(text.trim_end_matches('\n'));
        }
        if !output.status.success() {
            bail!("that command failed; `cargo xtask status` says what is not ready, and where the logs are");
        }
        Ok(text)
    }
}

/// An install of before `--tls` or a port changed is Ready all the while, and has the address of then for a moment more.
fn await_address(kubectl: &Kubectl, install: &str, settings: &Settings) -> Result<()> {
    retry(READDRESSED, "the install's address follows the settings", || {
        let url = kubectl.run(&["get", "install", install, "--output=jsonpath={.status.url}"])?;
        if is_current(url.trim(), settings.domain_scheme_and_port()) {
            Ok(())
        } else {
            bail!("it is {url:?} still")
        }
    })
}

fn is_current(url: &str, (scheme, port): (&str, u16)) -> bool {
    let starts = url.strip_prefix(scheme).is_some_and(|rest| rest.starts_with("://"));
    starts && split_url(url).is_some_and(|(_, found, _)| found == port)
}

/// What curl does: names under `.localhost` are this machine, whatever its resolver says.
fn fetch(url: &str) -> Result<String> {
    let (host, port, path) = split_url(url).with_context(|| format!("{url:?} is no http address"))?;
    let answer = http::get(port, &host, &path)?;
    if answer.status != 200 {
        bail!("{url} answers {}: {}", answer.status, answer.body.trim());
    }
    Ok(answer.body)
}

/// The line that asks over TLS. Names that are not under `.localhost` may lead nowhere yet, or to another machine.
fn curl(authority: &str, url: &str) -> Result<String> {
    let (host, port, _) = split_url(url)
        .filter(|_| url.starts_with("https://"))
        .with_context(|| format!("{url:?} is no https address"))?;
    let name = host.split(':').next().unwrap_or(&host);
    let resolve = if name.ends_with(".localhost") {
        String::new()
    } else {
        format!("--resolve {name}:{port}:127.0.0.1 ")
    };
    Ok(format!("curl -s --cacert {authority} {resolve}{url}"))
}

/// `http://host:port/path` → the Host header, the port, the path.
fn split_url(url: &str) -> Option<(String, u16, String)> {
    let (rest, port) = match url.strip_prefix("https://") {
        Some(rest) => (rest, 443),
        None => (url.strip_prefix("http://")?, 80),
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let port = match host.rsplit_once(':') {
        Some((_, port)) => port.parse().ok()?,
        None => port,
    };
    (!host.is_empty()).then(|| (host.to_owned(), port, format!("/{path}")))
}

fn tenant_id(body: &str) -> Option<String> {
    serde_json::from_str::<Value>(body).ok()?.get("tenant_id")?.as_str().map(str::to_owned)
}

fn next_steps(shell: &Shell, stack: &Stack, pages: &[String]) -> String {
    let config = shell.path(&stack.paths().user_kubeconfig("alice"));
    let alice = format!("kubectl --kubeconfig {config}");
    let mallory = format!("kubectl --kubeconfig {}", shell.path(&stack.paths().user_kubeconfig("mallory")));
    let steps = [
        // Kubectl takes no options before the name of a plugin.
        (
            "why an install is, or is not, ready",
            format!("kubectl annex explain install/hello -n default --kubeconfig {config} --context acme"),
        ),
        ("every field that you may write", format!("{alice} --context acme explain install.spec")),
        (
            "what the initializer put into the workspace",
            format!("{alice} --context acme -n annex get sa,secrets,roles"),
        ),
        ("what happened, in order", format!("{alice} --context acme get events --sort-by=.lastTimestamp")),
        (
            "upgrades, and what becomes of one that fails: docs/tenant-guide.md has them step by step",
            format!("kubectl annex history install/hello -n default --kubeconfig {config} --context acme"),
        ),
        (
            "delete the install: its domain answers no more",
            format!("{alice} --context acme delete install hello"),
        ),
        (
            "begin an extension of your own; docs/publisher-guide.md goes on to publish it",
            "kubectl annex init notes --publisher example.com".to_owned(),
        ),
        (
            "somebody else's workspace is closed",
            format!("{mallory} --server {}/clusters/root:acme get installs", server(stack)),
        ),
        (
            "what runs, where it logs; end it; end it and forget it",
            "cargo xtask status; cargo xtask down; cargo xtask down --purge".to_owned(),
        ),
    ];
    let mut text = "# What to try next\n".to_owned();
    for page in pages {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# open the sample's page in a browser\n  {page}");
    }
    for (why, command) in steps {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# {why}\n$ {command}");
    }
    text
}

fn server(stack: &Stack) -> String {
    Endpoint::read(&stack.paths().kcp_kubeconfig())
        .map_or_else(|_| stack.ops_url(Part::Kcp), |endpoint| endpoint.base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_addresses() {
        let split = |url| split_url(url).map(|(host, port, path)| format!("{host} {port} {path}"));
        assert_eq!(split("http://a.apps.localhost:8080").unwrap(), "a.apps.localhost:8080 8080 /");
        assert_eq!(split("http://a/x/y").unwrap(), "a 80 /x/y");
        assert_eq!(split("https://a/x").unwrap(), "a 443 /x");
        assert_eq!(split("ftp://a"), None);
        assert_eq!(split("http://"), None);
    }

    #[test]
    fn asks_over_tls_with_the_authority() {
        let line = curl(".annex/domains-ca.crt", "https://a.apps.localhost:8443/").unwrap();
        assert_eq!(line, "curl -s --cacert .annex/domains-ca.crt https://a.apps.localhost:8443/");
        let line = curl("ca", "https://a.apps.test:8443/").unwrap();
        assert_eq!(
            line,
            "curl -s --cacert ca --resolve a.apps.test:8443:127.0.0.1 https://a.apps.test:8443/"
        );
        assert!(curl("ca", "http://a.apps.localhost:8080/").is_err());
    }

    #[test]
    fn tells_an_address_of_other_settings() {
        let https = ("https", 8443);
        assert!(is_current("https://a.apps.localhost:8443/", https));
        for old in [
            "http://a.apps.localhost:8080/",
            "http://a.apps.localhost:8443/",
            "https://a.apps.localhost:9443/",
            "",
        ] {
            assert!(!is_current(old, https), "{old}");
        }
        assert!(is_current("http://a.apps.localhost/", ("http", 80)));
        assert!(!is_current("https://a.apps.localhost:8080/", ("http", 8080)));
    }

    #[test]
    fn reads_the_identity() {
        assert_eq!(tenant_id(r#"{"tenant_id":"x","extension_id":"y"}"#).unwrap(), "x");
        assert_eq!(tenant_id("<html>"), None);
    }
}
