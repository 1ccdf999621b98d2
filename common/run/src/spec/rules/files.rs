//! Rules of data sets in an arrangement of their own.

use super::SpecRules;
use crate::spec::datasets::Layout;
use crate::spec::files::FilesConfig;

impl SpecRules<'_> {
    pub(super) fn files(&mut self) {
        let config = self.config;
        let source = &config.source;
        self.files_of("source", source.layout, &source.files);
        let is_one_set = source.train != source.validation && !source.files.depends_on_split();
        if source.layout == Layout::Files && source.files.images.is_some() && is_one_set {
            self.problem(
                "source.files.images",
                "does not depend on the split, so that training and validation images would be the same",
                "write {split} where the paths of training and validation images differ",
            );
        }
        for (index, set) in config.evaluate.sets.iter().enumerate() {
            self.files_of(&format!("evaluate.set[{index}]"), set.layout, &set.files);
        }
    }

    fn files_of(&mut self, section: &str, layout: Layout, files: &FilesConfig) {
        if layout != Layout::Files {
            if !files.is_unset() {
                self.problem(
                    &format!("{section}.files"),
                    "is set, but the layout is not files",
                    format!("remove it, or set {section}.layout = \"files\""),
                );
            }
            return;
        }
        let problems = [files.pairing("split").err(), files.values().err()];
        for problem in problems.into_iter().flatten() {
            self.problem(
                &format!("{section}.files.{}", problem.key),
                problem.what,
                problem.hint,
            );
        }
    }
}
