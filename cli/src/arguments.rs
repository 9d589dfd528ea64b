//! What can be asked on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Checks resources for Istio, and explains what the filters do with a request.
///
/// Exit codes: 0 for right, 1 if something is wrong with what was given, 2 if the command could not do its work.
#[derive(Debug, Parser)]
#[command(name = "inference-mesh", version, arg_required_else_help = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Finds what Istio accepts and then ignores, what is unsafe to believe, and what Istio version is needed.
    #[command(after_help = CHECK_EXAMPLES)]
    Check(Check),
    /// Writes completions for a shell.
    #[command(after_help = "Example: inference-mesh completions bash > /etc/bash_completion.d/inference-mesh")]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Writes the manual page.
    #[command(after_help = "Example: inference-mesh manual > inference-mesh.1 && man ./inference-mesh.1")]
    Manual,
}

const CHECK_EXAMPLES: &str = "\
Examples:
  inference-mesh check istio/                          every kustomization and loose file of a folder
  inference-mesh check --istio 1.28 app.yaml vs.yaml   files that are applied together
  helm template my-chart | inference-mesh check -n shop -
  kustomize build overlay | inference-mesh check --output sarif - > check.sarif

Files are taken to be applied together. Each kustomization of a folder is a set of its own; of kustomize this command
knows resources and JSON patches, for anything more pipe in the output of kustomize.
A warning is about something that these resources lack and the cluster may have; an error is certain.";

/// `check`.
#[derive(Args, Debug)]
pub struct Check {
    /// Files, folders, or - for standard input.
    #[arg(required = true, value_name = "FILE|DIR|-")]
    pub inputs: Vec<PathBuf>,
    /// How to write what was found.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub output: Format,
    /// The namespace of resources that name none.
    #[arg(short, long, default_value = "default", value_name = "NAME")]
    pub namespace: String,
    /// The Istio version that must be enough, such as 1.28: what needs a newer one is an error.
    #[arg(long, value_name = "VERSION")]
    pub istio: Option<crate::check::Version>,
    /// Exit with 1 for warnings too.
    #[arg(long)]
    pub strict: bool,
    /// Colours in text: by default on a terminal only.
    #[arg(long, value_enum, default_value_t = Colour::Auto)]
    pub color: Colour,
}

/// A form of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line for each finding: FILE:LINE: LEVEL: RESOURCE: REASON.
    Text,
    /// One JSON object.
    Json,
    /// SARIF 2.1.0, for code scanners.
    Sarif,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless the variable `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}
