//! The way in to extensions: who may call what, how much and how long.

use annex_gateway::{Args, run};
use annex_service::Shutdown;
use clap::Parser as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    annex_service::init_logging(args.log_format);
    annex_service::install_tls_provider();
    run(args, Shutdown::on_signals()?).await
}
