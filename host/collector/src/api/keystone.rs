//! Tokens of Keystone, validated by it and kept for a while.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nephometer_config::CloudSpec;
use nephometer_model::{Bound, Timestamp};
use nephometer_openstack::{TokenOwner, TokenValidator, ValidatorError};
use nephometer_telemetry::events::collector as events;
use sha2::{Digest as _, Sha256};

use super::rights::Rights;
use crate::ingest::writer::now;

/// The digest of a token: tokens themselves are not kept.
type TokenDigest = [u8; 32];

/// Asks Keystone about tokens.
pub(super) struct KeystoneTokens {
    validator: TokenValidator,
    url: String,
    known: Mutex<TokenCache>,
    /// Whether the outage is logged.
    failing: AtomicBool,
}

impl KeystoneTokens {
    pub(super) fn new(spec: &CloudSpec, life: Duration) -> Result<Self, ValidatorError> {
        Ok(Self {
            validator: TokenValidator::new(spec)?,
            url: spec.auth_url.clone(),
            known: Mutex::new(TokenCache { life, entries: HashMap::new() }),
            failing: AtomicBool::new(false),
        })
    }

    /// The rights of a token; `None` if it has none. Blocks while Keystone is asked.
    ///
    /// # Errors
    /// Keystone does not answer.
    pub(super) fn rights(&self, token: &str) -> Result<Option<Rights>, ValidatorError> {
        let digest: TokenDigest = Sha256::digest(token.as_bytes()).into();
        if let Some(rights) = self.cache().get(&digest, Instant::now()) {
            return Ok(Some(rights));
        }
        // Queries run on threads for blocking work, within the runtime.
        let runtime = tokio::runtime::Handle::current();
        let owner = match runtime.block_on(self.validator.validate(token)) {
            Ok(owner) => owner,
            Err(error) => {
                if !self.failing.swap(true, Relaxed) {
                    events::keystone_unavailable(&self.url, &error);
                }
                return Err(error);
            }
        };
        if self.failing.swap(false, Relaxed) {
            events::keystone_available(&self.url);
        }
        let Some(owner) = owner else { return Ok(None) };
        let left = remaining(owner.expires, now());
        let Some(rights) = rights(owner) else { return Ok(None) };
        self.cache().put(digest, &rights, (Instant::now(), left));
        Ok(Some(rights))
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, TokenCache> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time until a token ends. One without an end is not kept.
fn remaining(expires: Option<Timestamp>, now: Timestamp) -> Duration {
    let until = expires.map_or(0, Timestamp::as_nanos);
    Duration::from_nanos(until.saturating_sub(now.as_nanos()))
}

/// Tokens of a project and of the whole system have rights. Roles of a domain are for its own
/// administration.
fn rights(owner: TokenOwner) -> Option<Rights> {
    let TokenOwner { project, system, roles, .. } = owner;
    if project.is_none() && !system {
        return None;
    }
    Rights::of(project, &roles)
}

/// Rights of tokens that Keystone has accepted, and until when they are used.
struct TokenCache {
    life: Duration,
    entries: HashMap<TokenDigest, (Rights, Instant)>,
}

impl TokenCache {
    fn get(&self, digest: &TokenDigest, now: Instant) -> Option<Rights> {
        let (rights, until) = self.entries.get(digest)?;
        (now < *until).then(|| rights.clone())
    }

    /// Keeps rights for `left` at most.
    fn put(&mut self, digest: TokenDigest, rights: &Rights, (now, left): (Instant, Duration)) {
        if Bound::QueryTokens.check(self.entries.len() + 1).is_err() {
            self.entries.retain(|_, (_, until)| now < *until);
        }
        if Bound::QueryTokens.check(self.entries.len() + 1).is_err() {
            self.entries.clear();
        }
        if let Some(until) = now.checked_add(left.min(self.life)) {
            self.entries.insert(digest, (rights.clone(), until));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(project: Option<&str>, system: bool, roles: &[&str]) -> TokenOwner {
        TokenOwner {
            project: project.map(str::to_owned),
            system,
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            expires: None,
        }
    }

    #[test]
    fn cached_tokens_end_at_their_expiry_or_with_the_cache() {
        let life = Duration::from_secs(60);
        let mut cache = TokenCache { life, entries: HashMap::new() };
        let rights = rights(owner(Some("p"), false, &["member"])).unwrap();
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        cache.put([1; 32], &rights, (now, 10 * second));
        cache.put([2; 32], &rights, (now, 3_600 * second));
        cache.put([3; 32], &rights, (now, Duration::ZERO));
        let known = |digest: u8, after: Duration| cache.get(&[digest; 32], now + after).is_some();
        assert_eq!((known(1, 9 * second), known(1, 10 * second)), (true, false));
        assert_eq!((known(2, 59 * second), known(2, 60 * second)), (true, false));
        assert!(!known(3, Duration::ZERO) && !known(4, Duration::ZERO));
        for number in 0..20_000_u32 {
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&number.to_be_bytes());
            cache.put(digest, &rights, (now, second));
        }
        assert!(cache.entries.len() <= 10_000);
        let at = |text: &str| Timestamp::parse(text).unwrap();
        let expires = Some(at("2026-11-30T12:00:00Z"));
        assert_eq!(remaining(expires, at("2026-11-30T11:59:00Z")), life);
        assert_eq!(remaining(expires, at("2026-11-30T12:00:01Z")), Duration::ZERO);
        assert_eq!(remaining(None, at("2026-11-30T12:00:01Z")), Duration::ZERO);
    }

    #[test]
    fn only_projects_and_the_system_have_rights() {
        let seen = |owner| rights(owner).map(|rights| (rights.project, rights.writes));
        assert_eq!(seen(owner(Some("p"), false, &["member"])), Some((Some("p".into()), true)));
        assert_eq!(seen(owner(Some("p"), false, &["admin"])), Some((None, true)));
        assert_eq!(seen(owner(Some("p"), false, &["auditor"])), Some((None, false)));
        assert_eq!(seen(owner(None, true, &["admin"])), Some((None, true)));
        assert_eq!(seen(owner(None, true, &["reader"])), None);
        // Of a domain, or without scope.
        assert_eq!(seen(owner(None, false, &["admin"])), None);
        assert_eq!(seen(owner(None, false, &[])), None);
        // A token without any role in its project.
        assert_eq!(seen(owner(Some("p"), false, &[])), None);
    }
}
