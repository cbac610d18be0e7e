//! The form of a component in a registry: the guidance of the CNCF for wasm as OCI artifacts. One
//! layer `application/wasm`, and a configuration that lists imports and exports.

use std::collections::BTreeMap;

use nephometer_config::ContentDigest;
use nephometer_model::{Bound, clean};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// What is asked for: an index only to report that it is one.
pub(crate) const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, \
                                   application/vnd.oci.image.index.v1+json";
pub(crate) const OCTETS: &str = "application/octet-stream";
const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
const WASM_LAYER: &str = "application/wasm";
/// The name that `oras pull` gives the file.
const TITLE: &str = "org.opencontainers.image.title";
/// The same file makes the same manifest, whenever it is pushed.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// A blob or a manifest that another one names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
}

/// A manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) media_type: Option<String>,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

/// A list of manifests.
#[derive(Debug, Deserialize)]
pub(crate) struct Index {
    pub(crate) manifests: Vec<Descriptor>,
}

impl Descriptor {
    /// Describes content.
    pub(crate) fn of(media_type: &str, content: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: digest_of(content).to_string(),
            size: content.len() as u64,
            artifact_type: None,
            annotations: None,
        }
    }

    /// Its digest.
    ///
    /// # Errors
    /// If it is not SHA-256.
    pub(crate) fn content(&self) -> Result<ContentDigest, String> {
        self.digest
            .parse()
            .map_err(|_| format!("its digest {:?} is not of SHA-256", clean(&self.digest)))
    }
}

impl Manifest {
    pub(crate) fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self { schema_version: 2, media_type: Some(MANIFEST.to_owned()), config, layers }
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// If it is none, or an index.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        if let Ok(manifest) = serde_json::from_slice(bytes) {
            return Ok(manifest);
        }
        Err(match serde_json::from_slice::<Index>(bytes) {
            Ok(_) => {
                "it is an index of several manifests; name one of them by its digest".to_owned()
            }
            Err(error) => format!("its manifest is not in the form of OCI: {error}"),
        })
    }

    /// The bytes of the manifest.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        // A tree of texts and numbers always has a form in JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The layer with the component: its digest and its size in bytes.
    ///
    /// # Errors
    /// With what is wrong.
    pub(crate) fn component(&self) -> Result<(ContentDigest, u64), String> {
        let [layer] = self.layers.as_slice() else {
            return Err(format!(
                "it has {} layers; expected one of {WASM_LAYER}",
                self.layers.len()
            ));
        };
        if layer.media_type != WASM_LAYER {
            let found = clean(&layer.media_type);
            return Err(format!("its layer is {found}; expected {WASM_LAYER}"));
        }
        let size = usize::try_from(layer.size).unwrap_or(usize::MAX);
        Bound::ComponentBytes.check(size).map_err(|exceeded| exceeded.to_string())?;
        Ok((layer.content()?, layer.size))
    }
}

/// SHA-256 of content.
pub(crate) fn digest_of(content: &[u8]) -> ContentDigest {
    ContentDigest::from(<[u8; 32]>::from(Sha256::digest(content)))
}

/// The manifest and the configuration of a component. `title` is the name of its file.
pub(crate) fn manifest(
    component: &[u8],
    title: &str,
    imports: &[String],
    exports: &[String],
) -> (Manifest, Vec<u8>) {
    let mut layer = Descriptor::of(WASM_LAYER, component);
    let config = json!({
        "created": CREATED,
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [layer.digest],
        "component": {"exports": exports, "imports": imports},
    });
    let config = config.to_string().into_bytes();
    layer.annotations = Some(BTreeMap::from([(TITLE.to_owned(), title.to_owned())]));
    (Manifest::new(Descriptor::of(WASM_CONFIG, &config), vec![layer]), config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_the_same_for_the_same_file() {
        let names = ["nephometer:metering/log@0.2.0".to_owned()];
        let (made, config) = manifest(b"component", "price.wasm", &names, &[]);
        let (again, _) = manifest(b"component", "price.wasm", &names, &[]);
        assert_eq!(made.bytes(), again.bytes());
        assert_eq!(made.config, Descriptor::of(WASM_CONFIG, &config));
        assert_eq!(made.component(), Ok((digest_of(b"component"), 9)));
        assert_eq!(Manifest::read(&made.bytes()), Ok(made));
    }

    #[test]
    fn other_artifacts_are_refused_with_what_was_expected() {
        let (good, _) = manifest(b"component", "price.wasm", &[], &[]);
        let refused = |change: &dyn Fn(&mut Manifest)| {
            let mut manifest = good.clone();
            change(&mut manifest);
            manifest.component().unwrap_err()
        };
        assert!(refused(&|one| one.layers.clear()).contains("0 layers; expected one"));
        assert!(refused(&|one| one.layers.push(one.layers[0].clone())).contains("2 layers"));
        let media = "application/vnd.oci.image.layer.v1.tar+gzip";
        let other = refused(&|one| one.layers[0].media_type = media.to_owned());
        assert!(other.contains("tar+gzip; expected application/wasm"), "{other}");
        let size = Bound::ComponentBytes.most() + 1;
        assert!(refused(&|one| one.layers[0].size = size).contains("component_bytes"));
        assert!(refused(&|one| one.layers[0].digest = "md5:x".to_owned()).contains("SHA-256"));
        let index = br#"{"schemaVersion":2,"manifests":[]}"#;
        assert!(Manifest::read(index).unwrap_err().contains("an index"));
        assert!(Manifest::read(b"<html>").unwrap_err().contains("form of OCI"));
    }
}
