//! `coordinator init`.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;

use super::arguments::InitArguments;
use super::common::{print, say};
use crate::config::TEMPLATE;
use crate::exit::{Exit, Stop};

#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error("`{}` is there already\n  hint: give another path, or --force to overwrite it", path.display())]
    Exists { path: PathBuf },
    #[error("write `{}`", path.display())]
    Write { path: PathBuf, source: io::Error },
}

pub fn init(arguments: &InitArguments) -> Result<Exit, Stop> {
    if arguments.path.as_os_str() == "-" {
        print(TEMPLATE)?;
        return Ok(Exit::Done);
    }
    let path = &arguments.path;
    let mut options = OpenOptions::new();
    options.write(true);
    if arguments.force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let written = options
        .open(path)
        .and_then(|mut file| file.write_all(TEMPLATE.as_bytes()));
    written.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => Stop::bad_input(InitError::Exists { path: path.clone() }),
        _ => InitError::Write {
            path: path.clone(),
            source,
        }
        .into(),
    })?;
    say(format_args!("wrote {}", path.display()));
    say(format_args!(
        "next: fill in clip, source and domain, then `coordinator check --config {}`",
        path.display()
    ));
    Ok(Exit::Done)
}
