//! `kubectl annex catalog`: what can be installed.
//!
//! It reads the Extensions and ExtensionVersions in the provider's workspace and not the registry's `GET /api/catalog`: the kubeconfig
//! that reaches one's own workspace reaches it with any kind of credentials, there is no second address to know, and
//! it answers while the registry is down. What `-o json` prints has the registry's form.

mod list;
mod read;
mod table;

use annex_core::ExtensionName;
use clap::{Args, ValueEnum};
use jiff::Timestamp;

use crate::format;
use crate::outcome::Failure;
use crate::server::{ProviderArguments, block_on};
use list::Catalog;
pub(crate) use read::versions;
pub(crate) use table::aligned;

pub(crate) const HELP: &str = "\
Lists each version that an Install can choose, the newest first. VERIFIED says whether a publisher whom the platform trusts signed \
it; one that is not can only be installed where the operator allows that. CAPABILITIES is what it asks for: an Install grants \
them in spec.grantedCapabilities. -o wide says more, such as what it NEEDS in its workspace, by the names of extensions and of \
interfaces, and which interfaces it PROVIDES. Versions that were yanked are left out, as no new install gets them; --all shows them, too.

Examples:
  kubectl annex catalog
  kubectl annex catalog com.example.notes -o yaml

Exit codes: 0 listed, 1 NAME is not in the catalog, 2 wrong usage, 3 the catalog could not be read (forbidden, no connection, \
no kubeconfig).";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only this extension
    pub(crate) name: Option<ExtensionName>,
    /// Also versions that were yanked
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) provider: ProviderArguments,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Output {
    /// A table
    #[default]
    Table,
    /// A table with more columns
    Wide,
    /// For programs: the form of the registry's GET /api/catalog
    Json,
    /// The same as YAML
    Yaml,
}

/// Reads the catalog and lists it.
pub(crate) fn run(arguments: &Arguments) -> Result<String, Failure> {
    let objects = block_on(read::read(&arguments.provider, arguments.name.as_ref()))??;
    let catalog = Catalog::of(objects, arguments.all);
    if let Some(name) = &arguments.name
        && catalog.is_empty()
    {
        let other =
            if arguments.all { "" } else { ", or all of its versions were yanked (--all shows them)" };
        return Err(Failure::Refused(format!("{name} is not in the catalog{other}")));
    }
    match arguments.output {
        Output::Table => Ok(table::render(&catalog, None)),
        Output::Wide => Ok(table::render(&catalog, Some(Timestamp::now()))),
        Output::Json => format::json(&catalog),
        Output::Yaml => format::yaml(&catalog),
    }
}
