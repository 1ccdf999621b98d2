//! What `ftfy.fix_text` does to a prompt before CLIP reads it (OpenAI's `simple_tokenizer.py`, `basic_clean`), without the
//! undoing of HTML references.

use unicode_normalization::UnicodeNormalization;

/// Undoes wrong decoding, typographic quotes, ligatures and full-width letters, drops control characters and composes accents.
pub(super) fn repair(text: &str) -> String {
    let mut text = text.to_owned();
    // Some texts were decoded wrongly more than once; each round makes the text shorter.
    while let Some(decoded) = as_utf8(&text) {
        text = decoded;
    }
    let text = lone_a_grave(&text);
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{80}'..='\u{9f}' => plain.push(windows_1252(c as u8)),
            '\u{2bc}' | '\u{2018}'..='\u{201b}' => plain.push('\''),
            '\u{201c}'..='\u{201f}' => plain.push('"'),
            'Ĳ' | 'ĳ' | 'ŉ' | 'Ǆ'..='ǌ' | 'Ǳ'..='ǳ' | 'ﬀ'..='ﬄ' | 'ﬆ' => {
                plain.extend([c].into_iter().nfkc())
            }
            'ﬅ' => plain.push_str("ſt"),
            '\u{3000}' | '\u{ff01}'..='\u{ffef}' => plain.extend([c].into_iter().nfkc()),
            '\0'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}' => {}
            '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffc}' => {}
            c => plain.push(c),
        }
    }
    plain.nfc().collect()
}

/// The text that was meant where UTF-8 was read as Windows-1252: `Ã¼` for `ü`.
fn as_utf8(text: &str) -> Option<String> {
    if text.is_ascii() {
        return None;
    }
    let bytes: Vec<u8> = text.chars().map(byte_of).collect::<Option<_>>()?;
    String::from_utf8(bytes).ok()
}

/// `à` lost its second byte where a no-break space became a space; the word `Ã` does not exist.
fn lone_a_grave(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let last = words.len() - 1;
    let meant = |(index, word): (usize, &&str)| match *word {
        "Ã" if index < last => "à".to_owned(),
        word => word.to_owned(),
    };
    words.iter().enumerate().map(meant).collect::<Vec<_>>().join(" ")
}

/// What Windows-1252 has in place of the control characters 0x80 to 0x9F; the five bytes it leaves open are those controls.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}',
    '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// What Windows-1252 reads in a byte.
pub(super) fn windows_1252(byte: u8) -> char {
    match byte {
        0x80..=0x9f => WINDOWS_1252[usize::from(byte - 0x80)],
        byte => char::from(byte),
    }
}

/// The byte that Windows-1252 or Latin-1 reads as `c`.
fn byte_of(c: char) -> Option<u8> {
    if let Ok(byte) = u8::try_from(c) {
        return Some(byte);
    }
    let place = WINDOWS_1252.iter().position(|known| *known == c)?;
    u8::try_from(0x80 + place).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_was_decoded_wrongly_is_read_again_however_often() {
        assert_eq!(repair("ZÃ¼rich"), "Zürich");
        assert_eq!(repair("ZÃƒÂ¼rich"), "Zürich");
        for whole in ["Zürich", "AMANHÃ É", "ä½ å¥½", "Ã"] {
            assert_eq!(repair(whole), whole);
        }
    }
}
