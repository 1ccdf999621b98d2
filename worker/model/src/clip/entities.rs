//! HTML character references as Python's `html.unescape` undoes them: without the final semicolon too,
//! and with HTML 5's rules for bad numbers. (The common crates want the semicolon.)

use regex::{Captures, Regex};

use crate::clip::repair::windows_1252;

/// References that HTML 5 still knows without semicolon: U+00A0 to U+00FF in order …
const LATIN_1: [&str; 96] = [
    "nbsp", "iexcl", "cent", "pound", "curren", "yen", "brvbar", "sect", "uml", "copy", "ordf", "laquo",
    "not", "shy", "reg", "macr", "deg", "plusmn", "sup2", "sup3", "acute", "micro", "para", "middot",
    "cedil", "sup1", "ordm", "raquo", "frac14", "frac12", "frac34", "iquest", "Agrave", "Aacute", "Acirc",
    "Atilde", "Auml", "Aring", "AElig", "Ccedil", "Egrave", "Eacute", "Ecirc", "Euml", "Igrave", "Iacute",
    "Icirc", "Iuml", "ETH", "Ntilde", "Ograve", "Oacute", "Ocirc", "Otilde", "Ouml", "times", "Oslash",
    "Ugrave", "Uacute", "Ucirc", "Uuml", "Yacute", "THORN", "szlig", "agrave", "aacute", "acirc", "atilde",
    "auml", "aring", "aelig", "ccedil", "egrave", "eacute", "ecirc", "euml", "igrave", "iacute", "icirc",
    "iuml", "eth", "ntilde", "ograve", "oacute", "ocirc", "otilde", "ouml", "divide", "oslash", "ugrave",
    "uacute", "ucirc", "uuml", "yacute", "thorn", "yuml",
];

/// … and these.
const OTHERS: [(&str, char); 10] = [
    ("AMP", '&'),
    ("amp", '&'),
    ("COPY", '©'),
    ("REG", '®'),
    ("GT", '>'),
    ("gt", '>'),
    ("LT", '<'),
    ("lt", '<'),
    ("QUOT", '"'),
    ("quot", '"'),
];

/// Undoes references.
pub struct Entities {
    reference: Regex,
}

impl Entities {
    pub fn new() -> Self {
        let reference = Regex::new(r"&(#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\x0c <&#;]{1,32};?)");
        Self {
            reference: reference.expect("the pattern is constant and valid"),
        }
    }

    /// The text with every reference undone once.
    pub fn undo(&self, text: &str) -> String {
        let undone = self.reference.replace_all(text, |found: &Captures<'_>| {
            let body = &found[1];
            match body.strip_prefix('#') {
                Some(digits) => numeric(digits.trim_end_matches(';')),
                None => named(body),
            }
        });
        undone.into_owned()
    }
}

fn numeric(digits: &str) -> String {
    let number = match digits.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => digits.parse(),
    };
    // Only overflow can fail here.
    let number = number.unwrap_or(u32::MAX);
    let number = match number {
        0 => 0xfffd,
        0x80..=0x9f => u32::from(windows_1252(number as u8)),
        0x0d => number,
        0x01..=0x08 | 0x0b | 0x0e..=0x1f | 0x7f | 0xfdd0..=0xfdef => return String::new(),
        _ if number <= 0x10_ffff && number & 0xfffe == 0xfffe => return String::new(),
        _ => number,
    };
    char::from_u32(number)
        .unwrap_or(char::REPLACEMENT_CHARACTER)
        .to_string()
}

fn named(body: &str) -> String {
    let reference = format!("&{body}");
    if body.ends_with(';') {
        let decoded = html_escape::decode_html_entities(&reference);
        if decoded != reference {
            return decoded.into_owned();
        }
    }
    let latin = LATIN_1
        .iter()
        .zip('\u{a0}'..='\u{ff}')
        .map(|(&name, c)| (name, c));
    let longest = latin
        .chain(OTHERS)
        .filter(|(name, _)| body.starts_with(name))
        .max_by_key(|(name, _)| name.len());
    match longest {
        Some((name, c)) => format!("{c}{}", &body[name.len()..]),
        None => reference,
    }
}
