//! What scores can say, given the CLIP weights they stand on. Shown wherever scores are.

use maud::{Markup, html};
use ulda_run::clip::ClipTraining;

/// A heading and a sentence; `None` where the weights' file says nothing.
fn words(training: ClipTraining) -> Option<(&'static str, &'static str)> {
    match training {
        ClipTraining::Unmarked => None,
        ClipTraining::Untrained => Some((
            "Untrained miniature",
            "CLIP is a seeded miniature that was never trained on images and texts: scores show that everything \
             works together, and say nothing about the method.",
        )),
        ClipTraining::GeneratedStreets => Some((
            "CLIP trained on generated streets",
            "CLIP is a small model trained on generated streets and made robust to changed feature statistics, \
             which OpenAI's CLIP is not: scores compare methods here, and say nothing about real photographs.",
        )),
    }
}

/// One line for a terminal, without its end.
pub(crate) fn clip_note(training: ClipTraining) -> Option<String> {
    words(training).map(|(_, sentence)| format!("note: {sentence}"))
}

/// The same on a page.
pub(crate) fn clip_banner(training: ClipTraining) -> Markup {
    html! {
        @if let Some((heading, sentence)) = words(training) {
            div.banner role="note" { strong { (heading) } (sentence) }
        }
    }
}
