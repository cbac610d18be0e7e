//! Components from registries: where each comes from, how a registry is reached, and whose
//! signatures are required.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use nephometer_model::{Bound, Glob, Secret};

const SCHEME: &str = "oci://";
/// The longest path of a repository and the longest tag, as the specification of registries has them.
const REPOSITORY_BYTES: usize = 255;
const TAG_BYTES: usize = 128;

/// SHA-256 of a manifest or a file in a registry. Its text is `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentDigest([u8; 32]);

impl ContentDigest {
    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 hexadecimal digits.
    pub fn digits(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The first 12 digits, for people.
    pub fn short(&self) -> String {
        self.digits()[..12].to_owned()
    }
}

impl From<[u8; 32]> for ContentDigest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.digits())
    }
}

impl FromStr for ContentDigest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write the digest as sha256: and 64 hexadecimal digits".to_owned();
        let digits = text.strip_prefix("sha256:").ok_or_else(wrong)?;
        let is_hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
        if digits.len() != 64 || !digits.as_bytes().iter().all(is_hex) {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

/// A component in a registry: `oci://HOST[:PORT]/REPOSITORY[:TAG][@sha256:DIGEST]`, with a tag, a
/// digest or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentReference {
    /// Host, and port if there is one.
    pub registry: String,
    /// The path of the repository.
    pub repository: String,
    /// The tag. With a digest it is only a name for people.
    pub tag: Option<String>,
    /// The digest of the manifest.
    pub digest: Option<ContentDigest>,
}

impl ComponentReference {
    /// The same repository at this digest, without a tag.
    pub fn at(&self, digest: ContentDigest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }
}

impl fmt::Display for ComponentReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for ComponentReference {
    type Err = String;

    /// The error is what would be right.
    fn from_str(text: &str) -> Result<Self, String> {
        Bound::UrlBytes.check(text.len()).map_err(|exceeded| exceeded.to_string())?;
        let form = || format!("write {SCHEME}HOST/REPOSITORY:TAG, with @sha256:DIGEST to pin it");
        let rest = text.strip_prefix(SCHEME).ok_or_else(form)?;
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (rest, None),
        };
        let (registry, path) = rest.split_once('/').ok_or_else(form)?;
        if !is_registry(registry) {
            return Err(form());
        }
        let (repository, tag) = match path.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (path, None),
        };
        if !is_repository(repository) {
            return Err("write the repository in lower case, such as team/name".to_owned());
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err("write a tag of letters, digits, `.`, `_` and `-`".to_owned());
        }
        if tag.is_none() && digest.is_none() {
            return Err("add a tag or a digest: there is no default".to_owned());
        }
        let (registry, repository) = (registry.to_owned(), repository.to_owned());
        Ok(Self { registry, repository, tag: tag.map(str::to_owned), digest })
    }
}

/// Whether a text is a host with or without a port.
pub(crate) fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_address = |host: &str| {
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        inner.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
    };
    let is_name = |host: &str| {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        !host.is_empty() && host.chars().all(good)
    };
    port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
        && (is_name(host) || is_address(host))
}

fn is_repository(text: &str) -> bool {
    let part = |part: &str| {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        part.starts_with(good)
            && part.ends_with(good)
            && part.chars().all(|c| good(c) || matches!(c, '.' | '_' | '-'))
            && !part.contains("..")
    };
    text.len() <= REPOSITORY_BYTES && text.split('/').all(part)
}

fn is_tag(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= TAG_BYTES
        && text.starts_with(good)
        && text.chars().all(|c| good(c) || matches!(c, '.' | '-'))
}

/// `components.by_name.NAME.from`, with the digest that the lock file has for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentOrigin {
    /// As written.
    pub reference: ComponentReference,
    /// The digest that the lock file has for this reference, if it names none itself.
    pub locked: Option<ContentDigest>,
}

impl ComponentOrigin {
    /// The digest of the manifest that is used; `None` if the tag was never resolved.
    pub fn digest(&self) -> Option<ContentDigest> {
        self.reference.digest.or(self.locked)
    }
}

/// An entry of `components.registries`: how a registry is reached.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RegistrySpec {
    /// `ca`: authorities to trust besides those of the system.
    pub ca: Option<PathBuf>,
    /// Who the agent is; `None` without a login.
    pub identity: Option<RegistryIdentity>,
    /// `plain_http`: without TLS.
    pub plain_http: bool,
}

/// A login at a registry.
#[derive(Debug, Clone, PartialEq)]
pub enum RegistryIdentity {
    /// `username` and `password`, for the registry itself or for its token service.
    Password {
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
    /// `token`: sent as a bearer token.
    Token(Secret),
}

/// `components.signatures`: whose signatures count, and which components need one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SignaturesSpec {
    /// `keys`, by name.
    pub keys: BTreeMap<String, CodeKeySpec>,
    /// `require_signature`: names and globs.
    pub require: Vec<Glob>,
    /// `allow_unsigned`: names and globs.
    pub allow: Vec<Glob>,
}

/// A public key of those who sign components.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeKeySpec {
    /// `pem`: a public key of ECDSA on P-256.
    pub pem: String,
    /// `revoked`: its signatures do not count any more.
    pub revoked: bool,
}

impl SignaturesSpec {
    /// Whether a component needs a signature. One from a registry does by default, a file does not.
    /// A name in a list wins over globs, and `require_signature` over `allow_unsigned`.
    pub fn requires(&self, name: &str, from_registry: bool) -> bool {
        let named = |globs: &[Glob]| globs.iter().any(|glob| glob.as_str() == name);
        let matched = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(name));
        if named(&self.require) {
            return true;
        }
        if named(&self.allow) {
            return false;
        }
        matched(&self.require) || (from_registry && !matched(&self.allow))
    }
}

/// What a component from a registry, or a shadow, is now. Not a key: the agent sets it before it loads components.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provision {
    /// A verified file.
    File {
        /// Its path.
        path: PathBuf,
        /// The digest that its content must have.
        digest: ContentDigest,
    },
    /// A file whose content may change: that of a shadow.
    Local(PathBuf),
    /// Not here or not accepted; the reason and the remedy.
    Missing(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn references_keep_their_text() {
        for text in [
            "oci://registry.example/price:1".to_owned(),
            "oci://registry.example:5000/team/a/price:v1.2_3-4".to_owned(),
            format!("oci://[::1]:5000/price@{DIGEST}"),
            format!("oci://127.0.0.1:5000/price:1@{DIGEST}"),
        ] {
            let reference: ComponentReference = text.parse().unwrap();
            assert_eq!(reference.to_string(), text);
        }
    }

    #[test]
    fn wrong_references_are_refused_with_what_is_right() {
        let upper = DIGEST.to_uppercase();
        for (text, right) in [
            ("registry.example/price:1", "oci://HOST"),
            ("oci://registry.example", "oci://HOST"),
            ("oci:///price:1", "oci://HOST"),
            ("oci://registry.example:0/price:1", "oci://HOST"),
            ("oci://user:secret/price:1", "oci://HOST"),
            ("oci://registry.example/price", "a tag or a digest"),
            ("oci://registry.example/Price:1", "lower case"),
            ("oci://registry.example/a//b:1", "lower case"),
            ("oci://registry.example/../b:1", "lower case"),
            ("oci://registry.example/price:", "a tag of"),
            ("oci://registry.example/price:a b", "a tag of"),
            ("oci://registry.example/price:1@sha256:00", "64"),
            (&format!("oci://registry.example/price@{upper}"), "sha256:"),
        ] {
            let error = text.parse::<ComponentReference>().unwrap_err();
            assert!(error.contains(right), "{text}: {error}");
        }
    }

    #[test]
    fn a_name_wins_over_globs_and_a_registry_needs_signatures() {
        let globs = |texts: &[&str]| -> Vec<Glob> {
            texts.iter().map(|text| Glob::new(text).unwrap()).collect()
        };
        let spec = |require: &[&str], allow: &[&str]| SignaturesSpec {
            keys: BTreeMap::new(),
            require: globs(require),
            allow: globs(allow),
        };
        let default = SignaturesSpec::default();
        assert!(default.requires("a", true) && !default.requires("a", false));
        let all = spec(&["*"], &["rate_*", "price"]);
        assert!(all.requires("a", false) && all.requires("rate_of_change", false));
        assert!(!all.requires("price", true) && !all.requires("price", false));
        let one = spec(&["price"], &["*"]);
        assert!(one.requires("price", false) && !one.requires("a", true));
    }
}
