//! `coordinator completions` and `coordinator manual`.

use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use super::arguments::Cli;
use super::common::print;
use crate::exit::{Exit, Stop};

pub fn completions(shell: Shell) -> Result<Exit, Stop> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "coordinator", &mut text);
    print(&String::from_utf8_lossy(&text))?;
    Ok(Exit::Done)
}

/// One page for the program and one for each verb.
pub fn manual(folder: &Path) -> Result<Exit, Stop> {
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        .with_context(|| format!("write manual pages into `{}`", folder.display()))?;
    Ok(Exit::Done)
}
