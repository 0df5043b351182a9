//! `cargo xtask bench NAME`: figures as ratios within one run, the last line of the output as JSON.

mod bundle;
mod counted;
mod figures;
mod flows;
mod install;
mod kcp;
mod knative;
mod many;
mod runner;
mod seed;

use clap::Parser;

/// What can be measured.
#[derive(Parser)]
enum Bench {
    /// What the initializer adds to the time until a new workspace is Ready.
    Seed,
    /// How fast Installs become Ready, and at how many writes.
    Install,
    /// What an upgrade costs beside a reinstall.
    Flows,
    /// What Annex adds to the time until a domain answers through Envoy.
    Knative,
    /// What kube-kcp costs, and what a noisy workspace costs the others.
    Kcp,
    /// What verifying and unpacking a bundle costs beside `zstd -d` and `sha256sum`.
    Bundle(bundle::Arguments),
    /// What a call costs in a runner beside `wasmtime serve`, and a file beside nginx.
    Runner(runner::Arguments),
    #[command(hide = true)]
    KcpClient(kcp::Client),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    annex_service::install_tls_provider();
    match Bench::parse() {
        Bench::Seed => seed::run().await,
        Bench::Install => install::run().await,
        Bench::Flows => flows::run().await,
        Bench::Knative => knative::run().await,
        Bench::Kcp => kcp::run().await,
        Bench::Bundle(arguments) => bundle::run(&arguments),
        Bench::Runner(arguments) => runner::run(&arguments).await,
        Bench::KcpClient(client) => client.run().await,
    }
}
