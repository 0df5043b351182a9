//! `kubectl annex publish`.

mod answer;
mod progress;
mod registry;
mod upload;

use std::path::PathBuf;

use annex_bundle::signature::MAX_SIGNATURE;
use annex_bundle::{Discard, Limits, unpack};
use clap::Args;

use crate::files;
use crate::format::Format;
use crate::outcome::Failure;
use crate::server::{ServerArguments, bearer_token, block_on};
use crate::shell::quoted;
use answer::Published;
use registry::RegistryUrl;
use upload::Upload;

pub(crate) const HELP: &str = "\
Sends FILE and FILE.sig to the registry, which verifies them and adds the version to the catalog. Who publishes is whom \
the kubeconfig's context authenticates, by a token: the registry asks kcp about it. The same bytes can be published \
again, and nothing changes; a version never gets other content.

Example:
  kubectl annex publish notes.tar.zst --registry https://registry.example.com

Exit codes: 0 published, now or before, 1 refused: FILE is no bundle, or the registry says no (the code is one of \
docs/bundle-format.md or docs/registry-api.md), 2 wrong usage, 3 a file could not be read, the kubeconfig has no token, or the \
registry could not be reached or says to try again.";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The archive; its signature is FILE.sig
    pub(crate) file: PathBuf,
    /// The registry's address
    #[arg(long, value_name = "URL", env = "ANNEX_REGISTRY_URL")]
    pub(crate) registry: RegistryUrl,
    /// The authority that the registry's certificate is checked by, in PEM, instead of the system's
    #[arg(long, value_name = "PEM")]
    pub(crate) certificate_authority: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
    /// How to print the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Format,
}

/// More than any file of authorities has.
const MAX_PEM: usize = 4 << 20;

/// Publishes.
pub(crate) fn run(arguments: &Arguments) -> Result<String, Failure> {
    let shown = quoted(&arguments.file.display().to_string());
    let signature = files::read_if_there(&files::signature_of(&arguments.file), MAX_SIGNATURE)?;
    let signature = signature.ok_or_else(|| {
        let next = format!("kubectl annex sign {shown} --key KEY makes {shown}.sig");
        Failure::refused("Unsigned", format!("the bundle is not signed; {next}"))
    })?;
    // A refusal here takes a second, after an upload of 200 MiB it takes minutes.
    let archive = files::open(&arguments.file)?;
    let unpacked = unpack(archive, &Limits::default(), Discard)
        .map_err(|error| Failure::refused(error.code(), format!("{}: {error}", arguments.file.display())))?;
    let authorities = match &arguments.certificate_authority {
        None => None,
        Some(path) => Some(files::read(path, MAX_PEM)?),
    };
    let published = block_on(async {
        let config = arguments.server.config().await?;
        if config.auth_info.impersonate.is_some() || config.auth_info.impersonate_groups.is_some() {
            return Err(Failure::Unable(
                "the kubeconfig impersonates somebody, and the registry would see who does; use that person's token"
                    .to_owned(),
            ));
        }
        let token = bearer_token(&config).await?.ok_or_else(|| {
            Failure::Unable(
                "the kubeconfig has no token to show to the registry; with a client certificate, make a \
                 ServiceAccount and use its token"
                    .to_owned(),
            )
        })?;
        let upload = Upload {
            registry: &arguments.registry,
            authorities: authorities.as_deref(),
            token,
            archive: &arguments.file,
            size: unpacked.size,
            signature,
        };
        upload.send().await
    })??;
    arguments.output.print(&published, Published::text)
}
