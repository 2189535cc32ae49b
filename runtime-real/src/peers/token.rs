//! The one-time token with which a node joins: which cluster, whose certificate to trust, and a secret.
//!
//! - `TOKEN-1` A token names the cluster's authority, so a joining node tells nobody else its secret.
//! - `TOKEN-2` A typing error is told apart from a wrong token: the text ends in a checksum.
//! - `TOKEN-3` The cluster keeps the hash of the secret only, so who reads its state cannot join with it.
//!
//! ```text
//! anvil1-<base64url of: cluster 16 bytes, most significant first | SHA-256 of the authority's certificate | secret 16 |
//!                       CRC-32C of these 64 bytes, most significant first>
//! ```

use super::ca::Ca;
use base64_simd::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;

const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);

/// Before the number of the token's form.
const NAME: &str = "anvil";
/// The one form that this version reads and writes.
const FORM: &str = "1";
/// Bytes behind the base64url.
const SIZE: usize = 16 + 32 + 16 + 4;
/// Letters of the base64url.
const LETTERS: usize = (SIZE * 8).div_ceil(6);

/// A token. Secret: it does not appear in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// The cluster.
    pub cluster: u128,
    /// SHA-256 of the authority's certificate, in DER.
    pub ca_fingerprint: [u8; 32],
    /// What the cluster knows the hash of.
    pub secret: [u8; 16],
}

/// What is wrong with a text that should be a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// It does not begin as a token does.
    Beginning,
    /// It is a token of another form than this version knows.
    Form(String),
    /// It has a letter that no token has, at this place (from 1).
    Letter { letter: char, place: usize },
    /// It has another number of letters than a token.
    Length { found: usize },
    /// Its checksum does not match.
    Checksum,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenError::Beginning => {
                write!(f, "a token begins with \"{NAME}{FORM}-\"; copy what `anvil cluster token` printed")
            }
            TokenError::Form(form) => write!(
                f,
                "the token has form {form}, and this version knows form {FORM}; use the binary that the cluster runs"
            ),
            TokenError::Letter { letter, place } => {
                write!(f, "the token has {letter:?} at place {place}, which no token has; copy it again")
            }
            TokenError::Length { found } => write!(
                f,
                "the token has {found} letters after \"{NAME}{FORM}-\" instead of {LETTERS}: a part is missing or too \
                 much; copy it again"
            ),
            TokenError::Checksum => f.write_str("the token was mistyped: its checksum does not match; copy it again"),
        }
    }
}

impl std::error::Error for TokenError {}

impl JoinToken {
    /// Draws the token that the holder of `ca` gives to a node. The cluster must learn its
    /// [`secret_hash`](JoinToken::secret_hash).
    #[must_use]
    pub fn draw(ca: &Ca) -> JoinToken {
        // TOKEN-1
        JoinToken { cluster: ca.cluster(), ca_fingerprint: ca.fingerprint(), secret: crate::node::random() }
    }

    /// What the cluster keeps (`TOKEN-3`).
    #[must_use]
    pub fn secret_hash(&self) -> [u8; 32] {
        secret_hash(&self.secret)
    }
}

/// What the cluster keeps of a secret. Secrets are drawn from 2^128, so a plain hash cannot be tried through.
#[must_use]
pub fn secret_hash(secret: &[u8; 16]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [&self.cluster.to_be_bytes()[..], &self.ca_fingerprint, &self.secret].concat();
        bytes.extend_from_slice(&CRC.checksum(&bytes).to_be_bytes());
        write!(f, "{NAME}{FORM}-{}", URL_SAFE_NO_PAD.encode_to_string(bytes))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken(of cluster {:032x})", self.cluster)
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<JoinToken, TokenError> {
        let text = text.trim();
        let (form, letters) =
            text.strip_prefix(NAME).and_then(|rest| rest.split_once('-')).ok_or(TokenError::Beginning)?;
        if form != FORM {
            let is_number = !form.is_empty() && form.bytes().all(|byte| byte.is_ascii_digit());
            return Err(if is_number { TokenError::Form(form.to_owned()) } else { TokenError::Beginning });
        }
        let before = text.chars().count() - letters.chars().count();
        let wrong = letters.chars().enumerate().find(|(_, c)| !(c.is_ascii_alphanumeric() || "-_".contains(*c)));
        if let Some((at, letter)) = wrong {
            return Err(TokenError::Letter { letter, place: before + at + 1 });
        }
        if letters.len() != LETTERS {
            return Err(TokenError::Length { found: letters.len() });
        }
        // TOKEN-2. The last letter has bits to spare: a decoder refuses them, and that is a typing error too.
        let bytes = URL_SAFE_NO_PAD.decode_to_vec(letters).map_err(|_| TokenError::Checksum)?;
        let (content, checksum) = bytes.split_last_chunk::<4>().ok_or(TokenError::Checksum)?;
        if CRC.checksum(content) != u32::from_be_bytes(*checksum) {
            return Err(TokenError::Checksum);
        }
        let (cluster, rest) = content.split_first_chunk::<16>().ok_or(TokenError::Checksum)?;
        let (ca_fingerprint, secret) = rest.split_first_chunk::<32>().ok_or(TokenError::Checksum)?;
        let secret = secret.try_into().map_err(|_| TokenError::Checksum)?;
        Ok(JoinToken { cluster: u128::from_be_bytes(*cluster), ca_fingerprint: *ca_fingerprint, secret })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        JoinToken { cluster: 0xC1, ca_fingerprint: [0xFA; 32], secret: [0x5E; 16] }
    }

    #[test]
    fn a_token_has_its_golden_text() {
        let text = "anvil1-AAAAAAAAAAAAAAAAAAAAwfr6-vr6-vr6-vr6-vr6-vr6-vr6-vr6-vr6-vr6-vr6Xl5eXl5eXl5eXl5eXl5eXs2qKeY";
        assert_eq!(token().to_string(), text);
        assert_eq!(text.parse(), Ok(token()));
        assert_eq!(format!(" {text}\n").parse(), Ok(token()), "what a copy brings along");
        assert!(!format!("{:?}", token()).contains("94"), "the secret is not shown");
    }

    #[test]
    fn every_typing_error_is_noticed() {
        let text = token().to_string();
        for at in 0..text.len() {
            for letter in ["A", "b", "7", "_", "-", "!", "é"] {
                let mut typed = text.clone();
                typed.replace_range(at..=at, letter);
                assert!(typed == text || typed.parse::<JoinToken>().is_err(), "{typed}");
            }
            let mut cut = text.clone();
            cut.remove(at);
            assert!(cut.parse::<JoinToken>().is_err(), "{cut}");
        }
        for at in 7..text.len() - 1 {
            let mut swapped = text.clone().into_bytes();
            swapped.swap(at, at + 1);
            let swapped = String::from_utf8(swapped).unwrap();
            assert!(swapped == text || swapped.parse::<JoinToken>() == Err(TokenError::Checksum), "{swapped}");
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let text = token().to_string();
        let error = |text: &str| text.parse::<JoinToken>().unwrap_err();
        assert_eq!(error("hunter2"), TokenError::Beginning);
        assert_eq!(error(""), TokenError::Beginning);
        assert_eq!(error(&text.replacen('1', "2", 1)), TokenError::Form("2".to_owned()));
        assert_eq!(error(&text.replacen("AAA", "A A", 1)), TokenError::Letter { letter: ' ', place: 9 });
        assert_eq!(error(&text[..50]), TokenError::Length { found: 43 });
        assert_eq!(error(&text.replacen("AAA", "AAB", 1)), TokenError::Checksum);
        assert!(error(&text[..50]).to_string().contains("43 letters"));
    }

    #[test]
    fn tokens_are_drawn_anew() {
        let ca = Ca::generate(7);
        let (one, two) = (JoinToken::draw(&ca), JoinToken::draw(&ca));
        assert_eq!((one.cluster, one.ca_fingerprint), (two.cluster, two.ca_fingerprint));
        assert_ne!(one.secret_hash(), two.secret_hash());
    }
}
