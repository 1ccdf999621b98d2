//! Text from files, peers and logs on its way to a terminal.

use std::borrow::Cow;

/// `text` with control characters as escapes, so that none reaches a terminal; lines and tabs stay.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    let acts = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match acts(letter) {
            true => escaped.extend(letter.escape_default()),
            false => escaped.push(letter),
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_control_characters_are_escaped() {
        assert_eq!(printable("Straße 霧\n\tnight"), "Straße 霧\n\tnight");
        assert_eq!(
            printable("a\u{1b}]0;b\u{7}\r\u{9b}2J"),
            "a\\u{1b}]0;b\\u{7}\\r\\u{9b}2J"
        );
    }
}
