//! CLIP's byte-pair tokenizer: its cleaning and word splitting here, the merges from
//! `instant-clip-tokenizer`.

use instant_clip_tokenizer::Token;
use regex::Regex;

use crate::clip::entities::Entities;
use crate::clip::repair::repair;

const START: i64 = 49_406;
const END: i64 = 49_407;

/// A prompt does not fit.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenizeError {
    #[error("prompt \"{prompt}\" has {count} tokens (start and end included), CLIP reads {context}")]
    TooLong {
        prompt: String,
        count: usize,
        context: usize,
    },
}

impl TokenizeError {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::TooLong { .. } => Some("shorten it".to_owned()),
        }
    }
}

/// Turns prompts into CLIP's token ids.
pub struct Tokenizer {
    merges: instant_clip_tokenizer::Tokenizer,
    words: Regex,
    entities: Entities,
    terminal_escape: Regex,
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
        let terminal_escape =
            Regex::new(r"\x1b\[[0-9;]*[a-zA-Z]").expect("the pattern is constant and valid");
        Self {
            merges: instant_clip_tokenizer::Tokenizer::new(),
            words,
            entities: Entities::new(),
            terminal_escape,
        }
    }

    /// Ids of the prompt between start and end token, padded with 0 to `context`.
    ///
    /// # Errors
    /// More than `context` tokens.
    pub fn encode(&self, prompt: &str, context: usize) -> Result<Vec<i64>, TokenizeError> {
        let mut ids = vec![START];
        let mut pieces: Vec<Token> = Vec::new();
        for word in self.words.find_iter(&self.clean(prompt)) {
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

    /// CLIP's cleaning: repair of mangled text and typographic quotes (ftfy), HTML references undone
    /// twice, white space collapsed, lower case.
    fn clean(&self, prompt: &str) -> String {
        // ftfy undoes references first, except in what may be HTML.
        let text = match prompt.contains('<') {
            true => prompt.to_owned(),
            false => self.entities.undo(prompt),
        };
        let repaired = repair(&self.terminal_escape.replace_all(&text, ""));
        let undone = self.entities.undo(&self.entities.undo(&repaired));
        let words: Vec<&str> = undone.split(is_space).filter(|word| !word.is_empty()).collect();
        words.join(" ").to_lowercase()
    }
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
            Tokenizer::new().clean(" Rain &amp;amp; \u{201c}Snow\u{201d}\t\n NIGHT\u{a0}"),
            "rain & \"snow\" night"
        );
    }

    #[test]
    fn odd_prompts_get_the_ids_of_the_reference() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tokens.json");
        let cases: Vec<serde_json::Value> =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let tokenizer = Tokenizer::new();
        let mut wrong = Vec::new();
        for case in &cases {
            let prompt = case["prompt"].as_str().unwrap();
            let expected: Vec<i64> = case["ids"]
                .as_array()
                .unwrap()
                .iter()
                .map(|id| id.as_i64().unwrap())
                .collect();
            let ours = tokenizer.encode(prompt, expected.len().max(77)).unwrap();
            if ours[..expected.len()] != expected || ours[expected.len()..].iter().any(|&id| id != 0) {
                wrong.push(format!(
                    "{prompt:?}: {:?}, expected {:?}",
                    tokenizer.clean(prompt),
                    case["clean"].as_str().unwrap()
                ));
            }
        }
        assert!(
            wrong.is_empty(),
            "{} of {} differ:\n{}",
            wrong.len(),
            cases.len(),
            wrong.join("\n")
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
