//! The inside under TLS: the runner and the controller ask the registry, and the controller the runner, each by an authority of the test's own.

use std::{fs, path::Path, time::Duration};

use annex_e2e::{World, until};
use anyhow::Context as _;
use kube::api::DeleteParams;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::{Certificate, Client};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use xtask::Part;

use crate::environment::{alone, publish};

/// Signs certificates of this machine and of every domain.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    /// `tls.crt`, `tls.key` and `ca.crt` in a folder, as in a Secret that cert-manager writes.
    fn write(&self, folder: &Path, root: &str) -> anyhow::Result<()> {
        let names = ["127.0.0.1".to_owned(), format!("*.{root}")];
        let key = KeyPair::generate()?;
        let cert = CertificateParams::new(names)?.signed_by(&key, &self.0)?;
        fs::write(folder.join("tls.crt"), cert.pem())?;
        fs::write(folder.join("tls.key"), key.serialize_pem())?;
        fs::write(folder.join("ca.crt"), self.0.pem())?;
        Ok(())
    }

    /// A browser that knows this authority alone, and finds every host on this machine.
    fn browser(&self, host: &str, port: u16) -> anyhow::Result<Client> {
        let builder = Client::builder().no_proxy().timeout(Duration::from_secs(10));
        let builder = builder.tls_certs_only([Certificate::from_pem(self.0.pem().as_bytes())?]);
        Ok(builder.resolve(host, ([127, 0, 0, 1], port).into()).build()?)
    }
}

/// Restarts what is named, with `args` and `env` more than it usually has.
fn restart(world: &World, part: Part, args: &[&str], env: &[(&str, &str)]) -> anyhow::Result<()> {
    world.stack.stop(part)?;
    world.stack.configure(part, args, env);
    world.stack.start(part)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_install_gets_ready_and_answers_where_everything_is_under_tls() -> anyhow::Result<()> {
    let (world, _turn) = alone().await;
    let (settings, folder) = (world.stack.settings(), tempfile::tempdir()?);
    let authority = Authority::new()?;
    authority.write(folder.path(), &settings.domain_root)?;
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (cert, key, ca) = (file("tls.crt"), file("tls.key"), file("ca.crt"));
    let tls = ["--tls-cert-file", &cert, "--tls-key-file", &key];
    let runner = format!("https://127.0.0.1:{}", settings.runner_port);
    let registry = format!("https://127.0.0.1:{}", settings.registry_port());

    block_in_place(|| {
        restart(world, Part::Registry, &tls, &[])?;
        let controller = [
            ["--runner-url", &runner, "--runner-ca-file", &ca],
            ["--registry-url", &registry, "--registry-ca-file", &ca],
        ]
        .concat();
        // The variable of before goes on being set beside this one.
        let env = [("EXT_DOMAIN_SCHEME", "https"), ("ANNEX_ALLOW_UNSIGNED", "true")];
        restart(world, Part::Controller, &controller, &env)?;
        let env = [("REGISTRY_BASE_URL", registry.as_str()), ("REGISTRY_CA_FILE", ca.as_str())];
        restart(world, Part::Runner, &tls, &env)
    })?;
    let outcome = answers_under_tls(world, &authority, folder.path()).await;
    // Whatever came of it, the tests that follow find the environment as they know it.
    block_in_place(|| {
        restart(world, Part::Registry, &[], &[])?;
        restart(world, Part::Controller, &[], &[])?;
        restart(world, Part::Runner, &[], &[])
    })?;
    outcome
}

async fn answers_under_tls(world: &World, authority: &Authority, folder: &Path) -> anyhow::Result<()> {
    let settings = world.stack.settings();
    publish(world, "com.example.tls", &["1.0.0"]).await?;
    let workspace = world.user("alice").await?.tenant("acme-tls").await?;
    workspace.install("tls", "com.example.tls", json!({})).await?;
    let install = workspace.installed("tls").await?;
    let status = install.status.context("a status")?;
    let (host, url) = (status.host.context("a host")?, status.url.context("a URL")?);
    assert!(url.starts_with("https://"), "{url}");

    let get = async |client: &Client| -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(&client.get(&url).send().await?.bytes().await?)?)
    };
    let answer = get(&authority.browser(&host, settings.runner_port)?).await?;
    assert_eq!(answer["tenant_id"], workspace.cluster.as_str());
    let stranger = Authority::new()?;
    assert!(
        get(&stranger.browser(&host, settings.runner_port)?).await.is_err(),
        "another authority is not believed"
    );
    // Without TLS nothing is said of anybody.
    let (code, body) = world.runner()?.lookup(&host).await?;
    assert_eq!((code.as_u16(), body), (400, Value::Null));

    // Renewed under way, as an operator sees it.
    authority.write(folder, &settings.domain_root)?;
    for (part, line) in [
        (Part::Registry, r#"annex_registry_tls_reloads_total{listener="api"} 1"#),
        (Part::Runner, r#"annex_runner_tls_reloads_total{listener="public"} 1"#),
    ] {
        let metrics = format!("{}/metrics", world.stack.ops_url(part));
        until(line, async || Ok(world.runner()?.text(&metrics).await?.contains(line).then_some(()))).await?;
    }
    let answer = get(&authority.browser(&host, settings.runner_port)?).await?;
    assert_eq!(answer["tenant_id"], workspace.cluster.as_str());
    workspace.installs().delete("tls", &DeleteParams::default()).await?;
    Ok(())
}

/// The services that speak to kcp, with their operations under TLS: each runs in place of the one that usually does.
#[tokio::test(flavor = "multi_thread")]
async fn operations_of_the_controller_and_the_initializer_answer_under_tls_alone() -> anyhow::Result<()> {
    let (world, _turn) = alone().await;
    let folder = tempfile::tempdir()?;
    for part in [Part::Controller, Part::Initializer] {
        block_in_place(|| world.stack.stop(part))?;
        let outcome = operations_under_tls(world, part, folder.path()).await;
        // Whatever came of it, the tests that follow find the environment as they know it.
        block_in_place(|| world.stack.start(part))?;
        outcome.with_context(|| part.to_string())?;
    }
    Ok(())
}

async fn operations_under_tls(world: &World, part: Part, folder: &Path) -> anyhow::Result<()> {
    let (settings, authority) = (world.stack.settings(), Authority::new()?);
    authority.write(folder, &settings.domain_root)?;
    let file = |name: &str| folder.join(name).display().to_string();
    let (cert, key) = (file("tls.crt"), file("tls.key"));
    let args = ["--operations-tls-cert-file", &cert, "--operations-tls-key-file", &key];
    let command = block_in_place(|| world.stack.command(part, &args))?;
    let mut service = tokio::process::Command::from(command).kill_on_drop(true).spawn()?;

    let (port, url) = (settings.ops_port(part), world.stack.ops_url(part).replace("http://", "https://"));
    let client = authority.browser("unused.test", port)?;
    let get = async |client: &Client, path: &str| -> anyhow::Result<(u16, String)> {
        let answer = client.get(format!("{url}{path}")).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    };
    until("it is ready, and says so under TLS", async || {
        Ok(get(&client, "/readyz").await.ok().filter(|(status, _)| *status == 200))
    })
    .await?;
    assert_eq!(get(&client, "/healthz").await?.0, 200);
    let metrics = get(&client, "/metrics").await?.1;
    let ends = format!("annex_{part}_tls_not_after_seconds{{listener=\"operations\"}}");
    assert!(metrics.contains(&ends), "{metrics}");
    let stranger = Authority::new()?.browser("unused.test", port)?;
    assert!(get(&stranger, "/metrics").await.is_err(), "another authority is not believed");
    let plain = block_in_place(|| xtask::get(port, "127.0.0.1", "/metrics"))?;
    assert_eq!((plain.status, plain.body.trim()), (400, "this port speaks https"));

    let before = authority;
    let authority = Authority::new()?;
    authority.write(folder, &settings.domain_root)?;
    let renewed = authority.browser("unused.test", port)?;
    until("the renewed certificate is served", async || Ok(get(&renewed, "/healthz").await.ok())).await?;
    assert!(get(&before.browser("unused.test", port)?, "/healthz").await.is_err(), "the former is not");

    service.kill().await?;
    Ok(())
}
