//! Gives each new workspace of type `annex-tenant` its seed, then lets it become Ready.

mod initializing;

use annex_service::Shutdown;
use clap::Parser as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = initializing::Args::parse();
    annex_service::init_logging(args.log_format);
    annex_service::install_tls_provider();
    initializing::run(args, Shutdown::on_signals()?).await
}
