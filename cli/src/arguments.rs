//! What can be asked on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Checks resources for Istio, explains what the filters do with a request, and migrates from the vendor's mesh.
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
    /// Makes stock resources of those of the vendor's mesh, and accounts for every field.
    #[command(after_help = MIGRATE_EXAMPLES)]
    Migrate(Migrate),
    /// Says step by step what the filters of a configuration do with a request, and where it goes.
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(Explain),
    /// Writes completions for a shell.
    #[command(
        after_help = "Example: inference-mesh completions bash > /etc/bash_completion.d/inference-mesh"
    )]
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
    #[arg(long, value_name = "VERSION", value_parser = crate::check::known_version)]
    pub istio: Option<crate::check::Version>,
    /// Exit with 1 for warnings too.
    #[arg(long)]
    pub strict: bool,
    /// Colours in text: by default on a terminal only.
    #[arg(long, value_enum, default_value_t = Colour::Auto)]
    pub color: Colour,
}

const MIGRATE_EXAMPLES: &str = "\
Examples:
  inference-mesh migrate app/ -o stock/                         the account of every field is on standard error
  inference-mesh migrate app/ -o stock/ --report account.txt
  inference-mesh migrate --value stage=blue --value stage=green - < app.yaml > stock.yaml
  inference-mesh migrate app/ -o stock/ --form hold --groups subset-lb
  inference-mesh migrate app/ -o stock/ --sign-on https://idp.example.com --jwks https://idp.example.com/jwks --audience ai-app

What is stock already comes out byte for byte. If a field is refused, nothing is written; --keep-going writes the rest.
Exit code 1 says that something is refused.";

/// `migrate`.
#[derive(Args, Debug)]
pub struct Migrate {
    /// Files, folders, or - for standard input.
    #[arg(required = true, value_name = "FILE|DIR|-")]
    pub inputs: Vec<PathBuf>,
    /// The folder to write to, which has no manifests but those of this output; without it everything goes to standard
    /// output as one stream.
    #[arg(short, long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Where the account goes; without it to standard error.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// How to write the account.
    #[arg(long, value_enum, default_value_t = Form::Text)]
    pub report_format: Form,
    /// The namespace of resources that name none.
    #[arg(short, long, default_value = "default", value_name = "NAME")]
    pub namespace: String,
    /// The form of the filter.
    #[arg(long, value_enum, default_value_t = Shape::Wasm)]
    pub form: Shape,
    /// The form of dynamic subsets.
    #[arg(long, value_enum, default_value_t = Groups::Routes)]
    pub groups: Groups,
    /// The issuer of the sign-on's tokens, as they name it: the filter claim-headers is added that makes a header of a
    /// claim, which in the vendor's mesh the sign-on does.
    #[arg(long, value_name = "ISSUER", requires_all = ["jwks", "audience"])]
    pub sign_on: Option<String>,
    /// Where the issuer's keys are.
    #[arg(long, value_name = "URL", requires = "sign_on")]
    pub jwks: Option<String>,
    /// Whom the tokens are for: without it those of other applications would count.
    #[arg(long, value_name = "NAME", requires = "sign_on")]
    pub audience: Option<String>,
    /// A claim and the header that it becomes [default: user_type=user_class].
    #[arg(long = "claim", value_name = "CLAIM=HEADER", requires = "sign_on")]
    pub claims: Vec<String>,
    /// The Istio Gateway at which users sign on; without it the only one beside the routes on the header.
    #[arg(long, value_name = "NAMESPACE/NAME", requires = "sign_on")]
    pub gateway: Option<String>,
    /// The registry, with the path, that has the modules' images.
    #[arg(long, default_value = "registry.example", value_name = "HOST/PATH")]
    pub registry: String,
    /// The Istio version that the output is for, such as 1.28: what needs a newer one is refused.
    #[arg(long, value_name = "VERSION", value_parser = crate::check::known_version)]
    pub istio: Option<crate::check::Version>,
    /// What a request of no group gets where dynamicSubset does not say it.
    #[arg(long, value_enum, default_value_t = Fallback::Any)]
    pub fallback: Fallback,
    /// A value of a key of dynamic subsets; without it those that pods of the input have.
    #[arg(long = "value", value_name = "KEY=VALUE")]
    pub values: Vec<String>,
    /// The label that pods of a group have, where it is another than the key.
    #[arg(long, value_name = "KEY=VALUE:LABEL=VALUE")]
    pub pods: Vec<String>,
    /// Write what can be taken over, although something is refused.
    #[arg(long)]
    pub keep_going: bool,
}

/// A form of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// A `WasmPlugin`.
    Wasm,
    /// An `EnvoyFilter` with the wasm module, which may hold headers there: answers have the right status from the start.
    Hold,
    /// An `EnvoyFilter` with the dynamic module.
    Native,
}

/// A form of groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Groups {
    /// A route and a subset of a DestinationRule for each group.
    Routes,
    /// One route, and a cluster with Envoy's own subset load balancing.
    SubsetLb,
    /// One route, and the load-balancing policy `runtime-group`: no group is named anywhere. For labels that make a pod's
    /// canonical name or revision in Istio.
    Policy,
}

/// What a request of no group gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fallback {
    /// Any endpoint.
    Any,
    /// 503.
    None,
}

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  inference-mesh explain -c istio/dynamic-subset/overlays/gateway-routes --port 8008 \\
    -H 'x-model-format-pytorch: true' -d '{\"inputs\": []}' http://gateway:8008/v2/models/m/infer
  inference-mesh explain -c plugin.yaml --answer 5 -d '{\"inputs\": []}' http://gateway:8008/v2/models/m/infer
  inference-mesh explain -c plugin.yaml --curl \"curl http://gateway:8008/v2/models/m/ready\"
  inference-mesh explain -c config.json --filter dynamic-subset --http request.txt

The filters are the very ones that Envoy loads, run here on the request alone: nothing is sent. Exit code 1 says that a
filter refuses the request.";

/// `explain`.
#[derive(Args, Debug)]
pub struct Explain {
    /// Resources that embed filters' configurations, a kustomization, a bootstrap of Envoy's, or with --filter a
    /// filter's own configuration.
    #[arg(short, long, value_name = "FILE|DIR")]
    pub config: PathBuf,
    /// The filter that a plain configuration is for.
    #[arg(long, value_name = "NAME")]
    pub filter: Option<String>,
    /// Where the filter of a plain configuration runs.
    #[arg(long, value_enum, default_value_t = In::Wasm)]
    pub host: In,
    /// Claims that RequestAuthentication has verified, as a JSON object.
    #[arg(long, value_name = "JSON")]
    pub claims: Option<String>,
    /// The port that the request comes in at, for routes that ask for one.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=65535))]
    pub port: Option<u64>,
    /// The request's method: POST where there is data, otherwise GET.
    #[arg(short = 'X', long, value_name = "METHOD")]
    pub method: Option<String>,
    /// A header of the request.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// The request's body, or @FILE.
    #[arg(short, long, value_name = "DATA")]
    pub data: Option<String>,
    /// The request as a command line of curl.
    #[arg(long, value_name = "LINE", conflicts_with_all = ["http", "url", "method", "headers", "data"])]
    pub curl: Option<String>,
    /// The request as an HTTP/1.1 message in a file, or - for standard input.
    #[arg(long, value_name = "FILE|-", conflicts_with_all = ["url", "method", "headers", "data"])]
    pub http: Option<PathBuf>,
    /// Go on with an answer of the server's, which is empty: its gRPC status where the request is gRPC by then, otherwise
    /// its HTTP status.
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(0..=599))]
    pub answer: Option<u16>,
    /// A header of that answer.
    #[arg(long = "answer-header", value_name = "NAME: VALUE", requires = "answer")]
    pub answer_headers: Vec<String>,
    /// How to write the steps.
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    pub output: Form,
    /// The request's URL.
    #[arg(value_name = "URL")]
    pub url: Option<String>,
}

/// A host of filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum In {
    /// A proxy-wasm VM.
    Wasm,
    /// A dynamic module.
    Native,
}

/// A form of steps, or of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Lines.
    Text,
    /// One JSON object.
    Json,
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
