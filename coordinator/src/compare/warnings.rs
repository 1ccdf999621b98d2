//! What makes runs hard to compare: other images, other weights, other settings.

use std::collections::BTreeMap;

use toml::Table;
use ulda_run::CITYSCAPES;

use super::sets::ComparedSets;
use super::{ComparedMethod, ComparedRun, MethodDifferences, MethodScores};
use crate::config::{KeyDifference, differences};

/// Keys shown of those in which two runs differ.
const SHOWN: usize = 8;
/// Runs shown of those that are alike.
const RUNS: usize = 3;
/// Characters shown of a digest.
const DIGEST: usize = 12;

/// Keys and sections that say where a run is and how it goes on, and not what it computes.
const FREE_KEYS: [&str; 4] = ["run.name", "run.seed", "run.directory", "evaluate.examples"];
const FREE_SECTIONS: [&str; 4] = ["checkpoint.", "deadline.", "recovery.", "storage."];
/// What runs of one method may each have of their own if they adapt to other domains: one model per weather.
const DOMAIN_SECTIONS: [&str; 2] = ["domain[", "evaluate.set["];

/// About what went into the runs.
pub(super) fn of_runs(methods: &[ComparedMethod], sets: &ComparedSets) -> Vec<String> {
    let mut runs: Vec<&ComparedRun> = Vec::new();
    for run in methods.iter().flat_map(|method| &method.runs) {
        if !runs.iter().any(|known| known.place == run.place) {
            runs.push(run);
        }
    }
    let mut warnings: Vec<String> = sets.names.iter().filter_map(|set| images(&runs, set)).collect();
    warnings.extend(sets.names.iter().filter_map(|set| domains(&runs, set)));
    warnings.extend(weights(&runs));
    warnings.extend(classes(&runs));
    warnings.extend(methods.iter().flat_map(configurations));
    warnings
}

/// About what came out of them.
pub(super) fn of_scores(
    methods: &[MethodScores],
    differences: &[MethodDifferences],
    sets: &ComparedSets,
) -> Vec<String> {
    let mut warnings = Vec::new();
    for method in methods {
        if method.model.contains(',') {
            warnings.push(format!(
                "method `{}` mixes the models {}",
                method.label, method.model
            ));
        }
        for seed in &method.seeds {
            let missing = |(set, value): (&String, &Option<f64>)| value.is_none().then(|| set.clone());
            let missing: Vec<String> = sets.names.iter().zip(&seed.values).filter_map(missing).collect();
            if missing.is_empty() {
                continue;
            }
            let mean = if missing.iter().any(|set| sets.targets.contains(set)) {
                "; its mean of targets is left out"
            } else {
                ""
            };
            let missing = quoted(missing.iter());
            warnings.push(format!(
                "method `{}` has no score on {missing} for seed {}{mean}",
                method.label, seed.seed
            ));
        }
    }
    let without = differences.iter().filter(|method| method.common_seeds == 0);
    warnings.extend(without.map(|method| {
        format!(
            "method `{}` has no seed in common with the reference",
            method.label
        )
    }));
    warnings
}

fn images(runs: &[&ComparedRun], set: &str) -> Option<String> {
    let counts = by(runs, |run| Some(scored(run, set)?.images));
    (counts.len() > 1).then(|| {
        let counts = counts
            .iter()
            .map(|(images, runs)| format!("{images} images in {runs}"));
        format!(
            "evaluation set `{set}` has {}",
            counts.collect::<Vec<_>>().join(" and ")
        )
    })
}

fn domains(runs: &[&ComparedRun], set: &str) -> Option<String> {
    let domains = by(runs, |run| Some(scored(run, set)?.target));
    let (source, target) = (domains.get(&false)?, domains.get(&true)?);
    Some(format!(
        "evaluation set `{set}` is of the source's images in {source} and a target in {target}; it is left out of the mean of \
         targets"
    ))
}

fn weights(runs: &[&ComparedRun]) -> Option<String> {
    let digests = by(runs, |run| {
        let digest = &run.clip.digest;
        (!digest.is_empty()).then(|| digest.chars().take(DIGEST).collect::<String>())
    });
    (digests.len() > 1).then(|| {
        let digests = digests.iter().map(|(digest, runs)| format!("{digest} in {runs}"));
        format!(
            "the runs stand on different CLIP weights: {}",
            digests.collect::<Vec<_>>().join("; ")
        )
    })
}

/// Means over other classes are other measures.
fn classes(runs: &[&ComparedRun]) -> Option<String> {
    let own = |names: &Vec<String>| !names.iter().eq(CITYSCAPES.iter().map(|class| &class.name));
    let counts = by(runs, |run| Some(run.config.classes.names.clone().filter(own)));
    (counts.len() > 1).then(|| {
        let counts = counts.iter().map(|(names, runs)| match names {
            Some(names) => format!("{} of their own in {runs}", names.len()),
            None => format!("those of Cityscapes in {runs}"),
        });
        let counts = counts.collect::<Vec<_>>().join("; ");
        format!("the runs score other classes, so that their mIoU are not comparable: {counts}")
    })
}

/// Each run is held against the first of its method that adapts to the same domains; those, against the first of all, in
/// what does not belong to a domain.
fn configurations(method: &ComparedMethod) -> Vec<String> {
    let mut firsts: Vec<&ComparedRun> = Vec::new();
    let mut warnings = Vec::new();
    for run in &method.runs {
        let same = firsts.iter().find(|first| adapts_alike(first, run)).copied();
        let other = same.or_else(|| firsts.first().copied());
        let compared =
            |key: &str| same.is_some() || !DOMAIN_SECTIONS.iter().any(|section| key.starts_with(section));
        if let Some(other) = other {
            let found = unexpected(other, run);
            let found: Vec<_> = found.into_iter().filter(|found| compared(&found.key)).collect();
            warnings.extend(mixed(&method.label, other, run, &found));
        }
        if same.is_none() {
            firsts.push(run);
        }
    }
    warnings
}

fn adapts_alike(one: &ComparedRun, other: &ComparedRun) -> bool {
    let names = |run: &ComparedRun| -> Vec<String> {
        let domains = run.config.domains.iter();
        domains.map(|domain| domain.name.to_string()).collect()
    };
    names(one) == names(other)
}

/// In what two runs differ besides seed, name, and where their inputs and files are.
fn unexpected(one: &ComparedRun, other: &ComparedRun) -> Vec<KeyDifference> {
    let table =
        |run: &ComparedRun| Table::try_from(&run.config).expect("a resolved configuration is a TOML table");
    let mut config = one.config.clone();
    let inputs: Vec<String> = config.inputs_mut().into_iter().map(|(key, _)| key).collect();
    let mut found = differences(&table(one), &table(other));
    found.retain(|difference| {
        let key = &difference.key;
        let elsewhere = inputs.contains(key) && difference.there.is_some() && difference.here.is_some();
        !elsewhere
            && !FREE_KEYS.contains(&key.as_str())
            && !FREE_SECTIONS.iter().any(|section| key.starts_with(section))
    });
    found
}

fn mixed(label: &str, one: &ComparedRun, other: &ComparedRun, found: &[KeyDifference]) -> Option<String> {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
    let mut keys: Vec<String> = found
        .iter()
        .take(SHOWN)
        .map(|found| {
            format!(
                "{} ({} and {})",
                found.key,
                value(&found.there),
                value(&found.here)
            )
        })
        .collect();
    if found.len() > SHOWN {
        keys.push(format!("and {} more", found.len() - SHOWN));
    }
    (!found.is_empty()).then(|| {
        format!(
            "method `{label}` mixes configurations: `{}` and `{}` differ in {}",
            one.path.display(),
            other.path.display(),
            keys.join(", ")
        )
    })
}

fn scored<'a>(run: &'a ComparedRun, set: &str) -> Option<&'a crate::report::SetScores> {
    run.sets.iter().find(|found| found.set == set)
}

/// The runs by what `of` says of them, as lists of paths; those of which it says nothing are left out.
fn by<K: Ord>(runs: &[&ComparedRun], of: impl Fn(&ComparedRun) -> Option<K>) -> BTreeMap<K, String> {
    let mut groups: BTreeMap<K, Vec<String>> = BTreeMap::new();
    for run in runs {
        if let Some(key) = of(run) {
            groups
                .entry(key)
                .or_default()
                .push(run.path.display().to_string());
        }
    }
    let listed = |paths: Vec<String>| {
        let more = paths.len().saturating_sub(RUNS);
        let shown = quoted(paths.iter().take(RUNS));
        if more > 0 {
            format!("{shown} and {more} more")
        } else {
            shown
        }
    };
    groups
        .into_iter()
        .map(|(key, paths)| (key, listed(paths)))
        .collect()
}

fn quoted<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
