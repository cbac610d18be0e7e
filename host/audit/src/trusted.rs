//! The agents' public keys that an auditor trusts: a file with a key on each line.

use std::collections::{HashMap, HashSet};

use nephometer_model::Timestamp;
use nephometer_proof::{KeyId, PublicKey};
use thiserror::Error;

/// Why a file of keys cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {what}")]
pub struct TrustedKeyError {
    /// From 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub what: String,
}

/// The content of the file.
#[derive(Debug, Clone, Default)]
pub struct TrustedKeys {
    keys: HashMap<KeyId, TrustedKey>,
}

/// A key that is trusted.
#[derive(Debug, Clone)]
pub(crate) struct TrustedKey {
    /// The name or the id of its host.
    pub(crate) host: String,
    pub(crate) public: PublicKey,
    /// Microseconds since the epoch, from which its signatures count no more.
    pub(crate) revoked: Option<i64>,
    /// From when on the host is expected; it has signed nothing before.
    since: Option<i64>,
}

impl TrustedKeys {
    /// Reads lines such as `compute-1 9d4e… since=2026-11-01T00:00:00 revoked=2026-11-20T00:00:00`: the
    /// name or the id of a host, a public key, when it was made, and since when it is revoked. `#` begins
    /// a comment.
    ///
    /// # Errors
    /// With the line, what is wrong, and what would be right.
    pub fn parse(text: &str) -> Result<Self, TrustedKeyError> {
        let mut keys: HashMap<KeyId, TrustedKey> = HashMap::new();
        for (at, line) in text.lines().enumerate() {
            let failed = |what| TrustedKeyError { line: at + 1, what };
            let line = line.split('#').next().unwrap_or_default();
            if line.trim().is_empty() {
                continue;
            }
            let key = entry(line).map_err(failed)?;
            let id = key.public.id();
            if keys.contains_key(&id) {
                return Err(failed(format!("the key {id} is in the file twice; remove one line")));
            }
            keys.insert(id, key);
        }
        Ok(Self { keys })
    }

    pub(crate) fn get(&self, id: &KeyId) -> Option<&TrustedKey> {
        self.keys.get(id)
    }

    /// The number of keys.
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    /// Whether a host has a key, by its name or its id.
    pub fn has_host(&self, host: &str) -> bool {
        self.keys.values().any(|key| key.host == host)
    }

    /// The hosts with a key that is valid within a time.
    pub(crate) fn hosts_within(&self, [from, to]: [i64; 2]) -> HashSet<&str> {
        let valid = |key: &&TrustedKey| {
            key.revoked.is_none_or(|revoked| revoked > from)
                && key.since.is_none_or(|since| since < to)
        };
        self.keys.values().filter(valid).map(|key| &*key.host).collect()
    }
}

fn entry(line: &str) -> Result<TrustedKey, String> {
    let mut words = line.split_whitespace();
    let host = words.next().unwrap_or_default().to_owned();
    let right = "write HOST KEY, as `nephometer keys ls --trusted` prints it";
    let Some(public) = words.next() else { return Err(format!("no key; {right}")) };
    let public = public.parse().map_err(|error| format!("{error}; {right}"))?;
    let (mut revoked, mut since) = (None, None);
    for word in words {
        match word.split_once('=') {
            Some(("revoked", time)) => revoked = Some(micros(time)?),
            Some(("since", time)) => since = Some(micros(time)?),
            _ => {
                let right = "write since=TIME or revoked=TIME, or # before a comment";
                return Err(format!("{word:?} is unknown; {right}"));
            }
        }
    }
    Ok(TrustedKey { host, public, revoked, since })
}

/// Microseconds since the epoch.
pub(crate) fn micros(text: &str) -> Result<i64, String> {
    let time = Timestamp::parse(text)?;
    Ok(i64::try_from(time.as_nanos() / 1_000).unwrap_or(i64::MAX))
}

/// A time as text.
pub(crate) fn shown(micros: i64) -> String {
    Timestamp::from_nanos(u64::try_from(micros).unwrap_or(0).saturating_mul(1_000)).iso()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_a_line_and_a_remedy() {
        let key = "1228480b4776e5fc65b675fa7cea1a2a276c8bcfd4319d26fa0685107472a9f5";
        let times = "since=2026-11-10T00:00:00 revoked=2026-11-20T00:00:00";
        let good = format!("# all\ncompute-1 {key} {times} # old\n\n");
        let keys = TrustedKeys::parse(&good).unwrap();
        assert!(keys.count() == 1 && keys.has_host("compute-1"));
        let [since, revoked] = ["2026-11-10T00:00:00", "2026-11-20T00:00:00"].map(micros);
        let (since, revoked) = (since.unwrap(), revoked.unwrap());
        let hosts = |from, to| keys.hosts_within([from, to]).len();
        assert_eq!([hosts(0, since), hosts(0, since + 1)], [0, 1]);
        assert_eq!([hosts(revoked - 1, i64::MAX), hosts(revoked, i64::MAX)], [1, 0]);
        for (text, expected) in [
            ("compute-1", "line 1: no key; write HOST KEY"),
            ("\ncompute-1 12", "line 2: \"12\" is not 64 hexadecimal digits; write HOST KEY"),
            (&format!("a {key} from=1"), "\"from=1\" is unknown; write since=TIME or revoked=TIME"),
            (&format!("a {key} revoked=x"), "\"x\" is not a time"),
            (&format!("a {key}\nb {key}"), "line 2: the key 7c77eb06c8cf74e0 is in the file twice"),
        ] {
            let error = TrustedKeys::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
