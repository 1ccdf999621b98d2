//! Names that Kubernetes accepts, parsed once; and the names of all objects of a run.

use std::fmt;
use std::str::FromStr;

/// Room for what is put behind a run's name: the longest label is the StatefulSet's revision,
/// `<run>-coordinator-<hash>`, and may have 63 characters.
pub const LONGEST_RUN_NAME: usize = 40;
const LONGEST_LABEL: usize = 63;
const LONGEST_SUBDOMAIN: usize = 253;

/// Why a text is no name of the kind that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAName {
    #[error("it is empty")]
    Empty,
    #[error("it has {have} characters, and {most} are allowed")]
    Long { have: usize, most: usize },
    #[error(
        "it holds `{found}`; small letters, digits and `-` are allowed, with a letter or digit at both ends"
    )]
    Character { found: char },
    #[error("it begins or ends with `{found}`; small letters and digits are allowed there")]
    Edge { found: char },
    #[error("it begins with `{found}`; a small letter is allowed there")]
    Start { found: char },
}

/// An RFC 1123 label: namespaces, containers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(String);

/// An RFC 1123 subdomain: most objects, such as claims and secrets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subdomain(String);

/// The name of a run that Services and pods are named after.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunName(String);

fn check(text: &str, most: usize, dots: bool) -> Result<(), NotAName> {
    if text.is_empty() {
        return Err(NotAName::Empty);
    }
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if let Some(found) = text
        .chars()
        .find(|c| !(plain(*c) || *c == '-' || dots && *c == '.'))
    {
        return Err(NotAName::Character { found });
    }
    let edges = text
        .split('.')
        .flat_map(|part| [part.chars().next(), part.chars().last()]);
    for edge in edges {
        match edge {
            Some(edge) if plain(edge) => {}
            edge => {
                return Err(NotAName::Edge {
                    found: edge.unwrap_or('.'),
                });
            }
        }
    }
    if text.len() > most {
        return Err(NotAName::Long {
            have: text.len(),
            most,
        });
    }
    Ok(())
}

impl FromStr for Label {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        check(text, LONGEST_LABEL, false).map(|()| Self(text.to_owned()))
    }
}

impl FromStr for Subdomain {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        check(text, LONGEST_SUBDOMAIN, true).map(|()| Self(text.to_owned()))
    }
}

impl FromStr for RunName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        check(text, LONGEST_RUN_NAME, false)?;
        // Services are named by it, and theirs may not begin with a digit.
        match text.chars().next() {
            Some(found) if found.is_ascii_digit() => Err(NotAName::Start { found }),
            Some(_) | None => Ok(Self(text.to_owned())),
        }
    }
}

macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl $name {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

as_text!(Label, Subdomain, RunName);

impl RunName {
    /// The StatefulSet of one coordinator, and its Service.
    #[must_use]
    pub fn coordinator(&self) -> String {
        format!("{self}-coordinator")
    }

    /// The coordinator's pod.
    #[must_use]
    pub fn coordinator_pod(&self) -> String {
        format!("{self}-coordinator-0")
    }

    /// The name that workers dial the coordinator by, and that its certificate must cover.
    #[must_use]
    pub fn coordinator_host(&self) -> String {
        format!("{}.{}", self.coordinator_pod(), self.coordinator())
    }

    /// What runs the workers, and their Service.
    #[must_use]
    pub fn workers(&self) -> String {
        format!("{self}-worker")
    }

    #[must_use]
    pub fn config(&self) -> String {
        format!("{self}-config")
    }

    /// The Secret of one component.
    #[must_use]
    pub fn credentials(&self, component: &str) -> String {
        format!("{self}-{component}-credentials")
    }

    /// The claim that the StatefulSet makes of its template.
    #[must_use]
    pub fn state_claim(&self) -> String {
        format!("{STATE_VOLUME}-{}", self.coordinator_pod())
    }

    /// Selects every object of this run.
    #[must_use]
    pub fn selector(&self) -> String {
        format!("{NAME_LABEL}={NAME},{INSTANCE_LABEL}={self}")
    }
}

pub(crate) const STATE_VOLUME: &str = "state";
pub(crate) const NAME: &str = "ulda";
pub(crate) const NAME_LABEL: &str = "app.kubernetes.io/name";
pub(crate) const INSTANCE_LABEL: &str = "app.kubernetes.io/instance";
pub(crate) const COMPONENT_LABEL: &str = "app.kubernetes.io/component";
pub(crate) const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Who owns the fields that are applied.
pub(crate) const FIELD_MANAGER: &str = "ulda-coordinator";
/// Digest of all that was submitted, to tell one submission from another.
pub(crate) const DIGEST_ANNOTATION: &str = "ulda/submission";
/// How the run ended, on the StatefulSet of a coordinator that was stopped afterwards.
pub(crate) const END_ANNOTATION: &str = "ulda/end";
pub(crate) const COORDINATOR: &str = "coordinator";
pub(crate) const WORKER: &str = "worker";

#[cfg(test)]
mod tests {
    use super::*;

    fn problem_of<T: FromStr<Err = NotAName>>(text: &str) -> String {
        text.parse::<T>()
            .err()
            .map_or_else(String::new, |cause| cause.to_string())
    }

    #[test]
    fn names_are_told_apart_from_what_the_server_would_refuse() {
        assert_eq!(problem_of::<RunName>("fog-and-night"), "");
        assert_eq!(problem_of::<RunName>(""), "it is empty");
        assert_eq!(
            problem_of::<RunName>("Fog_1").split(';').next(),
            Some("it holds `F`")
        );
        assert_eq!(
            problem_of::<RunName>("fog-"),
            "it begins or ends with `-`; small letters and digits are allowed there"
        );
        assert_eq!(
            problem_of::<RunName>("3fog"),
            "it begins with `3`; a small letter is allowed there"
        );
        assert_eq!(
            problem_of::<RunName>(&"f".repeat(41)),
            "it has 41 characters, and 40 are allowed"
        );
        assert_eq!(problem_of::<Label>(&"f".repeat(63)), "");
        assert_eq!(problem_of::<Label>("a.b").split(';').next(), Some("it holds `.`"));
        assert_eq!(problem_of::<Subdomain>("registry.pull-secret"), "");
        assert!(problem_of::<Subdomain>("a..b").starts_with("it begins or ends with"));
    }
}
