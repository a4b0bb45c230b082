//! The secrets of a session: values that its agent finds in its environment and nowhere else.
//!
//! They are kept encrypted (XChaCha20-Poly1305, draft-irtf-cfrg-xchacha; a random nonce for each) with a key that lies
//! outside of the data folder, bound to their session and name, so that a row that is moved to another session does not
//! open. Beside each stands the name of the key, so that a wrong key is told from a damaged row. They are removed when
//! the session is over. Subkeys are derived from the key by HMAC-SHA-256 (RFC 2104), one for each use.
//!
//! What an agent does with a secret is not watched: messages and outputs are not searched for it.

mod file;

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{Key, KeyInit as _, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac as _};
use secrecy::{ExposeSecret as _, SecretBox, SecretSlice, SecretString};
use sha2::Sha256;

pub use file::{KeyFileError, make_key_file};

use super::environment::Environment;
use super::store::{self, Claim};
use super::turn::WorkError;
use super::{SessionError, Sessions, words};
use crate::hex;
use crate::id::SessionId;

/// Secrets that one session may have.
pub const MAX_SECRETS: usize = 50;
/// Bytes in the names and values of all of them: an environment has no room for more beside what else is in it.
pub const MAX_SECRET_BYTES: usize = 512 * 1024;
/// Bytes of `NAME=value` at most: what Linux takes as one variable (`MAX_ARG_STRLEN`, with its final NUL).
const MAX_VARIABLE: usize = 128 * 1024 - 1;
/// Bytes of a key.
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// Names that the service sets itself, or that change how shells and the system's library run a program. Some of these
/// act on bubblewrap, which holds the agent and is not held itself.
const RESERVED: [&str; 19] = [
    "BASH_ENV",
    "ENV",
    "GCONV_PATH",
    "GETCONF_DIR",
    "GLIBC_TUNABLES",
    "HOME",
    "HOSTALIASES",
    "IFS",
    "LOCALDOMAIN",
    "LOCPATH",
    "NIS_PATH",
    "NLSPATH",
    "PATH",
    "RESOLV_HOST_CONF",
    "RES_OPTIONS",
    "SHELL",
    "TMPDIR",
    "TZDIR",
    "USER",
];
/// Beginnings of such names.
const RESERVED_PREFIXES: [&str; 3] = ["LD_", "MALLOC_", "SATCHEL_"];

/// A secret as a caller gives it.
#[derive(Debug, Clone)]
pub struct SessionSecret {
    /// The variable's name.
    pub name: String,
    /// Its value.
    pub value: SecretString,
}

/// What is wrong with the secrets of a request; none of these holds a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretFault {
    /// No variable may be called so.
    #[error("a secret's name is that of a variable: letters of ASCII, digits and `_`, and no digit first")]
    Name,
    /// A name that the service or the system keeps for itself.
    #[error("the variable `{0}` is not for secrets: it changes how programs are run")]
    Reserved(String),
    /// A name that the operator's profile sets.
    #[error("the variable `{0}` is set by the agent's profile")]
    OfProfile(String),
    /// A name that the prefix of the operator's profile does not hand on to the agent.
    #[error(
        "the variable `{0}` would not reach the agent, which runs behind the prefix of its profile: leave it away, or \
         have the prefix name it, for example with `-e {0}`"
    )]
    BehindPrefix(String),
    /// The name stands there twice.
    #[error("there are two secrets of the name `{0}`")]
    Twice(String),
    /// Larger than Linux takes.
    #[error("name and value have {0} bytes together; at most {MAX_VARIABLE} are allowed")]
    TooLong(usize),
    /// All of them together are too large.
    #[error("the secrets have {0} bytes together; at most {MAX_SECRET_BYTES} are allowed")]
    TooMuch(usize),
    /// There are too many.
    #[error("there are {0} secrets; at most {MAX_SECRETS} are allowed")]
    TooMany(usize),
    /// The service has no key.
    #[error(
        "session secrets are not accepted, because this service has no key to encrypt them with: leave the field \
         away, or have the service started with `--secret-key-file`"
    )]
    NoKey,
}

/// Judges the secrets of a request; `by_profile` says what the operator's profile has against a name. The number is that
/// of the secret at fault, from 0.
///
/// # Errors
/// The first fault.
pub(super) fn check(
    secrets: &[SessionSecret],
    by_profile: impl Fn(&str) -> Option<SecretFault>,
) -> Result<(), (Option<usize>, SecretFault)> {
    if secrets.len() > MAX_SECRETS {
        return Err((None, SecretFault::TooMany(secrets.len())));
    }
    let mut total = 0;
    for (index, SessionSecret { name, value }) in secrets.iter().enumerate() {
        let at = |fault| Err((Some(index), fault));
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !plain || name.is_empty() || name.as_bytes()[0].is_ascii_digit() {
            return at(SecretFault::Name);
        }
        if RESERVED.contains(&name.as_str()) || RESERVED_PREFIXES.iter().any(|begin| name.starts_with(begin))
        {
            return at(SecretFault::Reserved(name.clone()));
        }
        if let Some(fault) = by_profile(name) {
            return at(fault);
        }
        if secrets[..index].iter().any(|before| before.name == *name) {
            return at(SecretFault::Twice(name.clone()));
        }
        let size = name.len() + 1 + value.expose_secret().len();
        if size > MAX_VARIABLE {
            return at(SecretFault::TooLong(size));
        }
        total += size;
    }
    if total > MAX_SECRET_BYTES { Err((None, SecretFault::TooMuch(total))) } else { Ok(()) }
}

/// The service's key for secrets. Cheap to clone; wiped from memory with the last clone.
#[derive(Clone)]
pub struct SecretKey(Arc<Subkeys>);

struct Subkeys {
    id: String,
    cipher: XChaCha20Poly1305,
    equality: SecretBox<[u8; KEY_BYTES]>,
}

/// A secret as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sealed {
    /// The variable's name.
    pub name: String,
    /// The name of the key.
    pub key_id: String,
    /// Nonce and ciphertext, in base64.
    pub sealed: String,
}

/// Why a kept secret cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum SealError {
    /// Sealed with another key.
    #[error("the secret was encrypted with another key")]
    OtherKey,
    /// Altered, or moved from elsewhere.
    #[error("the encrypted secret is damaged")]
    Damaged,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandomness,
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.id())
    }
}

impl SecretKey {
    /// The key that a text holds: 32 bytes in hexadecimal digits or in base64 (either alphabet, padded or not), blanks
    /// around it left out.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let bytes = if text.len() == 2 * KEY_BYTES {
            unhex(text)
        } else {
            [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD]
                .iter()
                .find_map(|base64| base64.decode(text).ok())
                .map(SecretSlice::from)
        };
        let bytes = bytes.filter(|bytes| bytes.expose_secret().len() == KEY_BYTES)?;
        Some(Self::derived(bytes.expose_secret()))
    }

    /// The name of the key: it tells keys apart and nothing about them.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Encrypts the secrets of a session.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub(super) fn seal_all(
        &self,
        session: &SessionId,
        secrets: &[SessionSecret],
    ) -> Result<Vec<Sealed>, SessionError> {
        secrets.iter().map(|secret| self.seal(session, secret).map_err(SealError::at_create)).collect()
    }

    fn seal(&self, session: &SessionId, secret: &SessionSecret) -> Result<Sealed, SealError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| SealError::NoRandomness)?;
        let aad = bound_to(session, &secret.name);
        let payload = Payload { msg: secret.value.expose_secret().as_bytes(), aad: &aad };
        let ciphertext = self.0.cipher.encrypt(&XNonce::from(nonce), payload);
        let mut sealed = nonce.to_vec();
        // It fails only for texts of more than 256 GiB.
        sealed.extend(ciphertext.map_err(|_| SealError::Damaged)?);
        Ok(Sealed {
            name: secret.name.clone(),
            key_id: self.id().to_owned(),
            sealed: STANDARD.encode(sealed),
        })
    }

    /// Decrypts a secret of a session.
    ///
    /// # Errors
    /// It was encrypted with another key, for another session or name, or is damaged.
    pub(super) fn open(&self, session: &SessionId, sealed: &Sealed) -> Result<SecretString, SealError> {
        if sealed.key_id != self.id() {
            return Err(SealError::OtherKey);
        }
        let bytes = STANDARD.decode(&sealed.sealed).map_err(|_| SealError::Damaged)?;
        let (nonce, ciphertext) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or(SealError::Damaged)?;
        let aad = bound_to(session, &sealed.name);
        let payload = Payload { msg: ciphertext, aad: &aad };
        let value = self.0.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| SealError::Damaged)?;
        match String::from_utf8(value) {
            Ok(value) => Ok(value.into()),
            Err(error) => {
                drop(SecretSlice::from(error.into_bytes()));
                Err(SealError::Damaged)
            }
        }
    }

    /// A digest in which equal secrets are equal and from which nobody without the key learns anything: for telling
    /// equal requests. The order counts.
    pub(super) fn digest(&self, secrets: &[SessionSecret]) -> String {
        let mut mac = hmac(self.0.equality.expose_secret());
        for SessionSecret { name, value } in secrets {
            for text in [name.as_str(), value.expose_secret()] {
                mac.update(&(text.len() as u64).to_be_bytes());
                mac.update(text.as_bytes());
            }
        }
        hex::encode(mac.finalize().into_bytes())
    }

    fn derived(key: &[u8]) -> Self {
        let subkey = |purpose: &str| -> SecretBox<[u8; KEY_BYTES]> {
            let mut mac = hmac(key);
            mac.update(purpose.as_bytes());
            SecretBox::new(Box::new(mac.finalize().into_bytes().into()))
        };
        let name = subkey("satchel session secrets: name of the key");
        let encryption = subkey("satchel session secrets: encryption");
        Self(Arc::new(Subkeys {
            id: hex::encode(&name.expose_secret()[..8]),
            cipher: XChaCha20Poly1305::new(&Key::from(*encryption.expose_secret())),
            equality: subkey("satchel session secrets: equality"),
        }))
    }
}

impl SealError {
    fn at_create(self) -> SessionError {
        SessionError::Sealing(self.to_string())
    }
}

impl Sessions {
    /// The key for the secrets of a request, which are judged; none where there are no secrets.
    pub(super) fn key_for(&self, secrets: &[SessionSecret]) -> Result<Option<&SecretKey>, SessionError> {
        if secrets.is_empty() {
            return Ok(None);
        }
        let refused = |(index, fault)| SessionError::Secret { index, fault };
        let key = self.settings.secret_key.as_ref().ok_or(refused((None, SecretFault::NoKey)))?;
        let profile = self.settings.agents.get(&self.settings.default_agent);
        let by_profile = |name: &str| profile.and_then(|profile| profile.refuses(name));
        check(secrets, by_profile).map_err(refused)?;
        Ok(Some(key))
    }

    /// The secrets of a session as its agent finds them, or why that cannot be, in words for its users.
    pub(super) async fn secrets_of(&self, claim: &Claim) -> Result<Result<Environment, String>, WorkError> {
        let kept = store::secrets(&mut *self.db.read().await?, &claim.id).await?;
        let profile = self.settings.agents.get(&claim.agent);
        let mut env = Environment::default();
        for sealed in kept {
            // The profile may be another one than when the session was created.
            let fault = profile.and_then(|profile| profile.refuses(&sealed.name));
            if let Some(fault @ SecretFault::BehindPrefix(_)) = fault {
                return Ok(Err(words::refused_secret(&fault)));
            }
            let Some(key) = &self.settings.secret_key else {
                return Ok(Err(words::NO_SECRET_KEY.to_owned()));
            };
            match key.open(&claim.id, &sealed) {
                Ok(value) => env.set(sealed.name, value),
                Err(error) => {
                    tracing::error!(session.id = %claim.id, key = sealed.key_id, %error, "a secret cannot be read");
                    return Ok(Err(words::unreadable_secret(&sealed.name, error)));
                }
            }
        }
        Ok(Ok(env))
    }
}

/// A new random key, as [`SecretKey::parse`] reads it.
///
/// # Errors
/// The system gives no random bytes.
pub fn new_key_text() -> Result<SecretString, getrandom::Error> {
    let mut bytes = SecretBox::new(Box::new([0; KEY_BYTES]));
    getrandom::fill(secrecy::ExposeSecretMut::expose_secret_mut(&mut bytes))?;
    Ok(hex::encode(bytes.expose_secret()).into())
}

fn hmac(key: &[u8]) -> Hmac<Sha256> {
    <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length")
}

/// What a ciphertext is bound to. An id has one length and a name no NUL, so no two of these are equal.
fn bound_to(session: &SessionId, name: &str) -> Vec<u8> {
    format!("satchel session secret\0{session}\0{name}").into_bytes()
}

fn unhex(text: &str) -> Option<SecretSlice<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes: Option<Vec<u8>> =
        text.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect();
    bytes.map(SecretSlice::from)
}

#[cfg(test)]
mod tests;
