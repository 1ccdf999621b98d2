//! Errors as people read them.

use std::fmt::Display;

/// An error with its causes on one line.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// A text and, after it on the same line, what to do.
#[must_use]
pub fn hinted(text: impl Display, hint: Option<String>) -> String {
    match hint {
        Some(hint) => format!("{text}; hint: {hint}"),
        None => text.to_string(),
    }
}

/// What an error of [`hints`](crate::hints) may answer with.
pub trait IntoHint {
    fn into_hint(self) -> Option<String>;
}

impl IntoHint for &str {
    fn into_hint(self) -> Option<String> {
        Some(self.to_owned())
    }
}

impl IntoHint for String {
    fn into_hint(self) -> Option<String> {
        Some(self)
    }
}

/// That of a cause.
impl IntoHint for Option<String> {
    fn into_hint(self) -> Option<String> {
        self
    }
}

/// Gives an error the method `hint`: what a person can do about it. An arm is a text, or the hint of a cause; variants
/// without an arm have none.
#[macro_export]
macro_rules! hints {
    ($seen:vis $error:ident { $($variant:pat => $hint:expr),+ $(,)? }) => {
        impl $error {
            /// What a person can do about it.
            #[must_use]
            #[allow(unreachable_patterns, reason = "where every variant has an arm")]
            $seen fn hint(&self) -> Option<String> {
                match self {
                    $($variant => $crate::IntoHint::into_hint($hint),)+
                    _ => None,
                }
            }
        }
    };
}
