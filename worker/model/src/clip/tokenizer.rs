//! CLIP's byte-pair tokenizer: its cleaning and word splitting here, the merges from
//! `instant-clip-tokenizer`.

use std::borrow::Cow;

use instant_clip_tokenizer::Token;
use regex::Regex;

const START: i64 = 49_406;
const END: i64 = 49_407;

/// A prompt does not fit.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenizeError {
    #[error(
        "prompt \"{prompt}\" has {count} tokens (start and end included), CLIP reads {context}; hint: shorten it"
    )]
    TooLong {
        prompt: String,
        count: usize,
        context: usize,
    },
}

/// Turns prompts into CLIP's token ids.
pub struct Tokenizer {
    merges: instant_clip_tokenizer::Tokenizer,
    words: Regex,
}

impl Default for Tokenizer {
    fn default() -> Self {
        Self::new()
    }
}

impl Tokenizer {
    /// The published vocabulary (49,408 tokens), which is part of the program.
    pub fn new() -> Self {
        // Special tokens typed literally count as such; that is what CLIP's tokenizer does.
        let words = Regex::new(
            r"(?i)<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+",
        )
        .expect("the pattern is constant and valid");
        Self {
            merges: instant_clip_tokenizer::Tokenizer::new(),
            words,
        }
    }

    /// Ids of the prompt between start and end token, padded with 0 to `context`.
    ///
    /// # Errors
    /// More than `context` tokens.
    pub fn encode(&self, prompt: &str, context: usize) -> Result<Vec<i64>, TokenizeError> {
        let mut ids = vec![START];
        let mut pieces: Vec<Token> = Vec::new();
        for word in self.words.find_iter(&clean(prompt)) {
            match word.as_str() {
                "<|startoftext|>" => ids.push(START),
                "<|endoftext|>" => ids.push(END),
                word => {
                    pieces.clear();
                    self.merges.encode(word, &mut pieces);
                    ids.extend(pieces.iter().map(|piece| i64::from(piece.to_u16())));
                }
            }
        }
        ids.push(END);
        if ids.len() > context {
            return Err(TokenizeError::TooLong {
                prompt: prompt.to_owned(),
                count: ids.len(),
                context,
            });
        }
        ids.resize(context, 0);
        Ok(ids)
    }
}

/// CLIP's cleaning: repair of mangled text and typographic quotes (ftfy), HTML entities undone twice,
/// white space collapsed, lower case.
fn clean(prompt: &str) -> String {
    let repaired = plsfix::fix_text(prompt, None);
    let once = html_escape::decode_html_entities(&repaired);
    let twice: Cow<'_, str> = html_escape::decode_html_entities(&once);
    let words: Vec<&str> = twice.split(is_space).filter(|word| !word.is_empty()).collect();
    words.join(" ").to_lowercase()
}

/// What Python's `\s` matches: Unicode white space and the four ASCII separators.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_tokens_typed_literally_are_special() {
        let ids = Tokenizer::new()
            .encode("a <|endoftext|> <|StartOfText|>", 8)
            .unwrap();
        assert_eq!(ids, [START, 320, END, START, END, 0, 0, 0]);
        // The marker of another tokenizer is just text here.
        let ids = Tokenizer::new().encode("<start_of_text>", 20).unwrap();
        assert!(!ids[1..].contains(&START), "{ids:?}");
    }

    #[test]
    fn cleaning_undoes_entities_twice_and_straightens_quotes() {
        assert_eq!(
            clean(" Rain &amp;amp; \u{201c}Snow\u{201d}\t\n NIGHT\u{a0}"),
            "rain & \"snow\" night"
        );
    }

    #[test]
    fn a_prompt_that_is_too_long_is_named_with_its_count() {
        let prompt = "rain ".repeat(80);
        let error = Tokenizer::new().encode(&prompt, 77).unwrap_err();
        assert_eq!(
            error,
            TokenizeError::TooLong {
                prompt,
                count: 82,
                context: 77
            }
        );
        assert!(
            error
                .to_string()
                .contains("has 82 tokens (start and end included), CLIP reads 77")
        );
    }
}
