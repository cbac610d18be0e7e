//! Who may see what: tokens from a file, as hashes, with projects and roles; or Keystone's.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use nephometer_config::AccessSpec;
use nephometer_openstack::ValidatorError;
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tokio::sync::watch;

use super::keystone::KeystoneTokens;
use super::request::Request;
use super::rights::Rights;

/// Checks tokens.
pub(crate) struct Access {
    kind: AccessKind,
}

/// Who may see what while the API runs: it may be replaced between two requests. Copies share it.
#[derive(Clone)]
pub(crate) struct AccessRules(watch::Sender<Arc<Access>>);

impl AccessRules {
    pub(crate) fn new(access: Access) -> Self {
        Self(watch::Sender::new(Arc::new(access)))
    }

    /// Requests from now on are decided by this.
    pub(crate) fn replace(&self, access: Access) {
        self.0.send_replace(Arc::new(access));
    }

    /// The present rules.
    pub(super) fn now(&self) -> Arc<Access> {
        Arc::clone(&self.0.borrow())
    }
}

enum AccessKind {
    /// Everyone is an administrator.
    Loopback,
    File {
        path: PathBuf,
        known: Mutex<Known>,
    },
    Keystone(Box<KeystoneTokens>),
}

#[derive(Default)]
struct Known {
    changed: Option<SystemTime>,
    tokens: Vec<TokenLine>,
}

struct TokenLine {
    hash: [u8; 32],
    project: String,
    roles: Vec<String>,
}

/// Why a file of tokens cannot be used.
#[derive(Debug, Error)]
pub(crate) enum AccessError {
    /// It cannot be read.
    #[error("{path}: {source}; `nephometer-collector token` writes lines for this file")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A line is not as it has to be.
    #[error(
        "{path}:{line}: {what}; a line is `sha256:HASH PROJECT ROLE[,ROLE]`, as `nephometer-collector token` writes it"
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// Keystone cannot be asked with these settings.
    #[error("api.keystone: {0}")]
    Keystone(#[from] ValidatorError),
}

impl Access {
    /// Reads the file, so that its problems are reported at the start.
    pub(crate) fn open(spec: &AccessSpec) -> Result<Self, AccessError> {
        let kind = match spec {
            AccessSpec::Loopback => AccessKind::Loopback,
            AccessSpec::Tokens(path) => {
                let mut known = Known::default();
                known.read(path)?;
                AccessKind::File { path: path.clone(), known: Mutex::new(known) }
            }
            AccessSpec::Keystone { credentials, cache } => {
                AccessKind::Keystone(Box::new(KeystoneTokens::new(credentials, *cache)?))
            }
        };
        Ok(Self { kind })
    }

    /// The rights of a token; `None` if it has none. Without tokens, the name that the client has for this
    /// server must be local: a page in a browser that resolves its own name to this machine (DNS rebinding)
    /// sends that name.
    ///
    /// # Errors
    /// Keystone has to be asked, and does not answer.
    pub(super) fn rights(&self, request: &Request) -> Result<Option<Rights>, ValidatorError> {
        match (&self.kind, request.token.as_deref()) {
            (AccessKind::Loopback, _) => {
                let is_foreign = request.host.as_deref().is_some_and(|host| !is_local(host));
                Ok((!is_foreign).then(Rights::all))
            }
            (_, None) => Ok(None),
            (AccessKind::File { path, known }, Some(token)) => {
                let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(known.rights(path, token))
            }
            (AccessKind::Keystone(keystone), Some(token)) => keystone.rights(token),
        }
    }
}

/// Whether a `Host` field is an address or `localhost`.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

impl Known {
    /// A changed file is read again; while it cannot be read, the tokens of before stay.
    fn rights(&mut self, path: &Path, token: &str) -> Option<Rights> {
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if self.changed != changed(path) {
            // `health` would be no place for this: the file is the operator's, who sees no effect.
            drop(self.read(path));
        }
        // A hash is compared, not the token: equal beginnings of hashes help nobody to guess.
        let line = self.tokens.iter().find(|line| line.hash == hash)?;
        Rights::of(Some(line.project.clone()), &line.roles)
    }

    fn read(&mut self, path: &Path) -> Result<(), AccessError> {
        let io = |source| AccessError::Io { path: path.to_owned(), source };
        let changed = changed(path);
        let text = nephometer_files::read_text(path).map_err(io)?;
        let mut tokens = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let wrong = |what| AccessError::Line { path: path.to_owned(), line: at + 1, what };
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let mut words = line.split_whitespace();
            let (hash, project, roles) = (words.next(), words.next(), words.next());
            let mut bytes = [0; 32];
            let digits = hash.and_then(|hash| hash.strip_prefix("sha256:"));
            let digits = digits.ok_or_else(|| wrong("no hash"))?;
            hex::decode_to_slice(digits, &mut bytes).map_err(|_| wrong("no SHA-256 hash"))?;
            let project = project.ok_or_else(|| wrong("no project"))?.to_owned();
            let roles = roles.ok_or_else(|| wrong("no role"))?;
            if words.next().is_some() {
                return Err(wrong("more than three words"));
            }
            let roles = roles.split(',').map(str::to_owned).collect();
            tokens.push(TokenLine { hash: bytes, project, roles });
        }
        *self = Self { changed, tokens };
        Ok(())
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|found| found.modified()).ok()
}

/// The hash of a token in a line of the file.
pub(crate) fn hashed(token: &str) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(token.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_projects_and_roles() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let line = |token: &str, rest: &str| format!("{} {rest}\n", hashed(token));
        let text = [
            "# people\n",
            &line("a", "p admin"),
            &line("b", "p member,reader"),
            &line("c", "q auditor # x"),
        ]
        .concat();
        std::fs::write(&path, text).unwrap();
        let access = Access::open(&AccessSpec::Tokens(path.clone())).unwrap();
        let asks =
            |token: Option<&str>| Request { token: token.map(str::to_owned), ..Request::default() };
        let rights = |token| access.rights(&asks(Some(token))).unwrap();
        let found = |project: Option<&str>, own: &str, writes| {
            Some(Rights { project: project.map(str::to_owned), own: Some(own.into()), writes })
        };
        assert_eq!(rights("a"), found(None, "p", true));
        assert_eq!(rights("b"), found(Some("p"), "p", true));
        assert_eq!(rights("c"), found(None, "q", false));
        assert_eq!((rights("d"), access.rights(&asks(None))), (None, Ok(None)));
        // A revoked token ends with the file.
        std::fs::write(&path, line("d", "p member")).unwrap();
        let later = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert_eq!((rights("a"), rights("d")), (None, found(Some("p"), "p", true)));
    }

    /// Once, a page of any site could read the store through a browser on this machine.
    #[test]
    fn without_tokens_the_name_of_the_server_is_local() {
        let access = Access::open(&AccessSpec::Loopback).unwrap();
        let is_let_in = |host: Option<&str>| {
            let request = Request { host: host.map(str::to_owned), ..Request::default() };
            access.rights(&request).unwrap().is_some()
        };
        for host in ["localhost", "LOCALHOST:8977", "127.0.0.1:8977", "[::1]:8977", "[::1]"] {
            assert!(is_let_in(Some(host)), "{host}");
        }
        assert!(is_let_in(None));
        for host in ["evil.example", "evil.example:8977", "localhost.evil.example", ""] {
            assert!(!is_let_in(Some(host)), "{host}");
        }
    }

    #[test]
    fn lines_are_checked_with_place_and_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        for (text, expected) in [
            ("abc p admin", "tokens:1: no hash; a line is `sha256:HASH PROJECT"),
            ("\nsha256:abc p admin", "tokens:2: no SHA-256 hash"),
            (&format!("{} p", hashed("x")), "no role"),
            (&format!("{} p admin x", hashed("x")), "more than three words"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Access::open(&AccessSpec::Tokens(path.clone())).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        let missing = Access::open(&AccessSpec::Tokens(path)).err().unwrap().to_string();
        assert!(missing.contains("nephometer-collector token"), "{missing}");
    }
}
