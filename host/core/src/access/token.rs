//! Bearer tokens: 256 random bits each, known to the host by their SHA-256 only, so that who reads the file learns none. Leaves
//! reading the file, the random bytes and the time to the host. Tested below.

use super::{Caller, Scope};
use crate::id::{Digest, TokenName, hex};
use crate::secret::Secret;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use subtle::ConstantTimeEq as _;

/// How every token begins, so that programs that look for secrets in texts know it.
const PREFIX: &str = "opsward_";
/// Most tokens in a file: each is compared with what a caller presents.
const TOKENS_MAX: usize = 1000;
/// What stands at the top of the file.
const HEAD: &str = "# Tokens of the admin listener, by their SHA-256: written by `opsward token new|revoke`, read by the running host.\n";

/// One token, without the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Whose it is.
    pub name: TokenName,
    /// Of its whole text.
    pub sha256: Digest,
    /// What its holder may do.
    pub scopes: BTreeSet<Scope>,
    /// When it was made.
    pub made_at: Timestamp,
    /// From when it is no longer good; never where absent.
    pub expires_at: Option<Timestamp>,
}

/// The text of a token: given to its holder once and kept nowhere.
pub fn token_text(random: &[u8; 32]) -> Secret {
    Secret::new(format!("{PREFIX}{}", hex(random)))
}

/// All tokens of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens(Vec<Token>);

/// Why a token cannot be added or removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is one of this name.
    #[error("there is a token `{0}` already: `opsward token revoke {0}` first, or choose another name")]
    Taken(TokenName),
    /// There is none of this name.
    #[error("there is no token `{0}`: `opsward token ls` lists them")]
    Unknown(TokenName),
    /// Too many.
    #[error("there are {TOKENS_MAX} tokens already: revoke those that nobody uses")]
    TooMany,
}

/// Why what a caller presents is not good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unrecognised {
    /// No token, or one that was revoked.
    Unknown,
    /// It has expired.
    Expired(TokenName),
}

/// The file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseTokensError {
    /// Not the file that the command writes.
    #[error("{0}")]
    Malformed(String),
    /// A time that is none.
    #[error("token `{name}`: `{text}` is not a time, as in 2026-01-31T12:00:00Z")]
    Time {
        /// Whose.
        name: TokenName,
        /// What stands there.
        text: String,
    },
    /// A name twice, or too many.
    #[error(transparent)]
    Token(#[from] TokenError),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    token: Vec<Row>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: TokenName,
    sha256: Digest,
    scopes: BTreeSet<Scope>,
    made: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
}

impl Tokens {
    /// Reads the file's text.
    pub fn parse(text: &str) -> Result<Self, ParseTokensError> {
        // The whole message would quote the line.
        let file: File =
            toml::from_str(text).map_err(|error| ParseTokensError::Malformed(error.message().to_owned()))?;
        let mut tokens = Self::default();
        for Row { name, sha256, scopes, made, expires } in file.token {
            let time = |text: String| match Timestamp::parse_rfc3339(&text) {
                Some(time) => Ok(time),
                None => Err(ParseTokensError::Time { name: name.clone(), text }),
            };
            let (made_at, expires_at) = (time(made)?, expires.map(time).transpose()?);
            tokens.add(Token { name: name.clone(), sha256, scopes, made_at, expires_at })?;
        }
        Ok(tokens)
    }

    /// The file's text.
    pub fn to_toml(&self) -> String {
        let row = |token: &Token| Row {
            name: token.name.clone(),
            sha256: token.sha256,
            scopes: token.scopes.clone(),
            made: token.made_at.to_iso_seconds(),
            expires: token.expires_at.map(Timestamp::to_iso_seconds),
        };
        let file = File { token: self.0.iter().map(row).collect() };
        format!("{HEAD}{}", toml::to_string(&file).expect("texts and lists of texts have a form in TOML"))
    }

    /// Every one, in the order in which they were made.
    pub fn all(&self) -> &[Token] {
        &self.0
    }

    /// Adds one.
    pub fn add(&mut self, token: Token) -> Result<(), TokenError> {
        if self.0.iter().any(|known| known.name == token.name) {
            return Err(TokenError::Taken(token.name));
        }
        if self.0.len() >= TOKENS_MAX {
            return Err(TokenError::TooMany);
        }
        self.0.push(token);
        Ok(())
    }

    /// Removes one: from then on it is not recognised.
    pub fn revoke(&mut self, name: &TokenName) -> Result<(), TokenError> {
        let before = self.0.len();
        self.0.retain(|token| token.name != *name);
        if self.0.len() == before { Err(TokenError::Unknown(name.clone())) } else { Ok(()) }
    }

    /// Whose token `presented` is. Takes the same time for each wrong one: hashes are compared, whole, and all of them.
    pub fn recognise(&self, presented: &str, now: Timestamp) -> Result<Caller, Unrecognised> {
        let hash = Digest::of(presented.as_bytes());
        let mut found = None;
        for token in &self.0 {
            if bool::from(token.sha256.as_bytes().ct_eq(hash.as_bytes())) {
                found = Some(token);
            }
        }
        let token = found.ok_or(Unrecognised::Unknown)?;
        if token.expires_at.is_some_and(|at| at <= now) {
            return Err(Unrecognised::Expired(token.name.clone()));
        }
        Ok(Caller { name: format!("token:{}", token.name), scopes: token.scopes.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_763_903_642);

    fn token(name: &str, text: &str, expires_at: Option<Timestamp>) -> Token {
        let sha256 = Digest::of(text.as_bytes());
        let name = name.parse().expect("a name");
        Token { name, sha256, scopes: [Scope::Read, Scope::Operate].into(), made_at: NOW, expires_at }
    }

    #[test]
    fn a_token_is_recognised_by_its_whole_text_until_it_expires_or_is_revoked() {
        let good = token_text(&[7; 32]);
        let mut tokens = Tokens::default();
        tokens.add(token("alice", good.expose(), None)).expect("added");
        let later = Timestamp::from_ms(NOW.ms() + 1);
        tokens.add(token("old", "opsward_old", Some(NOW))).expect("added");
        tokens.add(token("bob", "opsward_bob", Some(later))).expect("added");
        let caller = tokens.recognise(good.expose(), NOW).expect("known");
        assert_eq!((caller.name.as_str(), caller.may(Scope::Approve)), ("token:alice", false));
        assert_eq!(
            tokens.recognise("opsward_old", NOW),
            Err(Unrecognised::Expired("old".parse().expect("a name")))
        );
        assert_eq!(tokens.recognise("opsward_bob", NOW).expect("known").name, "token:bob");
        let (whole, hash) = (good.expose(), Digest::of(good.expose().as_bytes()).to_string());
        let forged = ["", "opsward_", &whole[..71], &format!("{whole} "), &whole.to_uppercase(), &hash];
        for forged in forged {
            assert_eq!(tokens.recognise(forged, NOW), Err(Unrecognised::Unknown), "{forged}");
        }
        tokens.revoke(&"alice".parse().expect("a name")).expect("there");
        assert_eq!(tokens.recognise(whole, NOW), Err(Unrecognised::Unknown));
    }

    #[test]
    fn the_file_holds_hashes_and_survives_being_read() {
        let text = token_text(&[0xab; 32]);
        assert_eq!(text.expose().len(), 72);
        let mut tokens = Tokens::default();
        tokens.add(token("alice", text.expose(), Some(NOW))).expect("added");
        tokens.add(token("bot", "x", None)).expect("added");
        let written = tokens.to_toml();
        assert!(!written.contains("abab") && written.contains("name = \"alice\""), "{written}");
        assert_eq!(Tokens::parse(&written), Ok(tokens));
        assert_eq!(Tokens::parse(""), Ok(Tokens::default()));
    }

    #[test]
    fn a_file_that_cannot_be_used_says_why_and_shows_no_hash() {
        let row =
            "[[token]]\nname = 'a'\nsha256 = 'HASH'\nscopes = ['read']\nmade = '2026-01-01T00:00:00Z'\n";
        let row = row.replace("HASH", &"0".repeat(64));
        let cases = [
            (row.replace("read", "root"), "unknown variant `root`"),
            (row.replace("'a'", "'A'"), "`A` is not a valid token name"),
            (row.replace("2026-01-01T00:00:00Z", "soon"), "token `a`: `soon` is not a time"),
            (format!("{row}{row}"), "there is a token `a` already"),
            (format!("{row}secret = 'x'\n"), "unknown field `secret`"),
        ];
        for (text, expected) in cases {
            let problem = Tokens::parse(&text).expect_err(expected).to_string();
            assert!(problem.contains(expected) && !problem.contains("000000"), "{problem}");
        }
    }

    #[test]
    fn a_name_is_taken_once_and_what_is_not_there_cannot_be_revoked() {
        let mut tokens = Tokens::default();
        tokens.add(token("a", "1", None)).expect("added");
        assert!(matches!(tokens.add(token("a", "2", None)), Err(TokenError::Taken(_))));
        assert!(matches!(tokens.revoke(&"b".parse().expect("a name")), Err(TokenError::Unknown(_))));
        assert_eq!(tokens.all().len(), 1);
    }
}
