//! The secret word that every worker of a run knows.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::files;
use crate::{CredentialsError, files::TOKEN};

const LENGTH: std::ops::RangeInclusive<usize> = 16..=512;
/// Of a token made here; its text has two letters for each.
const RANDOM_BYTES: usize = 32;

/// The word itself, on the side that must say it. Never shown.
#[derive(Clone)]
pub struct Token(String);

/// What a token is recognised by, without holding it.
#[derive(Clone, Copy)]
pub struct TokenDigest(blake3::Hash);

impl Token {
    /// Reads `token` of a credentials folder.
    ///
    /// # Errors
    /// It cannot be read, can be read by others, or is no token.
    pub fn read(folder: &Path) -> Result<Self, CredentialsError> {
        files::exists(folder)?;
        let path = folder.join(TOKEN);
        let bytes = files::secret(&path)?;
        let not = |reason| CredentialsError::NotAToken {
            path: path.clone(),
            reason,
        };
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| not("it is not text"))?
            .trim();
        if text.is_empty() {
            return Err(CredentialsError::EmptyToken { path });
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(not("it has spaces, several lines or letters beyond ASCII"));
        }
        if !LENGTH.contains(&text.len()) {
            return Err(not("it is too short or too long"));
        }
        Ok(Self(text.to_owned()))
    }

    /// A new token of 32 random bytes.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn draw() -> std::io::Result<Self> {
        let mut bytes = [0; RANDOM_BYTES];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// The word, to be said over a connection that is trusted or written into a secret file.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn digest(&self) -> TokenDigest {
        TokenDigest(blake3::hash(self.0.as_bytes()))
    }
}

impl TokenDigest {
    /// Whether `said` is the token. Takes the same time whatever was said, but for its length.
    #[must_use]
    pub fn is_of(&self, said: &[u8]) -> bool {
        // Hashes compare in constant time.
        blake3::hash(said) == self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(secret)")
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_recognised_and_never_shown() {
        let token = Token::draw().unwrap();
        assert_eq!(token.reveal().len(), 64);
        assert!(token.digest().is_of(token.reveal().as_bytes()));
        for other in ["", "x", &token.reveal()[1..], Token::draw().unwrap().reveal()] {
            assert!(!token.digest().is_of(other.as_bytes()));
        }
        let shown = format!("{token:?} {:?}", token.digest());
        assert!(!shown.contains(token.reveal()), "{shown}");
        assert_eq!(shown, "Token(secret) TokenDigest(secret)");
    }
}
