//! Makes Installs true, and gives workspaces that bound the API by hand what the initializer gives new ones.

mod announce;
mod api_writes;
mod args;
mod bindings;
mod catalog;
mod certainty;
mod claims;
mod compute;
mod conditions;
mod context;
mod environment;
mod gauges;
mod handlers;
mod install;
mod lead;
mod object_writer;
mod rollout;
mod routes;
mod run;
mod runner;
#[cfg(test)]
mod scripted;
mod store;
mod triggers;
mod verify;
mod workspace;

use annex_service::Shutdown;
use clap::Parser as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = args::Args::parse();
    annex_service::init_logging(args.log_format);
    annex_service::install_tls_provider();
    run::run(args, Shutdown::on_signals()?).await
}
