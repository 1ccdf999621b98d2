//! Patterns of paths below a folder: `*` for a part of a name, `**/` for folders.

/// A pattern of paths whose folders are separated by `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
    parts: Vec<PatternPart>,
}

/// A piece of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternPart {
    Text(String),
    Wildcard(Wildcard),
}

/// What matches more than itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wildcard {
    /// `*`: any part of a name, or nothing.
    Name,
    /// `**/`: any folders with their `/`, or none.
    Folders,
}

/// Why a text is no pattern, and what to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatternProblem {
    pub what: &'static str,
    pub hint: &'static str,
}

impl PathPattern {
    /// # Errors
    /// When it leaves the folder, or holds characters that other programs take for wildcards.
    pub fn parse(text: &str) -> Result<Self, PatternProblem> {
        let names: Vec<&str> = text.split('/').collect();
        let problem = |what, hint| Err(PatternProblem { what, hint });
        if names.iter().any(|name| matches!(*name, "" | "." | "..")) {
            return problem("paths are below the root", "write it as `folder/*.png`");
        }
        if text.contains(['?', '[', ']', '{', '}', '\\']) {
            return problem(
                "the only wildcards are * and **/, besides {split} for the split",
                "write *, or use list files",
            );
        }
        let is_folders = |name: &&str| *name == "**";
        let joined = names.iter().any(|name| name.contains("**") && !is_folders(name));
        if joined || names.last().is_some_and(is_folders) {
            return problem("** stands for whole folders", "write it as `**/*.png`");
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        for (index, name) in names.iter().enumerate() {
            if is_folders(name) {
                push(&mut parts, &mut literal, Wildcard::Folders);
                continue;
            }
            let mut pieces = name.split('*');
            literal.push_str(pieces.next().unwrap_or_default());
            for piece in pieces {
                push(&mut parts, &mut literal, Wildcard::Name);
                literal.push_str(piece);
            }
            if index + 1 < names.len() {
                literal.push('/');
            }
        }
        if !literal.is_empty() {
            parts.push(PatternPart::Text(literal));
        }
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }

    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    #[must_use]
    pub fn parts(&self) -> &[PatternPart] {
        &self.parts
    }

    /// Its wildcards in order.
    #[must_use]
    pub fn wildcards(&self) -> Vec<Wildcard> {
        let wildcards = self.parts.iter().filter_map(|part| match part {
            PatternPart::Text(_) => None,
            PatternPart::Wildcard(wildcard) => Some(*wildcard),
        });
        wildcards.collect()
    }

    /// The folder that all matching paths are below; empty for the root.
    #[must_use]
    pub fn folder(&self) -> &str {
        let literal = self.text.split('*').next().unwrap_or_default();
        literal.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// Levels of folders between [`folder`](Self::folder) and the files; `None` if there may be any number.
    #[must_use]
    pub fn levels(&self) -> Option<usize> {
        let below = self.text[self.folder().len()..].trim_start_matches('/');
        (!self.wildcards().contains(&Wildcard::Folders)).then(|| below.matches('/').count())
    }

    /// The path in which the wildcards are replaced by `matched`, in order.
    pub fn fill<'a>(&self, matched: impl IntoIterator<Item = &'a str>) -> String {
        let mut matched = matched.into_iter();
        let parts = self.parts.iter().map(|part| match part {
            PatternPart::Text(text) => text.as_str(),
            PatternPart::Wildcard(_) => matched.next().unwrap_or_default(),
        });
        parts.collect()
    }
}

/// Adds a wildcard after the literal text before it.
fn push(parts: &mut Vec<PatternPart>, literal: &mut String, wildcard: Wildcard) {
    if !literal.is_empty() {
        parts.push(PatternPart::Text(std::mem::take(literal)));
    }
    parts.push(PatternPart::Wildcard(wildcard));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_taken_apart_and_filled_in() {
        let pattern = PathPattern::parse("rgb/**/night/*_frame_*.png").unwrap();
        assert_eq!(
            pattern.wildcards(),
            [Wildcard::Folders, Wildcard::Name, Wildcard::Name]
        );
        assert_eq!((pattern.folder(), pattern.levels()), ("rgb", None));
        assert_eq!(pattern.fill(["a/b/", "x", "1"]), "rgb/a/b/night/x_frame_1.png");
        assert_eq!(pattern.fill(["", "x", "1"]), "rgb/night/x_frame_1.png");
        let plain = PathPattern::parse("a/b/*/c*.png").unwrap();
        assert_eq!((plain.folder(), plain.levels()), ("a/b", Some(1)));
        let top = PathPattern::parse("*.png").unwrap();
        assert_eq!((top.folder(), top.levels()), ("", Some(0)));
    }

    #[test]
    fn texts_that_are_no_patterns_are_refused() {
        for text in [
            "",
            "/a/*.png",
            "../*.png",
            "a//b*.png",
            "a/./b*.png",
            "a/**",
            "a/b**/c.png",
            "a/?.png",
            "a/[0-9].png",
            "a/{b,c}.png",
        ] {
            assert!(PathPattern::parse(text).is_err(), "{text}");
        }
    }
}
