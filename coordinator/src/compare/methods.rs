//! Which runs belong together: all runs of one label are one method.

use super::{CompareError, ComparedRun, ScoredModel};

/// Runs that were named together.
#[derive(Debug)]
pub struct NamedRuns {
    /// `None`: each run's name without its seed is its label.
    pub label: Option<String>,
    /// `None`: as for all methods.
    pub model: Option<ScoredModel>,
    pub runs: Vec<ComparedRun>,
}

/// All runs of one label, in the order in which they were named.
#[derive(Debug)]
pub struct ComparedMethod {
    pub label: String,
    /// The model that this method's label asks for.
    pub model: Option<ScoredModel>,
    pub runs: Vec<ComparedRun>,
}

/// Sorts named runs into methods, in the order in which their labels occur first.
///
/// # Errors
/// A run occurs twice in a method, or a label asks for two models.
pub fn methods(named: Vec<NamedRuns>) -> Result<Vec<ComparedMethod>, CompareError> {
    let mut methods: Vec<ComparedMethod> = Vec::new();
    for NamedRuns { label, model, runs } in named {
        for run in runs {
            let label = label
                .as_deref()
                .unwrap_or_else(|| without_seed(run.config.run.name.as_str()))
                .to_owned();
            match methods.iter_mut().find(|method| method.label == label) {
                Some(method) => method.add(model, run)?,
                None => methods.push(ComparedMethod {
                    label,
                    model,
                    runs: vec![run],
                }),
            }
        }
    }
    Ok(methods)
}

impl ComparedMethod {
    fn add(&mut self, model: Option<ScoredModel>, run: ComparedRun) -> Result<(), CompareError> {
        let label = || self.label.clone();
        if let (Some(first), Some(second)) = (self.model, model)
            && first != second
        {
            return Err(CompareError::TwoModels {
                label: label(),
                first: first.name(),
                second: second.name(),
            });
        }
        if self.runs.iter().any(|known| known.place == run.place) {
            return Err(CompareError::Twice {
                run: run.path,
                label: label(),
            });
        }
        self.model = self.model.or(model);
        self.runs.push(run);
        Ok(())
    }
}

/// A run's name without `-s3`, `-seed3` and the like at its end.
fn without_seed(name: &str) -> &str {
    let Some((rest, last)) = name.rsplit_once(['-', '_']) else {
        return name;
    };
    let number = last.strip_prefix("seed").or_else(|| last.strip_prefix('s'));
    let is_seed = |number: &str| !number.is_empty() && number.chars().all(|c| c.is_ascii_digit());
    if !rest.is_empty() && number.is_some_and(is_seed) {
        rest
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_seed_at_the_end_is_taken_off() {
        for (name, label) in [
            ("ulda-s3", "ulda"),
            ("ulda-seed12", "ulda"),
            ("ulda_s3", "ulda"),
            ("poda-fog_seed1", "poda-fog"),
            ("ulda", "ulda"),
            ("ulda-s", "ulda-s"),
            ("ulda-3", "ulda-3"),
            ("ulda-snow3", "ulda-snow3"),
            ("ulda-s3-long", "ulda-s3-long"),
            ("s3", "s3"),
            ("-s3", "-s3"),
        ] {
            assert_eq!(without_seed(name), label, "{name}");
        }
    }
}
