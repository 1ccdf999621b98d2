//! The classes that the file of a model names, in the tensor [`marks::CLASSES`]; a file without it has nobody's names.

use std::path::PathBuf;

use tch::{TchError, Tensor};
use ulda_model::{Head, Weights, marks};
use ulda_run::spec::ClassesConfig;
use ulda_run::{Classes, MOST_CLASSES};

/// Why nothing can be done with the classes of a model.
#[derive(Debug, thiserror::Error)]
#[error("`{}` {what}", path.display())]
pub struct ModelClassesError {
    path: PathBuf,
    pub what: String,
    hint: &'static str,
}

impl ModelClassesError {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(self.hint.to_owned())
    }
}

/// The tensor that names `classes` in a model's file; none for those of Cityscapes, which are meant without it.
///
/// # Errors
/// When libtorch has no memory.
pub fn classes_tensor(classes: &Classes) -> Result<Option<Tensor>, TchError> {
    if classes.is_cityscapes() {
        return Ok(None);
    }
    let text = serde_json::to_string(classes).expect("texts have a JSON form");
    Tensor::f_from_slice(text.as_bytes()).map(Some)
}

/// The classes of the model in `weights`, whose head is `head`: as it names them, else Cityscapes' where there are as many,
/// else numbered.
///
/// # Errors
/// When it names other classes than its head tells apart, or these are too many.
pub fn classes_of(weights: &Weights, head: &Head) -> Result<Classes, ModelClassesError> {
    let refused = |what, hint| ModelClassesError {
        path: weights.path().to_owned(),
        what,
        hint,
    };
    let count = usize::try_from(head.config().classes).unwrap_or(0);
    if !(1..=MOST_CLASSES).contains(&count) {
        let what = format!("has a head for {count} classes, not 1 to {MOST_CLASSES}");
        return Err(refused(what, "give another model"));
    }
    if weights.shape(marks::CLASSES).is_none() {
        return Ok(Classes::unnamed(count));
    }
    let wrong = |what: String| {
        let what = format!("names classes in `{}`, and {what}", marks::CLASSES);
        refused(
            what,
            "take the model from a run's checkpoints/final, or export it again",
        )
    };
    let text = weights.text(marks::CLASSES);
    let section: Option<ClassesConfig> = text.and_then(|text| serde_json::from_str(&text).ok());
    let section = section.ok_or_else(|| wrong("it holds no names and colours".to_owned()))?;
    let classes = Classes::of(&section).map_err(|problems| {
        let what = problems
            .first()
            .map_or("are wrong", |problem| problem.what.as_str());
        wrong(format!("the list {what}"))
    })?;
    if classes.len() != count {
        return Err(wrong(format!(
            "they are {}, while its head tells {count} apart",
            classes.len()
        )));
    }
    Ok(classes)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ulda_model::{HeadConfig, WeightsKind};

    use super::*;

    fn named(text: Option<&[u8]>, count: i64) -> Result<Classes, String> {
        let head = Head::new(HeadConfig::published(16, 8, count), 1);
        let named = text.map(|text| (marks::CLASSES.to_owned(), Tensor::from_slice(text)));
        let named = named.into_iter().collect();
        let weights = Weights::from_tensors(Path::new("x.pth"), WeightsKind::Safetensors, named).unwrap();
        classes_of(&weights, &head).map_err(|error| error.to_string())
    }

    #[test]
    fn a_model_without_names_has_cityscapes_or_numbers() {
        assert!(named(None, 19).unwrap().is_cityscapes());
        let most = named(None, 256).unwrap_err();
        assert_eq!(most, "`x.pth` has a head for 256 classes, not 1 to 255");
        assert_eq!(named(None, 3).unwrap().names(), ["class 0", "class 1", "class 2"]);
    }

    #[test]
    fn names_survive_and_have_to_fit_the_head() {
        let classes = Classes::unnamed(3);
        let mark = classes_tensor(&classes).unwrap().unwrap();
        let text = Vec::<u8>::try_from(&mark).unwrap();
        assert_eq!(named(Some(&text), 3).unwrap(), classes);
        assert!(classes_tensor(&Classes::default()).unwrap().is_none());
        for (text, count, what) in [
            (text.as_slice(), 4, "they are 3, while its head tells 4 apart"),
            (b"\xff\xfe", 3, "it holds no names and colours"),
            (b"[1, 2]", 3, "it holds no names and colours"),
            (br#"{"names":["a","a"]}"#, 2, "the list has `a` twice"),
        ] {
            let error = named(Some(text), count).unwrap_err();
            assert!(error.contains(what), "{error}");
        }
    }
}
