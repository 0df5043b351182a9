//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::explain::Target;
use crate::server::ServerArguments;
use crate::{bundle, catalog, dev, flow, init, keygen, mark, publish, sign, verify};

/// Annex on the command line: looks into installs, and makes, signs and publishes extensions.
#[derive(Debug, Parser)]
#[command(name = "kubectl-annex", bin_name = "kubectl annex", version, after_help = HELP)]
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
    /// List what can be installed: versions, publisher, capabilities, deprecation
    #[command(after_help = catalog::HELP)]
    Catalog(catalog::Arguments),
    /// Say what an Install would do, stage by stage, before it is applied
    #[command(after_help = flow::PLAN_HELP)]
    Plan(flow::PlanArguments),
    /// Show what an Install went through: each stage of the last flow, and the flows before it
    #[command(after_help = flow::HISTORY_HELP)]
    History(flow::HistoryArguments),
    /// Have an Install begin again what failed
    #[command(after_help = flow::RETRY_HELP)]
    Retry(flow::RetryArguments),
    /// Take an Install back to an earlier version
    #[command(after_help = flow::ROLLBACK_HELP)]
    Rollback(flow::RollbackArguments),
    /// Make a new extension project that builds as it is
    #[command(after_help = init::HELP)]
    Init(init::Arguments),
    /// Build an extension's guest and pack all of it into one archive
    #[command(after_help = bundle::HELP)]
    Bundle(bundle::Arguments),
    /// Serve an extension under work on this machine, as a platform would, and take in what changes
    #[command(after_help = dev::HELP)]
    Dev(dev::Arguments),
    /// Make a key to sign with
    #[command(after_help = keygen::HELP)]
    Keygen(keygen::Arguments),
    /// Sign an archive, into a file beside it
    #[command(after_help = sign::HELP)]
    Sign(sign::Arguments),
    /// Say whether an archive is what somebody who is trusted signed
    #[command(after_help = verify::HELP)]
    Verify(verify::Arguments),
    /// Send an archive and its signature to the registry
    #[command(after_help = publish::HELP)]
    Publish(publish::Arguments),
    /// Mark a version as one that should not be chosen any more; it can still be installed
    #[command(after_help = mark::DEPRECATE_HELP)]
    Deprecate(mark::DeprecateArguments),
    /// Take a version out of choice: no new install gets it, and where it is installed it stays
    #[command(after_help = mark::YANK_HELP)]
    Yank(mark::YankArguments),
}

const HELP: &str = "\
A publisher's way is init, dev, bundle, keygen (once), sign, publish. A tenant's is catalog, plan, kubectl apply, \
explain, and history, retry or rollback.

Exit codes: 0 done, 1 refused (or, with explain, not Ready; with plan, it would not go ahead), 2 wrong usage, 3 something could not be read, written, \
run or reached. Each command's --help says what that means there.";

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
    #[command(flatten)]
    pub(crate) server: ServerArguments,
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

    #[test]
    fn every_command_is_on_the_page() {
        let page = include_str!("../../docs/kubectl-annex.md");
        for command in Arguments::command().get_subcommands() {
            let name = command.get_name();
            assert!(page.contains(&format!("`{name} ")), "docs/kubectl-annex.md does not have {name}");
            let options = command.get_arguments().filter_map(|argument| argument.get_long());
            for option in options.filter(|_| name == "dev") {
                assert!(
                    page.contains(&format!("`--{option} ")),
                    "docs/kubectl-annex.md does not have --{option}"
                );
            }
        }
    }

    #[test]
    fn every_help_has_an_example_and_the_exit_codes() {
        for command in Arguments::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Exit codes: 0"), "{}", command.get_name());
            let known = ["domain", "explain"].contains(&command.get_name());
            assert!(known || help.contains("kubectl annex "), "{}", command.get_name());
        }
    }
}
