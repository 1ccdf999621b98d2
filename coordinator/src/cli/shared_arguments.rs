//! Arguments that verbs of the run and verbs of the cluster have in common.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::config::Edit;

#[derive(Clone, Debug, Args)]
pub struct ConfigArguments {
    /// The run's configuration [default: run.toml, if there is one]
    #[arg(long, short, value_name = "FILE", env = "ULDA_CONFIG")]
    pub config: Option<PathBuf>,
    /// Change one key, such as adapt.steps=500 or domain.0.prompt="driving at dusk"; can be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = Edit::parse)]
    pub sets: Vec<Edit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub enum OutputFormat {
    #[default]
    Table,
    Json,
}
