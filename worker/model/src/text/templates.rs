//! The published templates and class names.

/// CLIP's prompt templates for ImageNet, which PØDA uses: sentences that a prompt is put into, at `{}`.
pub const IMAGENET_TEMPLATES: [&str; 80] = [
    "a bad photo of a {}.",
    "a photo of many {}.",
    "a sculpture of a {}.",
    "a photo of the hard to see {}.",
    "a low resolution photo of the {}.",
    "a rendering of a {}.",
    "graffiti of a {}.",
    "a bad photo of the {}.",
    "a cropped photo of the {}.",
    "a tattoo of a {}.",
    "the embroidered {}.",
    "a photo of a hard to see {}.",
    "a bright photo of a {}.",
    "a photo of a clean {}.",
    "a photo of a dirty {}.",
    "a dark photo of the {}.",
    "a drawing of a {}.",
    "a photo of my {}.",
    "the plastic {}.",
    "a photo of the cool {}.",
    "a close-up photo of a {}.",
    "a black and white photo of the {}.",
    "a painting of the {}.",
    "a painting of a {}.",
    "a pixelated photo of the {}.",
    "a sculpture of the {}.",
    "a bright photo of the {}.",
    "a cropped photo of a {}.",
    "a plastic {}.",
    "a photo of the dirty {}.",
    "a jpeg corrupted photo of a {}.",
    "a blurry photo of the {}.",
    "a photo of the {}.",
    "a good photo of the {}.",
    "a rendering of the {}.",
    "a {} in a video game.",
    "a photo of one {}.",
    "a doodle of a {}.",
    "a close-up photo of the {}.",
    "a photo of a {}.",
    "the origami {}.",
    "the {} in a video game.",
    "a sketch of a {}.",
    "a doodle of the {}.",
    "a origami {}.",
    "a low resolution photo of a {}.",
    "the toy {}.",
    "a rendition of the {}.",
    "a photo of the clean {}.",
    "a photo of a large {}.",
    "a rendition of a {}.",
    "a photo of a nice {}.",
    "a photo of a weird {}.",
    "a blurry photo of a {}.",
    "a cartoon {}.",
    "art of a {}.",
    "a sketch of the {}.",
    "a embroidered {}.",
    "a pixelated photo of a {}.",
    "itap of the {}.",
    "a jpeg corrupted photo of the {}.",
    "a good photo of a {}.",
    "a plushie {}.",
    "a photo of the nice {}.",
    "a photo of the small {}.",
    "a photo of the weird {}.",
    "the cartoon {}.",
    "art of the {}.",
    "a drawing of the {}.",
    "a photo of the large {}.",
    "a black and white photo of a {}.",
    "the plushie {}.",
    "a dark photo of a {}.",
    "itap of a {}.",
    "graffiti of the {}.",
    "a toy {}.",
    "itap of my {}.",
    "a photo of a cool {}.",
    "a photo of a small {}.",
    "a tattoo of the {}.",
];

/// The 44 of them that ULDA keeps.
pub const ULDA_TEMPLATES: [&str; 44] = [
    "a bad photo of a {}.",
    "a photo of many {}.",
    "a photo of the hard to see {}.",
    "a low resolution photo of the {}.",
    "a bad photo of the {}.",
    "a cropped photo of the {}.",
    "a photo of a hard to see {}.",
    "a bright photo of a {}.",
    "a photo of a clean {}.",
    "a photo of a dirty {}.",
    "a photo of the cool {}.",
    "a close-up photo of a {}.",
    "a painting of the {}.",
    "a painting of a {}.",
    "a pixelated photo of the {}.",
    "a bright photo of the {}.",
    "a cropped photo of a {}.",
    "a blurry photo of the {}.",
    "a photo of the {}.",
    "a good photo of the {}.",
    "a rendering of the {}.",
    "a photo of one {}.",
    "a close-up photo of the {}.",
    "a photo of a {}.",
    "a low resolution photo of a {}.",
    "a photo of the clean {}.",
    "a photo of a large {}.",
    "a photo of a nice {}.",
    "a blurry photo of a {}.",
    "art of a {}.",
    "a pixelated photo of a {}.",
    "itap of the {}.",
    "a jpeg corrupted photo of the {}.",
    "a good photo of a {}.",
    "a photo of the nice {}.",
    "a photo of the small {}.",
    "art of the {}.",
    "a drawing of the {}.",
    "a photo of the large {}.",
    "itap of a {}.",
    "graffiti of the {}.",
    "itap of my {}.",
    "a photo of a cool {}.",
    "a photo of a small {}.",
];

/// Each prompt inside each template.
pub fn fill<T: AsRef<str>, P: AsRef<str>>(templates: &[T], prompts: &[P]) -> Vec<String> {
    let fill = |prompt: &P| {
        let prompt = prompt.as_ref().to_owned();
        templates
            .iter()
            .map(move |template| template.as_ref().replacen("{}", &prompt, 1))
    };
    prompts.iter().flat_map(fill).collect()
}

/// Prompt of a class in a domain: the class name, then the domain's description without its first word
/// ("driving under rain" gives "bus under rain").
pub fn region_prompt(class: &str, description: &str) -> String {
    let rest = description
        .trim_start()
        .split_once(' ')
        .map_or("", |(_, rest)| rest);
    format!("{class} {rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn region_prompts_drop_the_first_word() {
        assert_eq!(region_prompt("bus", "driving under rain"), "bus under rain");
        assert_eq!(region_prompt("bus", "rain"), "bus ");
    }

    #[test]
    fn every_template_is_filled() {
        let filled = fill(&ULDA_TEMPLATES, &["x"]);
        assert!(
            filled
                .iter()
                .all(|filled| filled.contains('x') && !filled.contains("{}"))
        );
        let filled = fill(&IMAGENET_TEMPLATES, &["night", "dusk"]);
        assert_eq!(filled.len(), 160);
        assert_eq!(
            [&filled[0], &filled[80]],
            ["a bad photo of a night.", "a bad photo of a dusk."]
        );
    }

    #[test]
    fn uldas_templates_are_some_of_imagenets() {
        assert!(
            ULDA_TEMPLATES
                .iter()
                .all(|kept| IMAGENET_TEMPLATES.contains(kept))
        );
    }
}
