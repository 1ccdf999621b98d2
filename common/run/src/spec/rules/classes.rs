//! Rules of the classes, and of the data sets that have to have them.

use super::SpecRules;
use crate::classes::Classes;
use crate::spec::datasets::Layout;
use crate::spec::files::{FilesConfig, LabelEncoding};

impl SpecRules<'_> {
    pub(super) fn classes(&mut self) {
        let config = self.config;
        let classes = match Classes::of(&config.classes) {
            Ok(classes) => classes,
            Err(problems) => {
                for problem in problems {
                    self.problem(&format!("classes.{}", problem.key), problem.what, problem.hint);
                }
                return;
            }
        };
        if classes.has_label_ids() {
            return;
        }
        if config.trains() {
            let source = &config.source;
            self.labels_of("source", source.layout, &source.files);
        }
        for (index, set) in config.evaluate.sets.iter().enumerate() {
            self.labels_of(&format!("evaluate.set[{index}]"), set.layout, &set.files);
        }
    }

    /// Labels of classes that Cityscapes does not have.
    fn labels_of(&mut self, section: &str, layout: Layout, files: &FilesConfig) {
        if layout != Layout::Files {
            self.problem(
                &format!("{section}.layout"),
                "has labels of Cityscapes' classes, and classes.names gives others",
                "make it files, and map its ids by files.label_values",
            );
        } else if files.label_encoding == LabelEncoding::LabelIds && files.label_values.is_empty() {
            self.problem(
                &format!("{section}.files.label_encoding"),
                "is label-ids, ids of Cityscapes, and classes.names gives other classes",
                "make it train-ids or colours, or list the ids in files.label_values",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::spec::{Host, RunConfig, RunSpec};

    /// The keys that are wrong in a run with these sections.
    fn wrong(sections: &str) -> Vec<String> {
        let text = format!("[clip]\ncheckpoint = \"RN50.pt\"\n[run]\nend_after = \"pretrain\"\n{sections}");
        let config: RunConfig = toml::from_str(&text).unwrap();
        let resolved = RunSpec::resolve(config, Host { workers: 1, cores: 1 });
        let problems = resolved.map_or_else(|problems| problems.0, |_| Vec::new());
        problems.into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn own_classes_need_labels_of_their_own() {
        const OWN: &str = "[classes]\nnames = [\"sky\", \"water\"]\n[source]\nroot = \"x\"\n";
        const FILES: &str =
            "layout = \"files\"\n[source.files]\nimages = \"{split}/*.jpg\"\nlabels = \"{split}/*.png\"\n";
        assert_eq!(wrong(OWN), ["source.layout"]);
        assert_eq!(wrong(&format!("{OWN}{FILES}")), ["source.files.label_encoding"]);
        for labels in [
            "label_encoding = \"train-ids\"",
            "label_encoding = \"colours\"",
            "label_values = { 9 = 1 }",
        ] {
            assert_eq!(wrong(&format!("{OWN}{FILES}{labels}")), [""; 0]);
        }
        let beyond = wrong(&format!("{OWN}{FILES}label_values = {{ 9 = 2 }}"));
        assert_eq!(beyond, ["source.files.label_values"]);
        let set = format!(
            "{OWN}{FILES}label_encoding = \"train-ids\"\n[[evaluate.set]]\nname = \"x\"\nlayout = \"cityscapes\"\nroot = \"x\""
        );
        assert_eq!(wrong(&set), ["evaluate.set[0].layout"]);
    }

    #[test]
    fn classes_that_cannot_be_are_all_told() {
        let source = "[source]\nroot = \"x\"\n";
        let own = format!("[classes]\nnames = [\"sky\", \"sky\"]\ncolours = [\"#000000\"]\n{source}");
        assert_eq!(wrong(&own), ["classes.names", "classes.colours"]);
        assert_eq!(
            wrong(&format!("[classes]\nnames = []\n{source}")),
            ["classes.names"]
        );
    }
}
