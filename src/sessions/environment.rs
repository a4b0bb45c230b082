//! The environment of an agent.
//!
//! It may hold secrets, so what is printed of it for debugging is the names, and the values are wiped from memory when
//! it is dropped. It travels to the supervisor over a socket as JSON; no argument ever holds a part of it.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Serialize, Serializer};

/// Variables by name.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Environment(BTreeMap<String, SecretString>);

impl Environment {
    /// Sets a variable, whatever it was before.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<SecretString>) {
        self.0.insert(name.into(), value.into());
    }

    /// Sets a variable unless it is set.
    pub(crate) fn set_if_missing(&mut self, name: &str, value: impl Into<SecretString>) {
        self.0.entry(name.to_owned()).or_insert_with(|| value.into());
    }

    /// Sets all variables of another environment.
    pub(crate) fn extend(&mut self, other: &Self) {
        self.0.extend(other.0.iter().map(|(name, value)| (name.clone(), value.clone())));
    }

    /// Names and values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.expose_secret()))
    }
}

/// With the values: for the socket of the supervisor.
impl Serialize for Environment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_has_no_values_and_what_is_sent_has() {
        let mut env = Environment::default();
        env.set("TOKEN", "hunter2");
        let printed = format!("{env:?}");
        assert!(printed.contains("TOKEN") && !printed.contains("hunter2"), "{printed}");
        let sent = serde_json::to_string(&env).unwrap();
        assert_eq!(sent, r#"{"TOKEN":"hunter2"}"#);
        let read: Environment = serde_json::from_str(&sent).unwrap();
        assert_eq!(read.iter().collect::<Vec<_>>(), [("TOKEN", "hunter2")]);
    }
}
