//! The published templates and class names (CLIP's prompt templates, the 44 that ULDA keeps).

/// Sentences that a prompt is put into, at `{}`.
pub const TEMPLATES: [&str; 44] = [
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

/// The 19 Cityscapes classes in train-id order.
pub const CLASSES: [&str; 19] = [
    "road",
    "sidewalk",
    "building",
    "wall",
    "fence",
    "pole",
    "traffic light",
    "traffic sign",
    "vegetation",
    "terrain",
    "sky",
    "person",
    "rider",
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
];

/// The prompt inside every template.
pub fn fill(prompt: &str) -> Vec<String> {
    TEMPLATES
        .iter()
        .map(|template| template.replacen("{}", prompt, 1))
        .collect()
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
        assert!(
            fill("x")
                .iter()
                .all(|filled| filled.contains('x') && !filled.contains("{}"))
        );
        assert_eq!(fill("night")[0], "a bad photo of a night.");
    }
}
