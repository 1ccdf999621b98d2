//! Writes finished models and style banks in the formats of other programs, whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use ulda_method::stylebank::{StyleBankError, authors_file_name};
use ulda_model::export::{ModelExportError, write_onnx, write_pth, write_torchscript};
use ulda_model::{Weights, WeightsError};
use ulda_run::ExportFormat;
use ulda_run::spec::PathName;

use crate::style_sources::read_bank;

/// Why an export was not written.
#[derive(Debug, thiserror::Error)]
pub enum ExportRefusal {
    #[error(transparent)]
    Weights(WeightsError),
    #[error(transparent)]
    Bank(StyleBankError),
    #[error("`{}` is there and is no empty folder", .0.display())]
    NotEmpty(PathBuf),
    #[error("the model has {bytes} bytes, and an ONNX file less than 2 GiB")]
    TooLarge { bytes: usize },
    #[error("write `{}`", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl ExportRefusal {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Weights(error) => return error.hint(),
            Self::Bank(_) => "name the styles/bank.safetensors of a run",
            Self::NotEmpty(_) => "give a new folder, since stage 2 draws from all files in one",
            Self::TooLarge { .. } => "export it as torchscript",
            Self::Write { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

/// Writes what is in the file `from`, a style bank or a model, to `out`. A file that is there is replaced.
///
/// # Errors
/// `from` is not what the format needs, or the disk refuses.
pub fn export(format: ExportFormat, from: &Path, out: &Path) -> Result<(), ExportRefusal> {
    let write: fn(&Weights, BufWriter<File>) -> Result<(), ModelExportError> = match format {
        ExportFormat::PickleStyles => return export_styles(from, out),
        ExportFormat::Pth => write_pth,
        ExportFormat::Onnx => write_onnx,
        ExportFormat::TorchScript => write_torchscript,
    };
    let weights = Weights::read(from).map_err(ExportRefusal::Weights)?;
    write_whole(out, |beside| {
        let file = ulda_files::create_file(beside).map_err(ModelExportError::Write);
        let written = file.and_then(|file| write(&weights, BufWriter::new(file)));
        written.map_err(|error| match error {
            ModelExportError::Weights(error) => ExportRefusal::Weights(error),
            ModelExportError::TooLarge { bytes } => ExportRefusal::TooLarge { bytes },
            ModelExportError::Write(source) => refused(out, source),
        })
    })
}

/// Writes one folder per domain, and in it one file per style.
fn export_styles(from: &Path, out: &Path) -> Result<(), ExportRefusal> {
    let unreadable = |reason: String| {
        let origin = from.display().to_string();
        ExportRefusal::Bank(StyleBankError::Unreadable { origin, reason })
    };
    let bank = read_bank(from).map_err(ExportRefusal::Bank)?;
    let domains = &bank.header().domains;
    if let Some(domain) = domains
        .iter()
        .find(|domain| domain.name.parse::<PathName>().is_err())
    {
        return Err(unreadable(format!(
            "its domain `{}` is no name of a folder",
            domain.name
        )));
    }
    if fs::exists(out).is_ok_and(|there| there) && !is_empty_folder(out) {
        return Err(ExportRefusal::NotEmpty(out.to_owned()));
    }
    write_whole(out, |beside| {
        let write = || -> io::Result<()> {
            for domain in domains {
                fs::create_dir_all(beside.join(&domain.name))?;
            }
            for (image, domain, style) in bank.iter() {
                let path = beside.join(&domains[domain].name).join(authors_file_name(image));
                io::Write::write_all(&mut File::create_new(path)?, &style.to_authors_pickle())?;
            }
            Ok(())
        };
        write().map_err(|source| refused(out, source))
    })
}

fn is_empty_folder(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

/// Lets `write` make a file or folder beside `out`, and renames it.
fn write_whole(
    out: &Path,
    write: impl FnOnce(&Path) -> Result<(), ExportRefusal>,
) -> Result<(), ExportRefusal> {
    let disk = |source| refused(out, source);
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(disk)?;
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!(".{name}.{}.writing", std::process::id()));
    write(&beside)
        .and_then(|()| fs::rename(&beside, out).map_err(disk))
        .inspect_err(|_| {
            let _ = fs::remove_file(&beside).or_else(|_| fs::remove_dir_all(&beside));
        })
}

fn refused(path: &Path, source: io::Error) -> ExportRefusal {
    let path = path.to_owned();
    ExportRefusal::Write { path, source }
}
