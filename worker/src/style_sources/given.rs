//! The style bank that a run is given: the file of another run, or the files of the authors' stage 1.

use std::fs;
use std::path::{Path, PathBuf};

use ulda_method::stylebank::{BankHeader, BankStyle, StyleBank, StyleBankError, image_of_authors_file};
use ulda_model::Backbone;
use ulda_run::spec::{DOMAIN_IN_BANK, RunConfig, names_each_domain};

use super::bank_header;

/// Largest file of a style that is read; one of RN50 has about 3 KiB.
const MOST_STYLE_BYTES: u64 = 1 << 20;
/// Largest bank that is read; that of six domains over Cityscapes has 37 MB.
const MOST_BANK_BYTES: u64 = 1 << 30;

/// The styles of this run's domains in what `simulate.bank` names; none where the run names no bank.
///
/// # Errors
/// When a file is unreadable, or was made with other weights, or one of the domains has no style.
pub fn given_bank(config: &RunConfig, clip: &Backbone) -> Result<Option<StyleBank>, StyleBankError> {
    let Some(path) = config.simulate.bank.as_ref().filter(|_| config.needs_styles()) else {
        return Ok(None);
    };
    let header = bank_header(config, clip);
    if names_each_domain(path) || path.is_dir() {
        return authors_bank(path, header).map(Some);
    }
    let origin = path.display().to_string();
    read_bank(path)?.select(&header, &origin).map(Some)
}

/// The style bank in a file.
///
/// # Errors
/// When it cannot be read, or is none.
pub fn read_bank(path: &Path) -> Result<StyleBank, StyleBankError> {
    let origin = path.display().to_string();
    let bytes = read_bounded(path, MOST_BANK_BYTES).map_err(|reason| StyleBankError::Unreadable {
        origin: origin.clone(),
        reason,
    })?;
    StyleBank::from_bytes(&bytes, &origin)
}

/// The authors' styles of all domains. Their files do not say which weights they were made with, so only the number of
/// channels is compared.
fn authors_bank(path: &Path, header: BankHeader) -> Result<StyleBank, StyleBankError> {
    let domains = header.domains.clone();
    let mut bank = StyleBank::new(header);
    for (number, domain) in domains.iter().enumerate() {
        let mut folder = folder_of(path, &domain.name);
        // PODA has one domain, and its folder may be named itself.
        if domains.len() == 1 && !folder.is_dir() && path.is_dir() {
            path.clone_into(&mut folder);
        }
        let none = |problem: String| StyleBankError::NoStyles {
            domain: domain.name.clone(),
            folder: folder.display().to_string(),
            problem,
        };
        let files = style_files(&folder).map_err(none)?;
        for (image, file) in &files {
            let origin = file.display().to_string();
            let unreadable = |reason: String| StyleBankError::UnreadableStyle {
                origin: origin.clone(),
                reason,
            };
            let bytes = read_bounded(file, MOST_STYLE_BYTES).map_err(unreadable)?;
            let style = BankStyle::from_authors_pickle(&bytes, &origin)?;
            bank.insert(image, number, style).map_err(|error| match error {
                StyleBankError::BadStyle { problem, .. } => unreadable(problem),
                error => error,
            })?;
        }
    }
    Ok(bank)
}

fn folder_of(bank: &Path, domain: &str) -> PathBuf {
    match names_each_domain(bank) {
        true => bank.to_string_lossy().replace(DOMAIN_IN_BANK, domain).into(),
        false => bank.join(domain),
    }
}

/// The images and files of a domain's styles; what is wrong with the folder where there are none.
fn style_files(folder: &Path) -> Result<Vec<(String, PathBuf)>, String> {
    if !folder.is_dir() {
        let wrong = if folder.exists() {
            "is not a folder"
        } else {
            "does not exist"
        };
        return Err(wrong.to_owned());
    }
    let unlisted = |error: std::io::Error| format!("cannot be listed: {error}");
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unlisted)? {
        let path = entry.map_err(unlisted)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(image) = image_of_authors_file(&name) {
            files.push((image.to_owned(), path.clone()));
        }
    }
    if files.is_empty() {
        return Err("holds no .pkl file".to_owned());
    }
    files.sort();
    match files.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(format!("has two styles of image `{}`", pair[0].0)),
        None => Ok(files),
    }
}

/// A plain file of at most so many bytes; pipes and devices are refused.
fn read_bounded(file: &Path, most_bytes: u64) -> Result<Vec<u8>, String> {
    ulda_files::read_file(file, most_bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulda_method::stylebank::{BankDomain, authors_file_name};

    fn header(domains: &[&str]) -> BankHeader {
        let domains = domains.iter().map(|name| BankDomain {
            name: (*name).to_owned(),
            prompt: format!("driving in {name}"),
        });
        BankHeader {
            backbone: "abc".into(),
            channels: 2,
            domains: domains.collect(),
        }
    }

    fn style(value: f32) -> BankStyle {
        BankStyle {
            mean: vec![value, -value],
            std: vec![0.5, value],
        }
    }

    fn leave(folder: &Path, image: &str, style: &BankStyle) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join(authors_file_name(image)), style.to_authors_pickle()).unwrap();
    }

    #[test]
    fn styles_are_found_by_the_names_of_their_folders() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        leave(&at("six_fog"), "b", &style(1.0));
        leave(&at("six_fog"), "a", &style(2.0));
        leave(&at("six_night"), "a", &style(3.0));
        fs::write(at("six_night").join("notes.txt"), "of May").unwrap();
        let bank = authors_bank(&at("six_{domain}"), header(&["night", "fog"])).unwrap();
        let rows = bank
            .iter()
            .map(|(image, domain, style)| (image, domain, style.clone()));
        let found: Vec<_> = rows.collect();
        let expected = [("a", 0, style(3.0)), ("a", 1, style(2.0)), ("b", 1, style(1.0))];
        assert_eq!(found, expected);

        for (from, to) in [("six_fog", "fog"), ("six_night", "night")] {
            fs::rename(at(from), at(to)).unwrap();
        }
        assert_eq!(
            authors_bank(folder.path(), header(&["night", "fog"])).unwrap(),
            bank
        );
        let fog = authors_bank(folder.path(), header(&["fog"])).unwrap();
        let named_itself = authors_bank(&at("fog"), header(&["fog"])).unwrap();
        assert_eq!(named_itself, fog);
        assert_eq!(fog.len(), 2);
    }

    #[test]
    fn what_is_no_style_is_refused_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let refused = || {
            let error = authors_bank(folder.path(), header(&["fog", "night"])).unwrap_err();
            assert!(error.hint().is_some());
            error
                .to_string()
                .replace(&folder.path().display().to_string(), "X")
        };
        leave(&at("fog"), "a", &style(1.0));
        assert_eq!(
            refused(),
            "domain `night` has no styles: `X/night` does not exist"
        );
        fs::write(at("night"), "").unwrap();
        assert_eq!(
            refused(),
            "domain `night` has no styles: `X/night` is not a folder"
        );
        fs::remove_file(at("night")).unwrap();
        fs::create_dir(at("night")).unwrap();
        assert_eq!(
            refused(),
            "domain `night` has no styles: `X/night` holds no .pkl file"
        );
        let other = BankStyle {
            mean: vec![0.0; 3],
            std: vec![0.0; 3],
        };
        for (style, reason) in [
            (other, "3 means and 3 deviations for 2 channels"),
            (style(f32::NAN), "a value is not finite"),
        ] {
            leave(&at("night"), "a", &style);
            assert_eq!(
                refused(),
                format!("style `X/night/a.png.pkl` is not readable: {reason}")
            );
        }
        fs::write(
            at("night").join("a.png.pkl"),
            vec![b'N'; MOST_STYLE_BYTES as usize + 1],
        )
        .unwrap();
        assert!(refused().ends_with("it has 1048577 bytes, and at most 1048576 are read"));
        fs::write(at("night").join("a.png.pkl"), "no style").unwrap();
        assert!(refused().starts_with("style `X/night/a.png.pkl` is not readable: operation 0x6e"));
        fs::remove_file(at("night/a.png.pkl")).unwrap();
        fs::create_dir(at("night/a.png.pkl")).unwrap();
        assert_eq!(
            refused(),
            "style `X/night/a.png.pkl` is not readable: it is a folder, not a file"
        );
    }
}
