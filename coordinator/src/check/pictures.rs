//! What is wrong with the images that domains name.

use std::path::Path;

use ulda_dataset::{Depth, LEAST_SIDE, Picture, PicturesError, list_pictures};
use ulda_run::Finding;
use ulda_run::spec::{RunConfig, StyleSource, is_url};

use super::data::MOST_LISTED;
use super::finding::finding;

/// Looks at every image of every domain. `config` has those inputs on this host that are there; others are left to who
/// fetches them.
pub(super) fn findings(config: &RunConfig, depth: Depth) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !config.needs_styles() {
        return findings;
    }
    // Known once all could be listed.
    let mut styles = Some(0);
    for (domain, named) in config.domains.iter().enumerate() {
        for (index, entry) in named.images.iter().enumerate() {
            let key = format!("domain[{domain}].images[{index}]");
            let listed = match is_url(entry) {
                true => None,
                false => list(entry)
                    .map_err(|error| findings.push(finding(&key, &error, error.hint())))
                    .ok(),
            };
            styles = styles
                .zip(listed.as_ref())
                .map(|(styles, listed)| styles + listed.len());
            let audited = listed
                .iter()
                .flatten()
                .map(|picture| picture.audit(depth, LEAST_SIDE));
            let wrong = audited.filter_map(Result::err).take(MOST_LISTED);
            findings.extend(wrong.map(|error| finding(&key, &error, error.hint())));
        }
    }
    let least = config.least_styles();
    let given = config.simulate.styles == StyleSource::Images;
    let too_few = styles.filter(|styles| given && *styles < least);
    findings.extend(too_few.map(|styles| {
        let what = format!(
            "{least} images per step need as many different styles, and the images of the domains give {styles}"
        );
        Finding::new("adapt.batch", what, "lower adapt.batch, or name more images")
    }));
    findings
}

fn list(entry: &Path) -> Result<Vec<Picture>, PicturesError> {
    let pictures = list_pictures(entry)?;
    match pictures.is_empty() {
        true => Err(PicturesError::Empty(entry.to_owned())),
        false => Ok(pictures),
    }
}
