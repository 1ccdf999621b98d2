//! What a person can do about broken files, where the error of the reading crate does not say it.

use std::error::Error;

use ulda_dataset::SampleError;
use ulda_model::WeightsError;
use ulda_net::Shortage;

const HINT: &str = "hint:";

/// The error with its causes, and with a hint.
#[must_use]
pub fn on_sample(error: &SampleError) -> String {
    let advice = match error {
        SampleError::NotAnImage { .. } => "images must be PNG or JPEG files; convert it, or copy it again",
        SampleError::LabelNotPng { .. } => "labels must be PNG files; convert it, or copy it again",
        SampleError::BitDepth { .. } => "convert it to 8 bits per channel",
        SampleError::Unreadable { .. } => "check that it is a file, its permissions and its disk",
        SampleError::SizeMismatch { .. } => "an image and its label have the same size; copy both again",
        SampleError::TooLarge { .. } => "is it a picture of this data set? scale it down",
        _ => "check this file of the data set",
    };
    with_advice(error, advice)
}

/// The error with its causes, and with a hint.
#[must_use]
pub fn on_weights(error: &WeightsError) -> String {
    let advice = match error {
        WeightsError::Read { .. } => "correct the path, or restore the file",
        WeightsError::Safetensors { .. } | WeightsError::Pickle { .. } => {
            "is it cut short? copy or download it again"
        }
        WeightsError::Missing { .. } | WeightsError::Shape { .. } | WeightsError::Size { .. } => {
            "is it a checkpoint of another kind or model? name the right one, or download it again"
        }
        _ => "name another checkpoint, or download it again",
    };
    with_advice(error, advice)
}

/// The error with its causes; where the system was short of something, with what to do about that.
#[must_use]
pub fn with_hint(error: &(dyn Error + 'static)) -> String {
    let text = crate::with_causes(error);
    match Shortage::of(error).map(Shortage::hint) {
        Some(hint) if !text.contains(hint) => format!("{text}; {HINT} {hint}"),
        Some(_) | None => text,
    }
}

fn with_advice(error: &(dyn Error + 'static), advice: &str) -> String {
    let text = with_hint(error);
    if text.contains(HINT) {
        text
    } else {
        format!("{text}; {HINT} {advice}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_descriptors_are_no_fault_of_the_file() {
        let told = on_sample(&SampleError::Unreadable {
            path: "a.png".into(),
            source: std::io::Error::from_raw_os_error(libc::EMFILE),
        });
        assert_eq!(
            told,
            "cannot read `a.png`: Too many open files (os error 24); hint: too many open files: raise the hard limit \
             (`ulimit -n`) of this process"
        );
    }

    #[test]
    fn advice_comes_last_and_once() {
        let path = std::path::PathBuf::from("a.png");
        let told = on_sample(&SampleError::NotAnImage { path: path.clone() });
        assert_eq!(
            told,
            "`a.png` is neither a png nor a jpeg file; hint: images must be PNG or JPEG files; convert it, or copy it again"
        );
        let told = on_sample(&SampleError::Truncated { path });
        assert_eq!(told.matches(HINT).count(), 1, "{told}");
    }
}
