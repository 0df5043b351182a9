use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;

use crate::{Audience, Expected, Grant, KeyId, LONGEST_TOKEN, Refusal, Token, encoding, key::Key};

/// More than a rotation ever needs.
const MOST: usize = 16;
const MAC_LENGTH: usize = 32;
/// So that no MAC made with the same secret for something else is a grant's.
const MAC_OF: &[u8] = b"annex grant 1\0";
/// The file that names the key that signs.
const CURRENT: &str = "current";

/// The keys that grants are signed with: one signs, all verify. So a key is replaced by adding the next everywhere, then naming it in
/// `current`, then taking the former out once no grant of it lives.
pub struct KeyRing {
    keys: BTreeMap<KeyId, Key>,
    current: Option<KeyId>,
}

/// Why files are no key ring. No message quotes what is in them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRingError {
    /// No file is a key.
    #[error("there is no key in it")]
    Empty,
    /// More than 16.
    #[error("there are more than {MOST} keys in it")]
    TooMany,
    /// A file whose name is none of a key.
    #[error("{0:?} names no key: letters, digits, hyphens and underscores, at most 64")]
    Name(String),
    /// A file that is no secret.
    #[error("{0} holds no key of 32 to 512 visible characters")]
    Secret(KeyId),
    /// `current` names no key that is there.
    #[error("the file current names no key that is there")]
    Current,
}

/// Why a grant cannot be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// There are several keys, and no file `current`.
    #[error("no file current says which key signs")]
    NoCurrentKey,
    /// The key that signs was derived for another audience.
    #[error("the key that signs is for another audience")]
    WrongAudience,
    /// It ends before it begins, lives longer than any may, or has more in it than fits a header.
    #[error("no grant can say this")]
    Unrepresentable,
}

impl KeyRing {
    /// Reads the files of a folder, each by its name and content, as a mounted Secret has them. A file `current` holds the name of the
    /// key that signs; it may be absent where there is one key, or where nothing is signed. Each other file is a key, called by its
    /// name: 32 to 512 visible ASCII characters, and white space after them.
    ///
    /// # Errors
    /// See [`KeyRingError`].
    pub fn parse(files: &[(String, Vec<u8>)]) -> Result<Self, KeyRingError> {
        let mut keys = BTreeMap::new();
        for (name, content) in files.iter().filter(|(name, _)| name != CURRENT) {
            let id: KeyId = name.parse().map_err(|_| KeyRingError::Name(name.clone()))?;
            let key = Key::parse(content).ok_or_else(|| KeyRingError::Secret(id.clone()))?;
            keys.insert(id, key);
        }
        match keys.len() {
            0 => return Err(KeyRingError::Empty),
            count if count > MOST => return Err(KeyRingError::TooMany),
            _ => {}
        }
        let named = files.iter().find(|(name, _)| name == CURRENT);
        let current = match named {
            Some((_, content)) => {
                let text = std::str::from_utf8(content).map_err(|_| KeyRingError::Current)?;
                let id: KeyId = text.trim().parse().map_err(|_| KeyRingError::Current)?;
                Some(id).filter(|id| keys.contains_key(id)).ok_or(KeyRingError::Current).map(Some)?
            }
            None if keys.len() == 1 => keys.keys().next().cloned(),
            None => None,
        };
        Ok(Self { keys, current })
    }

    /// Whether it says which key signs.
    #[must_use]
    pub fn can_sign(&self) -> bool {
        self.current.is_some()
    }

    /// The files of a ring that verifies for `audience` alone: of each key its name and content. What a runner gets.
    #[must_use]
    pub fn derived(&self, audience: &Audience) -> Vec<(KeyId, String)> {
        let derived = |(id, key): (&KeyId, &Key)| Some((id.clone(), key.derived(audience)?));
        self.keys.iter().filter_map(derived).collect()
    }

    /// The token of a grant.
    ///
    /// # Errors
    /// See [`SignError`].
    pub fn sign(&self, grant: &Grant) -> Result<Token, SignError> {
        let current = self.current.as_ref().and_then(|id| self.keys.get_key_value(id));
        let (id, key) = current.ok_or(SignError::NoCurrentKey)?;
        let key = key.of(&grant.audience).ok_or(SignError::WrongAudience)?;
        let mut bytes = encoding::write(id, grant).ok_or(SignError::Unrepresentable)?;
        let mac = hmac::sign(&key, &[MAC_OF, &bytes].concat());
        bytes.extend(mac.as_ref());
        let token = URL_SAFE_NO_PAD.encode(bytes);
        if token.len() <= LONGEST_TOKEN { Ok(Token(token)) } else { Err(SignError::Unrepresentable) }
    }

    /// What was granted by this token, if it is signed, for this audience and of this time. Says nothing of a body or of whether it was
    /// used before: see [`admit`](crate::admit).
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn verify(&self, token: &str, expected: Expected<'_>) -> Result<Grant, Refusal> {
        if token.len() > LONGEST_TOKEN {
            return Err(Refusal::Malformed);
        }
        // The engine takes no padding and no bits that are left over: one token has one spelling.
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| Refusal::Malformed)?;
        let (signed, mac) = bytes.split_last_chunk::<MAC_LENGTH>().ok_or(Refusal::Malformed)?;
        let (id, grant) = encoding::read(signed).ok_or(Refusal::Malformed)?;
        let key = self.keys.get(&id).ok_or(Refusal::UnknownKey)?;
        let key = key.of(&grant.audience).ok_or(Refusal::WrongAudience)?;
        // In constant time.
        hmac::verify(&key, &[MAC_OF, signed].concat(), mac).map_err(|_| Refusal::BadMac)?;
        if grant.audience != *expected.audience {
            return Err(Refusal::WrongAudience);
        }
        if expected.now.after(expected.skew) < grant.issued {
            return Err(Refusal::NotYetValid);
        }
        if expected.now >= grant.expires.after(expected.skew) {
            return Err(Refusal::Expired);
        }
        Ok(grant)
    }
}

// By hand: no log may show a secret.
impl fmt::Debug for KeyRing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&str> = self.keys.keys().map(KeyId::as_str).collect();
        formatter.debug_struct("KeyRing").field("keys", &ids).field("current", &self.current).finish()
    }
}
