//! The requests of the distribution specification that components need.

use std::collections::BTreeMap;

use hyper::Method;
use hyper::StatusCode;
use hyper::body::Bytes;
use tokio::sync::Mutex;
use url::Url;

use super::artifact::{
    self, ACCEPTED, Descriptor, INDEX, Index, MANIFEST, Manifest, OCTETS, digest_of,
};
use super::auth;
use super::connect::Connector;
use super::error::RegistryError;
use super::request::{Answer, Call};
use super::signature::{
    ANNOTATION, ComponentSignature, IMAGE_CONFIG, PAYLOAD, Signer, image_config,
};
use nephometer_config::{ComponentReference, ComponentsSpec, ContentDigest, Proxies, RegistrySpec};
use nephometer_model::{Bound, Secret, clean};

/// The registries of a configuration.
#[derive(Debug, Clone)]
pub struct Registries {
    specs: BTreeMap<String, RegistrySpec>,
    proxies: Proxies,
}

/// A component that was pulled: every digest in it is checked, its signatures are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedComponent {
    /// The digest of the manifest.
    pub digest: ContentDigest,
    /// The manifest.
    pub manifest: Vec<u8>,
    /// The component.
    pub wasm: Vec<u8>,
    /// The signatures that the registry has for it.
    pub signatures: Vec<ComponentSignature>,
}

/// What a push has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushedComponent {
    /// The digest of the manifest.
    pub digest: ContentDigest,
    /// Whether the registry had the component already.
    pub known: bool,
}

impl Registries {
    /// The registries of a configuration.
    pub fn new(spec: &ComponentsSpec) -> Self {
        Self { specs: spec.registries.clone(), proxies: spec.proxies.clone() }
    }

    /// The digest that a reference stands for now. One with a digest is that digest.
    ///
    /// # Errors
    /// If the registry does not have it or does not answer.
    pub async fn resolve(
        &self,
        reference: &ComponentReference,
    ) -> Result<ContentDigest, RegistryError> {
        match reference.digest {
            Some(digest) => Ok(digest),
            None => Ok(self.session(reference, false)?.manifest(reference).await?.0),
        }
    }

    /// Pulls a component with its signatures.
    ///
    /// # Errors
    /// If anything is missing, too large, slow, or not what its digest names.
    pub async fn pull(
        &self,
        reference: &ComponentReference,
    ) -> Result<FetchedComponent, RegistryError> {
        let session = self.session(reference, false)?;
        let (digest, manifest) = session.manifest(reference).await?;
        let (content, size) = component(reference, &manifest)?;
        let wasm = session.blob(content, size, Bound::ComponentBytes).await?;
        let signatures = session.signatures(digest).await?;
        Ok(FetchedComponent { digest, manifest, wasm, signatures })
    }

    /// The signatures that a registry has for a manifest.
    ///
    /// # Errors
    /// If the registry does not answer as specified.
    pub async fn signatures(
        &self,
        reference: &ComponentReference,
        digest: ContentDigest,
    ) -> Result<Vec<ComponentSignature>, RegistryError> {
        self.session(reference, false)?.signatures(digest).await
    }

    /// Pushes a component under a tag. `title` is the name of its file, for those who pull it.
    ///
    /// # Errors
    /// If the reference has no tag, or the registry refuses anything.
    pub async fn push(
        &self,
        reference: &ComponentReference,
        (wasm, title): (Vec<u8>, &str),
        (imports, exports): (&[String], &[String]),
    ) -> Result<PushedComponent, RegistryError> {
        let Some(tag) = reference.tag.as_ref().filter(|_| reference.digest.is_none()) else {
            return Err(RegistryError::NotAComponent {
                what: reference.to_string(),
                reason: "a push needs a tag and no digest".to_owned(),
            });
        };
        let session = self.session(reference, true)?;
        let (manifest, config) = artifact::manifest(&wasm, title, imports, exports);
        let bytes = manifest.bytes();
        let digest = digest_of(&bytes);
        let known = session.find(&session.manifest_url(&digest.to_string())).await?.is_some();
        session.upload(wasm).await?;
        session.upload(config).await?;
        session.put(tag, bytes).await?;
        Ok(PushedComponent { digest, known })
    }

    /// Signs the manifest that a reference stands for, beside the signatures that it has. Returns its
    /// digest.
    ///
    /// # Errors
    /// If it is not there, is not a component, or the registry refuses the signature.
    pub async fn sign(
        &self,
        reference: &ComponentReference,
        signer: &Signer,
    ) -> Result<ContentDigest, RegistryError> {
        let session = self.session(reference, true)?;
        let (digest, manifest) = session.manifest(reference).await?;
        component(reference, &manifest)?;
        let (payload, signature) = signer.sign(reference, digest)?;
        let tag = signature_tag(digest);
        let mut layers = match session.find(&session.manifest_url(&tag)).await? {
            Some(answer) => session.read_manifest(&answer)?.layers,
            None => Vec::new(),
        };
        let mut layer = Descriptor::of(PAYLOAD, &payload);
        layer.annotations = Some(BTreeMap::from([(ANNOTATION.to_owned(), signature)]));
        layers.push(layer);
        let config = image_config(&layers);
        let manifest = Manifest::new(Descriptor::of(IMAGE_CONFIG, &config), layers);
        session.upload(payload).await?;
        session.upload(config).await?;
        session.put(&tag, manifest.bytes()).await?;
        Ok(digest)
    }

    fn session(
        &self,
        reference: &ComponentReference,
        push: bool,
    ) -> Result<Session, RegistryError> {
        let spec = self.specs.get(&reference.registry).cloned().unwrap_or_default();
        let scheme = if spec.plain_http { "http" } else { "https" };
        let base = format!("{scheme}://{}/v2/{}/", reference.registry, reference.repository);
        let base = Url::parse(&base).map_err(|error| RegistryError::NotAComponent {
            what: reference.to_string(),
            reason: error.to_string(),
        })?;
        let actions = if push { "pull,push" } else { "pull" };
        Ok(Session {
            connector: Connector::new(spec.ca.as_deref(), &self.proxies)?,
            authorization: Mutex::new(auth::initial(&spec)),
            scope: format!("repository:{}:{actions}", reference.repository),
            spec,
            base,
        })
    }
}

/// The layer of a manifest with the component.
fn component(
    reference: &ComponentReference,
    manifest: &[u8],
) -> Result<(ContentDigest, u64), RegistryError> {
    let read = Manifest::read(manifest).and_then(|manifest| manifest.component());
    read.map_err(|reason| RegistryError::NotAComponent { what: reference.to_string(), reason })
}

/// The tag under which cosign keeps the signatures of a manifest.
fn signature_tag(digest: ContentDigest) -> String {
    format!("sha256-{}.sig", digest.digits())
}

/// Requests to one repository, with one login.
struct Session {
    connector: Connector,
    spec: RegistrySpec,
    base: Url,
    scope: String,
    authorization: Mutex<Option<Secret>>,
}

impl Session {
    /// Sends a request, and again with a login if the registry asks for one.
    async fn send(&self, mut call: Call) -> Result<Answer, RegistryError> {
        let is_own = call.url.origin() == self.base.origin();
        if is_own {
            call.authorization.clone_from(&*self.authorization.lock().await);
        }
        let answer = self.connector.send(call.clone()).await?;
        if !is_own || answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let login = auth::answer(&self.connector, &self.spec, &answer, &self.scope).await?;
        *self.authorization.lock().await = Some(login.clone());
        call.authorization = Some(login);
        self.connector.send(call).await
    }

    fn url(&self, rest: &str) -> Url {
        // Tags and digests are valid paths.
        self.base.join(&format!("{}{rest}", self.base.path())).unwrap_or_else(|_| self.base.clone())
    }

    fn manifest_url(&self, tag_or_digest: &str) -> Url {
        self.url(&format!("manifests/{tag_or_digest}"))
    }

    /// A manifest that may not exist.
    async fn find(&self, url: &Url) -> Result<Option<Answer>, RegistryError> {
        let call = Call::get(url.clone(), ACCEPTED, Bound::RegistryManifest);
        let answer = self.send(call).await?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(None),
            _ => Ok(Some(answer.success()?)),
        }
    }

    /// The manifest of a reference, with its digest.
    async fn manifest(
        &self,
        reference: &ComponentReference,
    ) -> Result<(ContentDigest, Vec<u8>), RegistryError> {
        let name = match (&reference.digest, &reference.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.clone().unwrap_or_default(),
        };
        let found = self.find(&self.manifest_url(&name)).await?;
        let answer = found.ok_or_else(|| RegistryError::NotFound(reference.to_string()))?;
        let digest = digest_of(&answer.body);
        // What the registry calls it is compared as well: it may have sent another one.
        let named = answer.header("docker-content-digest").map(str::parse::<ContentDigest>);
        let expected = reference.digest.or(named.and_then(Result::ok));
        checked(&answer.what, expected.unwrap_or(digest), digest)?;
        Ok((digest, answer.body))
    }

    fn read_manifest(&self, answer: &Answer) -> Result<Manifest, RegistryError> {
        Manifest::read(&answer.body)
            .map_err(|reason| RegistryError::Answer { what: answer.what.clone(), reason })
    }

    /// A blob of this digest and size.
    async fn blob(
        &self,
        digest: ContentDigest,
        size: u64,
        most: Bound,
    ) -> Result<Vec<u8>, RegistryError> {
        let url = self.url(&format!("blobs/{digest}"));
        let answer = self.send(Call::get(url, OCTETS, most)).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(RegistryError::NotFound(answer.what));
        }
        let answer = answer.success()?;
        if answer.body.len() as u64 != size {
            let found = answer.body.len();
            let reason = format!("it has {found} bytes; the manifest has {size}");
            return Err(RegistryError::Answer { what: answer.what, reason });
        }
        checked(&answer.what, digest, digest_of(&answer.body))?;
        Ok(answer.body)
    }

    /// The signatures of a manifest: those under the tag, and those that refer to it.
    async fn signatures(
        &self,
        digest: ContentDigest,
    ) -> Result<Vec<ComponentSignature>, RegistryError> {
        let mut manifests = Vec::new();
        if let Some(answer) = self.find(&self.manifest_url(&signature_tag(digest))).await? {
            manifests.push(answer);
        }
        for referrer in self.referrers(digest).await? {
            let name = referrer.content().map_err(|reason| RegistryError::Answer {
                what: "the list of referrers".to_owned(),
                reason,
            })?;
            if let Some(answer) = self.find(&self.manifest_url(&name.to_string())).await? {
                checked(&answer.what, name, digest_of(&answer.body))?;
                manifests.push(answer);
            }
        }
        let mut found = Vec::new();
        for answer in manifests {
            for layer in self.read_manifest(&answer)?.layers {
                if found.len() < Bound::RegistrySignatures.size() {
                    found.extend(self.payload(&layer, &answer.what).await?);
                }
            }
        }
        Ok(found)
    }

    /// What refers to a manifest and may have signatures. Registries without the list have it under
    /// a tag.
    async fn referrers(&self, digest: ContentDigest) -> Result<Vec<Descriptor>, RegistryError> {
        let url = self.url(&format!("referrers/{digest}"));
        let call = Call::get(url, INDEX, Bound::RegistryManifest);
        let answer = self.send(call).await?;
        let answer = match answer.status {
            StatusCode::OK => Some(answer),
            // Older registries take it for another request that they do not know.
            StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED => {
                let tag = format!("sha256-{}", digest.digits());
                self.find(&self.manifest_url(&tag)).await?
            }
            _ => return Err(answer.refusal()),
        };
        let Some(answer) = answer else { return Ok(Vec::new()) };
        let index: Index =
            serde_json::from_slice(&answer.body).map_err(|error| RegistryError::Answer {
                what: answer.what.clone(),
                reason: format!("it is not an index: {error}"),
            })?;
        let is_signature = |one: &Descriptor| {
            let kind = one.artifact_type.as_deref();
            kind.is_none_or(|kind| kind.contains("cosign")) && one.media_type == MANIFEST
        };
        let found = index.manifests.into_iter().filter(is_signature);
        Ok(found.take(Bound::RegistrySignatures.size()).collect())
    }

    /// The signature in a layer, if there is one.
    async fn payload(
        &self,
        layer: &Descriptor,
        what: &str,
    ) -> Result<Option<ComponentSignature>, RegistryError> {
        let signature = layer.annotations.as_ref().and_then(|all| all.get(ANNOTATION));
        let Some(signature) = signature.filter(|_| layer.media_type == PAYLOAD) else {
            return Ok(None);
        };
        let digest = layer
            .content()
            .map_err(|reason| RegistryError::Answer { what: what.to_owned(), reason })?;
        let payload = self.blob(digest, layer.size, Bound::RegistryAnswer).await?;
        Ok(Some(ComponentSignature::new(&payload, signature)))
    }

    /// Uploads a blob, unless the registry has it.
    async fn upload(&self, content: Vec<u8>) -> Result<(), RegistryError> {
        let digest = digest_of(&content);
        let mut head =
            Call::get(self.url(&format!("blobs/{digest}")), OCTETS, Bound::RegistryAnswer);
        head.method = Method::HEAD;
        if self.send(head).await?.status.is_success() {
            return Ok(());
        }
        let mut begin = Call::get(self.url("blobs/uploads/"), OCTETS, Bound::RegistryAnswer);
        begin.method = Method::POST;
        begin.content = Some((Bytes::new(), OCTETS));
        let begun = self.send(begin).await?.success()?;
        let unusable = |reason: &str| RegistryError::Answer {
            what: begun.what.clone(),
            reason: reason.to_owned(),
        };
        let location = begun.header("location").ok_or_else(|| unusable("it has no Location"))?;
        let mut url = begun.url.join(location).map_err(|_| unusable("its Location is no URL"))?;
        if url.scheme() != self.base.scheme() {
            return Err(unusable("its Location has another scheme"));
        }
        url.query_pairs_mut().append_pair("digest", &digest.to_string());
        let mut put = Call::get(url, OCTETS, Bound::RegistryAnswer);
        put.method = Method::PUT;
        put.content = Some((Bytes::from(content), OCTETS));
        self.send(put).await?.success().map(drop)
    }

    /// Puts a manifest under a tag.
    async fn put(&self, tag: &str, bytes: Vec<u8>) -> Result<(), RegistryError> {
        let digest = digest_of(&bytes);
        let mut put = Call::get(self.manifest_url(tag), MANIFEST, Bound::RegistryAnswer);
        put.method = Method::PUT;
        put.content = Some((Bytes::from(bytes), MANIFEST));
        let answer = self.send(put).await?.success()?;
        let named = answer.header("docker-content-digest").map(clean);
        match named {
            Some(named) if named != digest.to_string() => Err(RegistryError::Answer {
                what: answer.what,
                reason: format!("it stored {named}; expected {digest}"),
            }),
            _ => Ok(()),
        }
    }
}

fn checked(what: &str, expected: ContentDigest, found: ContentDigest) -> Result<(), RegistryError> {
    if expected == found {
        return Ok(());
    }
    Err(RegistryError::Digest { what: what.to_owned(), expected, found })
}
