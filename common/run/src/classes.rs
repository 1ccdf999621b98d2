//! The classes that a run segments: names, label ids and colours. A class's place in the list is its train id.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::spec::{ClassesConfig, parse_colour};

/// More have no train id: 255 stands for ignored pixels.
pub const MOST_CLASSES: usize = 255;
/// Letters of a name.
const MOST_LETTERS: usize = 64;

/// One class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    pub name: Cow<'static, str>,
    /// What stands for it in files of label ids.
    pub label_id: u8,
    /// Red, green, blue.
    pub colour: [u8; 3],
}

const fn class(name: &'static str, label_id: u8, colour: [u8; 3]) -> Class {
    Class {
        name: Cow::Borrowed(name),
        label_id,
        colour,
    }
}

/// The classes of Cityscapes, GTA5 and ACDC. Source: the definitions published with the Cityscapes data set.
pub static CITYSCAPES: [Class; 19] = [
    class("road", 7, [128, 64, 128]),
    class("sidewalk", 8, [244, 35, 232]),
    class("building", 11, [70, 70, 70]),
    class("wall", 12, [102, 102, 156]),
    class("fence", 13, [190, 153, 153]),
    class("pole", 17, [153, 153, 153]),
    class("traffic light", 19, [250, 170, 30]),
    class("traffic sign", 20, [220, 220, 0]),
    class("vegetation", 21, [107, 142, 35]),
    class("terrain", 22, [152, 251, 152]),
    class("sky", 23, [70, 130, 180]),
    class("person", 24, [220, 20, 60]),
    class("rider", 25, [255, 0, 0]),
    class("car", 26, [0, 0, 142]),
    class("truck", 27, [0, 0, 70]),
    class("bus", 28, [0, 60, 100]),
    class("train", 31, [0, 80, 100]),
    class("motorcycle", 32, [0, 0, 230]),
    class("bicycle", 33, [119, 11, 32]),
];

/// All classes of a run, in train-id order; those of Cityscapes by default. A clone shares them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classes(Arc<[Class]>);

impl Default for Classes {
    fn default() -> Self {
        Self(Arc::new(CITYSCAPES.clone()))
    }
}

/// What is wrong with a key of `classes`, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`classes.{key}` {what}")]
pub struct ClassesProblem {
    pub key: &'static str,
    pub what: String,
    pub hint: String,
}

impl Classes {
    /// The classes that a `[classes]` section asks for. Names are Cityscapes' unless given, as are the label ids of its 19
    /// names; the label id of any other class is its train id. Colours are Cityscapes' or generated unless given.
    ///
    /// # Errors
    /// All that is wrong with names and colours.
    pub fn of(config: &ClassesConfig) -> Result<Self, Vec<ClassesProblem>> {
        let named = config.names.as_deref().map_or_else(Self::default, Self::named);
        let mut problems = Vec::new();
        if let Some(names) = &config.names {
            problems.extend(name_problems(names));
        }
        let Some(given) = &config.colours else {
            return match problems.is_empty() {
                true => Ok(named),
                false => Err(problems),
            };
        };
        let colours: Vec<[u8; 3]> = given.iter().filter_map(|text| parse_colour(text)).collect();
        problems.extend(colour_problem(given, &colours, named.len()));
        if !problems.is_empty() {
            return Err(problems);
        }
        let coloured = named.iter().zip(colours).map(|(class, colour)| Class {
            colour,
            ..class.clone()
        });
        Ok(Self(coloured.collect()))
    }

    /// `count` classes that nobody named: Cityscapes' where there are as many.
    #[must_use]
    pub fn unnamed(count: usize) -> Self {
        match count == CITYSCAPES.len() {
            true => Self::default(),
            false => Self::named(&(0..count).map(|id| format!("class {id}")).collect::<Vec<_>>()),
        }
    }

    fn named(names: &[String]) -> Self {
        if names.iter().eq(CITYSCAPES.iter().map(|class| &class.name)) {
            return Self::default();
        }
        let classes = names.iter().zip(0..).map(|(name, id)| Class {
            name: Cow::Owned(name.clone()),
            label_id: u8::try_from(id).unwrap_or(u8::MAX),
            colour: generated_colour(id),
        });
        Self(classes.collect())
    }

    /// Number of classes, 2 to 255.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there are always some")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// In train-id order.
    pub fn iter(&self) -> std::slice::Iter<'_, Class> {
        self.0.iter()
    }

    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.iter().map(|class| class.name.as_ref()).collect()
    }

    /// The class of a train id; none for 255 and other ids without one.
    #[must_use]
    pub fn get(&self, train_id: u8) -> Option<&Class> {
        self.0.get(usize::from(train_id))
    }

    /// Whether nothing differs from Cityscapes.
    #[must_use]
    pub fn is_cityscapes(&self) -> bool {
        *self.0 == CITYSCAPES
    }

    /// Whether its names are those of Cityscapes, so that files of Cityscapes' label ids hold these classes.
    #[must_use]
    pub fn has_label_ids(&self) -> bool {
        self.iter()
            .map(|class| &class.name)
            .eq(CITYSCAPES.iter().map(|class| &class.name))
    }

    /// The `[classes]` section that says all of it.
    #[must_use]
    pub fn to_config(&self) -> ClassesConfig {
        let hex = |[red, green, blue]: [u8; 3]| format!("#{red:02x}{green:02x}{blue:02x}");
        ClassesConfig {
            names: Some(self.iter().map(|class| class.name.to_string()).collect()),
            colours: Some(self.iter().map(|class| hex(class.colour)).collect()),
        }
    }
}

impl<'a> IntoIterator for &'a Classes {
    type Item = &'a Class;
    type IntoIter = std::slice::Iter<'a, Class>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Serialize for Classes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_config().serialize(serializer)
    }
}

/// A colour for each train id, no two alike and none black: bit k of the three channels, from the highest, is bit 3k, 3k + 1
/// and 3k + 2 of the number after the id, as the palette of Pascal VOC has it.
fn generated_colour(train_id: u32) -> [u8; 3] {
    let number = train_id + 1;
    let channel = |first: u32| {
        (0..3).fold(0, |value, bit| {
            value | (((number >> (3 * bit + first)) & 1) as u8) << (7 - bit)
        })
    };
    [channel(0), channel(1), channel(2)]
}

fn problem(key: &'static str, what: String, hint: &str) -> ClassesProblem {
    let hint = hint.to_owned();
    ClassesProblem { key, what, hint }
}

fn name_problems(names: &[String]) -> Vec<ClassesProblem> {
    let mut problems = Vec::new();
    if !(2..=MOST_CLASSES).contains(&names.len()) {
        let what = format!("has {} names", names.len());
        problems.push(problem(
            "names",
            what,
            "give 2 to 255, or leave it out for those of Cityscapes",
        ));
    }
    let mut seen = BTreeSet::new();
    for (id, name) in names.iter().enumerate() {
        let letters = name.chars().count();
        let what = if letters > MOST_LETTERS {
            format!("has a name of {letters} letters at {id}")
        } else if name.trim() != name || name.is_empty() || name.chars().any(char::is_control) {
            format!("has the name {name:?} at {id}")
        } else if !seen.insert(name.to_lowercase().replace('_', " ")) {
            // TensorBoard's tags have `_` for a space.
            format!(
                "has `{name}` twice, where capital and small letters, and space and `_`, count as the same"
            )
        } else {
            continue;
        };
        let hint = "give each class its own name: 1 to 64 letters of one line, no space around them";
        problems.push(problem("names", what, hint));
    }
    problems
}

/// `colours` are those of `given` that are some.
fn colour_problem(given: &[String], colours: &[[u8; 3]], classes: usize) -> Option<ClassesProblem> {
    const KEY: &str = "colours";
    if let Some(text) = given.iter().find(|text| parse_colour(text).is_none()) {
        let shown: String = text.chars().take(MOST_LETTERS).collect();
        return Some(problem(
            KEY,
            format!("has {shown:?}"),
            "write colours such as \"#804080\"",
        ));
    }
    if given.len() != classes {
        let what = format!("has {} colours for {classes} classes", given.len());
        return Some(problem(
            KEY,
            what,
            "give one for each class in order, or leave it out",
        ));
    }
    let mut seen = BTreeSet::new();
    let twice = colours.iter().position(|colour| !seen.insert(colour))?;
    Some(problem(
        KEY,
        format!("has `{}` twice", given[twice]),
        "give each class its own colour",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(names: &[&str], colours: &[&str]) -> ClassesConfig {
        let texts =
            |texts: &[&str]| (!texts.is_empty()).then(|| texts.iter().map(|&text| text.to_owned()).collect());
        ClassesConfig {
            names: texts(names),
            colours: texts(colours),
        }
    }

    #[test]
    fn cityscapes_is_the_default_whether_named_or_not() {
        let default = Classes::of(&ClassesConfig::default()).unwrap();
        assert!(default.is_cityscapes() && default.has_label_ids());
        let named = Classes::of(&config(&default.names(), &[])).unwrap();
        assert_eq!(named, default);
        assert_eq!(Classes::unnamed(19), default);
        let mut section = default.to_config();
        section.colours.as_mut().unwrap()[0] = "#000000".to_owned();
        let recoloured = Classes::of(&section).unwrap();
        assert!(!recoloured.is_cityscapes() && recoloured.has_label_ids());
        assert_eq!(
            recoloured.get(0).map(|class| (class.label_id, class.colour)),
            Some((7, [0; 3]))
        );
    }

    #[test]
    fn own_classes_have_their_train_ids_and_generated_colours() {
        let classes = Classes::of(&config(&["sky", "open water"], &[])).unwrap();
        assert!(!classes.has_label_ids());
        let second = Class {
            name: "open water".into(),
            label_id: 1,
            colour: [0, 128, 0],
        };
        assert_eq!(classes.get(1), Some(&second));
        assert_eq!((classes.get(2), classes.get(255)), (None, None));
        assert_eq!(Classes::of(&classes.to_config()).unwrap(), classes);

        let most = Classes::unnamed(MOST_CLASSES);
        let colours: BTreeSet<[u8; 3]> = most.iter().map(|class| class.colour).collect();
        assert_eq!(colours.len(), MOST_CLASSES);
        assert!(!colours.contains(&[0; 3]));
        assert_eq!(Classes::of(&most.to_config()).unwrap(), most);
    }

    #[test]
    fn names_and_colours_that_cannot_be_are_refused() {
        let long = "x".repeat(70_000);
        for (names, colours, key, what) in [
            (&["a"][..], &[][..], "names", "has 1 names"),
            (&["sky", "Sky"], &[], "names", "`Sky` twice"),
            (&["dirt road", "dirt_road"], &[], "names", "twice"),
            (&["sky", "wa\nter"], &[], "names", r#""wa\nter" at 1"#),
            (&["sky", " "], &[], "names", r#"the name " " at 1"#),
            (&["sky", &long], &[], "names", "a name of 70000 letters at 1"),
            (
                &["sky", "sea"],
                &["#000000"],
                "colours",
                "1 colours for 2 classes",
            ),
            (&["sky", "sea"], &["#000000", "blue"], "colours", r#"has "blue""#),
            (
                &["sky", "sea"],
                &["#0000ff", "#0000FF"],
                "colours",
                "`#0000FF` twice",
            ),
            (&[], &["#000000"], "colours", "1 colours for 19 classes"),
        ] {
            let problems = Classes::of(&config(names, colours)).unwrap_err();
            let [problem] = problems.as_slice() else {
                panic!("{problems:?}")
            };
            assert_eq!(problem.key, key, "{problem}");
            assert!(problem.what.contains(what), "{problem}");
        }
        for count in [0, 300] {
            let section = ClassesConfig {
                names: Some((0..count).map(|id| format!("c{id}")).collect()),
                colours: None,
            };
            let problems = Classes::of(&section).unwrap_err();
            assert_eq!(problems[0].what, format!("has {count} names"));
        }
    }
}
