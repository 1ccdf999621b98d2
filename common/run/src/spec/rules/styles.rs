//! Rules of the target domains and of where their styles come from.

use std::collections::BTreeSet;

use super::SpecRules;
use crate::spec::storage::is_url;
use crate::spec::styles::{DOMAIN_IN_BANK, StyleDraw, StyleSource, names_each_domain};
use crate::spec::text::Templates;

impl SpecRules<'_> {
    pub(super) fn domains(&mut self) {
        let domains = &self.config.domains;
        if domains.is_empty() && self.config.needs_styles() {
            self.problem(
                "domain",
                "there is no target domain",
                "add `[[domain]]` with a name and a prompt",
            );
        }
        let mut seen = BTreeSet::new();
        for (index, domain) in domains.iter().enumerate() {
            let key = format!("domain[{index}]");
            if !seen.insert(domain.name.folded()) {
                self.twice(&key, &domain.name);
            }
            let prompts = domain.prompt.all();
            if prompts.is_empty() || prompts.iter().any(|prompt| prompt.trim().is_empty()) {
                self.problem(
                    &format!("{key}.prompt"),
                    "is empty",
                    "describe the domain, such as \"driving at night\"",
                );
            }
        }
    }

    pub(super) fn text(&mut self) {
        const KEY: &str = "text.templates";
        const HINT: &str = "give sentences such as \"a photo of a {}.\"";
        let Templates::Own(templates) = &self.config.text.templates else {
            return;
        };
        if templates.is_empty() {
            self.problem(KEY, "is empty", HINT);
        }
        for template in templates
            .iter()
            .filter(|template| template.matches("{}").count() != 1)
        {
            self.problem(
                KEY,
                format!("`{template}` does not have {{}} once, where the prompt goes"),
                HINT,
            );
        }
    }

    /// The keys that name styles are set where they are used, and only there.
    pub(super) fn styles(&mut self) {
        let config = self.config;
        if !config.needs_styles() {
            return;
        }
        let source = config.simulate.styles;
        match (&config.simulate.bank, source) {
            (None, StyleSource::Bank) => self.problem(
                "simulate.bank",
                "is not set, and simulate.styles is bank",
                "name the styles/bank.safetensors of another run, or a folder with the authors' styles",
            ),
            (Some(_), StyleSource::Learned | StyleSource::Content | StyleSource::Images) => self.problem(
                "simulate.bank",
                format!("is set, and simulate.styles is {}", source.name()),
                "remove it, or set simulate.styles = \"bank\"",
            ),
            (Some(bank), StyleSource::Bank) if is_url(bank) && names_each_domain(bank) => self.problem(
                "simulate.bank",
                format!(
                    "is the URL `{}`, where {DOMAIN_IN_BANK} is not filled in",
                    bank.display()
                ),
                "name the folder that holds one folder per domain, of the domain's name",
            ),
            (None, _) | (Some(_), StyleSource::Bank) => {}
        }
        for (index, domain) in config.domains.iter().enumerate() {
            let key = format!("domain[{index}].images");
            match (domain.images.is_empty(), source) {
                (true, StyleSource::Images) => self.problem(
                    &key,
                    "is empty, and simulate.styles is images",
                    "name PNG or JPEG files, or folders that hold some",
                ),
                (false, StyleSource::Content | StyleSource::Bank) => self.problem(
                    &key,
                    format!("is set, and simulate.styles is {}", source.name()),
                    "remove it, or set simulate.styles = \"images\"",
                ),
                // Learned styles are compared with them.
                (true, _) | (false, StyleSource::Images | StyleSource::Learned) => {}
            }
        }
    }

    /// A batch of adapt has as many different styles as images. How many given images and banks hold is found where they
    /// are read.
    pub(super) fn styles_per_step(&mut self) {
        let simulate = &self.config.simulate;
        let batch = self.config.adapt.batch;
        let styles = simulate
            .batches
            .saturating_mul(u64::from(simulate.batch))
            .saturating_mul(self.config.domains.len() as u64);
        let draw = self.config.adapt.draw;
        if draw == StyleDraw::Own && !simulate.styles.reads_source() {
            self.problem(
                "adapt.draw",
                format!(
                    "is own, and with simulate.styles = \"{}\" no style is made from a training image",
                    simulate.styles.name()
                ),
                "make it different or any",
            );
        }
        let short = draw == StyleDraw::Different && u64::from(batch) > styles;
        if simulate.styles.reads_source() && styles > 0 && short {
            self.problem(
                "adapt.batch",
                format!("{batch} images per step need as many different styles, and simulate makes {styles}"),
                "lower adapt.batch, raise simulate.batches, or make adapt.draw any",
            );
        }
    }
}
