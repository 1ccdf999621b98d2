//! The sentences that prompts are put into.

use ulda_model::text::{IMAGENET_TEMPLATES, ULDA_TEMPLATES};
use ulda_run::spec::{RunConfig, TemplateSet, Templates};

/// The sentences that a run puts its prompts into.
pub fn templates(config: &RunConfig) -> Vec<&str> {
    match &config.text.templates {
        Templates::Published(TemplateSet::Ulda) => ULDA_TEMPLATES.to_vec(),
        Templates::Published(TemplateSet::Imagenet) => IMAGENET_TEMPLATES.to_vec(),
        Templates::Own(own) => own.iter().map(String::as_str).collect(),
    }
}
