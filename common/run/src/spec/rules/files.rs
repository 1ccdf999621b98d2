//! Rules of data sets in an arrangement of their own.

use super::SpecRules;
use crate::classes::Classes;
use crate::spec::datasets::Layout;
use crate::spec::files::FilesConfig;

impl SpecRules<'_> {
    pub(super) fn files(&mut self) {
        let config = self.config;
        let source = &config.source;
        // Wrong ones are reported by their own rule.
        let classes = &Classes::of(&config.classes).unwrap_or_default();
        self.files_of("source", source.layout, &source.files, classes);
        let is_one_set = source.train != source.validation && !source.files.depends_on_split();
        if source.layout == Layout::Files && source.files.images.is_some() && is_one_set {
            self.problem(
                "source.files.images",
                "does not depend on the split, so that training and validation images would be the same",
                "write {split} where the paths of training and validation images differ",
            );
        }
        for (index, set) in config.evaluate.sets.iter().enumerate() {
            self.files_of(&format!("evaluate.set[{index}]"), set.layout, &set.files, classes);
        }
    }

    fn files_of(&mut self, section: &str, layout: Layout, files: &FilesConfig, classes: &Classes) {
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
        let problems = [files.pairing("split").err(), files.values(classes).err()];
        for problem in problems.into_iter().flatten() {
            self.problem(
                &format!("{section}.files.{}", problem.key),
                problem.what,
                problem.hint,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::spec::{EndAfter, Host, RunConfig, RunSpec};

    /// The keys that are wrong in a run with these sections.
    fn wrong(source: &str) -> Vec<String> {
        let text = format!("[clip]\ncheckpoint = \"RN50.pt\"\n[source]\nroot = \"data\"\n{source}");
        let mut config: RunConfig = toml::from_str(&text).unwrap();
        config.run.end_after = EndAfter::Pretrain;
        let resolved = RunSpec::resolve(config, Host { workers: 1, cores: 1 });
        let problems = resolved.map_or_else(|problems| problems.0, |_| Vec::new());
        problems.into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn files_are_described_where_the_layout_is_files_and_only_there() {
        let files = |rest: &str| wrong(&format!("layout = \"files\"\n[source.files]\n{rest}"));
        let pair = "images = \"{split}/*.jpg\"\nlabels = \"{split}/*.png\"";
        assert_eq!(files(pair), [""; 0]);
        assert_eq!(wrong(&format!("[source.files]\n{pair}")), ["source.files"]);
        assert_eq!(files(""), ["source.files.images"]);
        assert_eq!(
            files("images = \"a/*.jpg\"\nlabels = \"b/*.png\""),
            ["source.files.images"]
        );
        assert_eq!(
            files("images = \"{split}/*.jpg\"\nlabels = \"{split}/*/*.png\"\nlabel_values = { 7 = 19 }"),
            ["source.files.labels", "source.files.label_values"]
        );
        let encoded = format!("{pair}\nlabel_encoding = \"train-ids\"\nlabel_values = {{ 7 = 0 }}");
        assert_eq!(files(&encoded), ["source.files.label_values"]);
        let set = "[[evaluate.set]]\nname = \"x\"\nlayout = \"files\"\nroot = \"x\"";
        assert_eq!(wrong(set), ["evaluate.set[0].files.images"]);
    }
}
