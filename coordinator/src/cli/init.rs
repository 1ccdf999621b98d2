//! `coordinator init`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use ulda_run::spec::RunConfig;

use super::arguments::InitArguments;
use super::common::{print, say};
use crate::config::{Preset, commented_run_toml};
use crate::exit::{Exit, Stop, StopCause};

#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error("`{}` is there already", path.display())]
    Exists { path: PathBuf },
    #[error("write `{}`", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl StopCause for InitError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Exists { .. } => Some("give another path, or --force to overwrite it".to_owned()),
            Self::Write { .. } => None,
        }
    }
}

pub fn init(arguments: &InitArguments) -> Result<Exit, Stop> {
    let config = arguments.preset.map_or_else(RunConfig::default, Preset::config);
    let text = commented_run_toml(&config);
    if arguments.path.as_os_str() == "-" {
        print(&text)?;
        return Ok(Exit::Done);
    }
    let path = &arguments.path;
    let written = write(path, &text, arguments.force);
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

/// Beside the path and renamed, so that what is there stays whole until the new file is.
fn write(path: &Path, text: &str, replace: bool) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    let persisted = match replace {
        true => file.persist(path),
        false => file.persist_noclobber(path),
    };
    persisted.map(drop).map_err(|refused| refused.error)
}
