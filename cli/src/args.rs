//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::explain::Target;

/// Looks into what Annex does with your installs.
#[derive(Debug, Parser)]
#[command(name = "kubectl-annex", bin_name = "kubectl annex", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the host name of a tenant's install of an extension
    #[command(after_help = DOMAIN_HELP)]
    Domain(DomainArguments),
    /// Say what of an object is ready, what is not and why, and which command to run next
    #[command(after_help = EXPLAIN_HELP)]
    Explain(ExplainArguments),
}

const DOMAIN_HELP: &str = "\
The name is <t>--<e>.<ROOT>. t is the first 8 hex digits of TENANT if it is a UUID with hyphens, else its slug: lower \
case, every run of other characters than a-z and 0-9 as one dash, none at an end, cut to 12. e is the same of EXTENSION.

Values that begin with a dash come after --, as in: kubectl annex domain -- -acme hello apps.example.com

Exit codes: 0 the name is printed, 2 one of the values gives none (which one, and why, is on standard error).";

const EXPLAIN_HELP: &str = "\
TYPE is install or managedenvironment (environment for short). Only the object is read, nothing is changed.

Exit codes: 0 the object is Ready, 1 it is not, or its last change has not been seen yet, 2 wrong usage, \
3 it could not be read (not there, forbidden, no connection, no kubeconfig).";

#[derive(Debug, Args)]
pub(crate) struct DomainArguments {
    /// The tenant's slug or id
    pub(crate) tenant: String,
    /// The extension's slug or id
    pub(crate) extension: String,
    /// The DNS name under which extensions answer, of at least two labels, such as apps.example.com
    pub(crate) root: String,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArguments {
    /// The object, such as install/hello
    #[arg(value_name = "TYPE/NAME")]
    pub(crate) target: Target,
    /// The object's namespace, instead of the context's
    #[arg(short, long, value_name = "NS")]
    pub(crate) namespace: Option<String>,
    /// The kubeconfig to use, instead of $KUBECONFIG or ~/.kube/config
    #[arg(long, value_name = "F")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig to use, instead of its current one
    #[arg(long, value_name = "C")]
    pub(crate) context: Option<String>,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
