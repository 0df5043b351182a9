//! `cargo xtask bench NAME`: figures as ratios within one run, the last line of the output as JSON.

mod figures;
mod install;
mod knative;
mod seed;

use clap::Parser;

/// What can be measured.
#[derive(Parser)]
enum Bench {
    /// What the initializer adds to the time until a new workspace is Ready.
    Seed,
    /// How fast Installs become Ready, and at how many writes.
    Install,
    /// What Annex adds to the time until a domain answers through Envoy.
    Knative,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Bench::parse() {
        Bench::Seed => seed::run().await,
        Bench::Install => install::run().await,
        Bench::Knative => knative::run().await,
    }
}
