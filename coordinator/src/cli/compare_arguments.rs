//! What can be said after `coordinator compare`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::compare::ScoredModel;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub enum ComparisonFormat {
    #[default]
    Text,
    Csv,
    Html,
}

#[derive(Clone, Debug, Args)]
pub struct CompareArguments {
    /// Directories of finished runs, as [LABEL[:MODEL]=]RUN[,RUN...]; all runs of one label are one method, and those of
    /// them with one seed count as one [default label: the run's name without a seed such as -s3 at its end]
    #[arg(value_name = "RUNS", required = true, value_parser = RunsArgument::parse)]
    pub runs: Vec<RunsArgument>,
    /// Model whose scores count [default: adapted, or source-only where there is no adapted one]
    #[arg(long, value_name = "MODEL")]
    pub model: Option<ScoredModel>,
    /// Method that the others are compared with, seed by seed [default: the first]
    #[arg(long, value_name = "LABEL")]
    pub reference: Option<String>,
    /// Only these evaluation sets, in this order
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    pub sets: Vec<String>,
    /// Show the scores of every seed as well; CSV and HTML always hold them
    #[arg(long)]
    pub per_seed: bool,
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: ComparisonFormat,
    /// Write into this file instead of standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// `[LABEL[:MODEL]=]RUN[,RUN…]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunsArgument {
    pub label: Option<String>,
    pub model: Option<ScoredModel>,
    pub runs: Vec<PathBuf>,
}

impl RunsArgument {
    fn parse(text: &str) -> Result<Self, String> {
        let (name, runs) = match text.split_once('=') {
            Some((name, runs)) => (Some(name), runs),
            None => (None, text),
        };
        let (label, model) = match name.map(|name| name.rsplit_once(':').unwrap_or((name, ""))) {
            Some((label, "")) => (Some(label), None),
            Some((label, model)) => (Some(label), Some(parse_model(model)?)),
            None => (None, None),
        };
        if label == Some("") {
            return Err("the label before `=` is empty".to_owned());
        }
        if runs.split(',').any(str::is_empty) {
            return Err("the name of a run is empty; give RUN[,RUN...]".to_owned());
        }
        Ok(Self {
            label: label.map(str::to_owned),
            model,
            runs: runs.split(',').map(PathBuf::from).collect(),
        })
    }
}

fn parse_model(text: &str) -> Result<ScoredModel, String> {
    ScoredModel::from_str(text, false)
        .map_err(|_| format!("`{text}` is no model; give adapted, adapted-best or source-only after `:`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_models_are_optional() {
        let argument = |label: Option<&str>, model, runs: &[&str]| RunsArgument {
            label: label.map(str::to_owned),
            model,
            runs: runs.iter().map(PathBuf::from).collect(),
        };
        for (text, parsed) in [
            ("runs/a", argument(None, None, &["runs/a"])),
            ("a=x,y", argument(Some("a"), None, &["x", "y"])),
            (
                "a:source-only=x",
                argument(Some("a"), Some(ScoredModel::SourceOnly), &["x"]),
            ),
            ("a=x=y", argument(Some("a"), None, &["x=y"])),
        ] {
            assert_eq!(RunsArgument::parse(text), Ok(parsed), "{text}");
        }
        for (text, sentence) in [
            ("=x", "the label before `=` is empty"),
            (
                "a:best=x",
                "`best` is no model; give adapted, adapted-best or source-only after `:`",
            ),
            ("a=", "the name of a run is empty; give RUN[,RUN...]"),
            ("a=x,,y", "the name of a run is empty; give RUN[,RUN...]"),
            ("", "the name of a run is empty; give RUN[,RUN...]"),
        ] {
            assert_eq!(RunsArgument::parse(text), Err(sentence.to_owned()), "{text}");
        }
    }
}
