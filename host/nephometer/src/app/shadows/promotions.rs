//! Shadows that took the place of their component, over restarts.
//!
//! A promotion stands in for exactly the version that it replaced: as soon as the configuration has
//! another one, that is used. It is kept in the store, with a copy of a shadow that was a file.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::app::factory::TransformerKey;
use crate::app::shadow_list::{PromotedEntry, ShadowList};
use crate::app::supply::supplied;
use nephometer_config::{
    AgentSpec, ComponentOrigin, ContentDigest, Provision, ShadowSource, shadow_name,
};
use nephometer_registry::PulledStore;
use nephometer_store::PromotedFiles;
use nephometer_telemetry::{Chain, events};
use nephometer_wasm::ComponentHost;

/// A shadow in the place of its component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::app) struct Promotion {
    /// The content that the configuration has for the component.
    replaces: String,
    /// The content of the shadow.
    content: String,
    /// Its reference with its digest, if it is from a registry.
    from: Option<String>,
    /// Why a guard holds it in the place of the configured one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    guard: Option<String>,
}

/// All promotions, by component.
#[derive(Debug, Default)]
pub(in crate::app) struct Promotions {
    /// `None` without a store on disk.
    files: Option<PromotedFiles>,
    by_name: BTreeMap<String, Promotion>,
    /// Contents of guarded components, of which there are copies.
    guarded: Vec<String>,
    /// Where those who ask find them.
    list: ShadowList,
}

impl Promotion {
    /// The content of the shadow, in hexadecimal digits.
    pub(in crate::app) fn content(&self) -> &str {
        &self.content
    }
}

impl Promotions {
    /// Reads what the store has. A list that cannot be read is logged: the configured components run.
    pub(in crate::app) fn open(store: Option<&Path>, list: &ShadowList) -> Self {
        let files = store.map(PromotedFiles::new);
        let by_name = files.as_ref().map_or_else(BTreeMap::new, read);
        let promotions = Self { files, by_name, guarded: Vec::new(), list: list.clone() };
        promotions.show();
        promotions
    }

    fn show(&self) {
        let entry = |(component, one): (&String, &Promotion)| PromotedEntry {
            component: component.clone(),
            digest: one.content.clone(),
            replaces: one.replaces.clone(),
            guard: one.guard.clone(),
        };
        self.list.replace_promoted(self.by_name.iter().map(entry).collect());
    }

    /// Puts promoted shadows in the place of their components. Returns the components that the
    /// configuration has in another version, so that their promotions are over.
    pub(in crate::app) async fn apply(
        &self,
        host: &ComponentHost,
        spec: &mut AgentSpec,
    ) -> Vec<String> {
        let host = host.with_spec(&spec.components).await;
        let mut over = Vec::new();
        for (name, promotion) in &self.by_name {
            let configured = host.identify(name).await.ok();
            // Without a configured one the promoted one goes on.
            if configured.is_some_and(|digest| digest.to_string() != promotion.replaces) {
                over.push(name.clone());
                continue;
            }
            let provision = self.provision(name, promotion, spec);
            spec.components.provided.insert(name.clone(), provision);
        }
        over
    }

    /// Ends promotions that are over: an earlier version of the component that comes back is used, too.
    pub(in crate::app) fn end(&mut self, over: &[String]) {
        for name in over {
            events::reload::promotion_over(name);
            if let Err(reason) = self.set(name, None) {
                events::reload::refused(&reason);
            }
        }
    }

    fn provision(&self, name: &str, promotion: &Promotion, spec: &AgentSpec) -> Provision {
        let signatures = &spec.components.signatures;
        if let Some(from) = &promotion.from {
            let Ok(reference) = from.parse() else {
                return Provision::Missing(format!("its promotion names {from:?}"));
            };
            let origin = ComponentOrigin { reference, locked: None };
            return match supplied(&PulledStore::new(&spec.cache), name, &origin, signatures) {
                Ok(found) => Provision::File { path: found.file.path, digest: found.file.content },
                Err(error) => Provision::Missing(Chain(&error).to_string()),
            };
        }
        if signatures.requires(name, false) {
            let reason =
                "components.signatures requires a signature, which a promoted file cannot have";
            return Provision::Missing(reason.to_owned());
        }
        match (&self.files, format!("sha256:{}", promotion.content).parse()) {
            (Some(files), Ok(digest)) => {
                Provision::File { path: files.copy(&promotion.content), digest }
            }
            _ => Provision::Missing("its promotion cannot be read".to_owned()),
        }
    }

    /// The content of the promoted shadow of a component, in hexadecimal digits.
    pub(in crate::app) fn content(&self, component: &str) -> Option<&str> {
        self.by_name.get(component).map(|one| one.content.as_str())
    }

    /// Promotes the shadow of a component. Returns the promotion before, for [`Self::set`].
    ///
    /// # Errors
    /// With the reason why it cannot be.
    pub(in crate::app) async fn add(
        &mut self,
        component: &str,
        host: &ComponentHost,
        spec: &AgentSpec,
    ) -> Result<Option<Promotion>, String> {
        let settings = spec.components.settings(component);
        let shadow = settings.shadow.ok_or_else(|| {
            format!("{component:?} has no shadow; set components.by_name.{component}.shadow")
        })?;
        let files = self.files.clone().ok_or("this agent has no store on disk to keep it in")?;
        let failed = |error: nephometer_wasm::ComponentError| Chain(&error).to_string();
        let path = host.find(&shadow_name(component)).await.map_err(failed)?;
        let content = host.identify(&shadow_name(component)).await.map_err(failed)?.to_string();
        let replaces = match self.by_name.get(component) {
            // A further one: the configuration still has the same version.
            Some(before) => before.replaces.clone(),
            None => host.identify(component).await.map_err(failed)?.to_string(),
        };
        let from = match &shadow.source {
            ShadowSource::File(_) => None,
            ShadowSource::Registry(origin) => {
                let digest: ContentDigest = origin.digest().ok_or("its tag has no digest")?;
                Some(origin.reference.at(digest).to_string())
            }
        };
        let promotion = Promotion { replaces, content, from, guard: None };
        if promotion.from.is_none() {
            files
                .keep(&path, &promotion.content)
                .map_err(|error| format!("{} cannot be kept: {error}", path.display()))?;
        }
        self.set(component, Some(promotion))
    }

    /// Keeps copies of the running files of these guarded transformers: a rollback needs the version
    /// before again at the next start. What cannot be kept is missed by [`Self::hold`].
    pub(in crate::app) async fn keep_guarded(
        &mut self,
        host: &ComponentHost,
        guarded: impl Iterator<Item = &TransformerKey>,
    ) {
        self.guarded.clear();
        let Some(files) = self.files.clone() else { return };
        for key in guarded {
            let (name, content) = (&*key.identity.component, hex::encode(key.identity.digest));
            let runs = |found: Result<nephometer_wasm::Digest, _>| {
                found.is_ok_and(|found| *found.as_bytes() == key.identity.digest)
            };
            if key.spec.from.is_none()
                && !files.copy(&content).exists()
                && runs(host.identify(name).await)
                && let Ok(path) = host.find(name).await
                && files.keep(&path, &content).is_err()
            {
                continue;
            }
            self.guarded.push(content);
        }
    }

    /// Holds the version before a rolled-back one in its place, until the configuration has another.
    ///
    /// # Errors
    /// If there is no copy of it, or the store cannot be written: the next start tries the rolled-back
    /// version again.
    pub(in crate::app) fn hold(
        &mut self,
        failed: &TransformerKey,
        restored: &TransformerKey,
        reason: &str,
    ) -> Result<(), String> {
        let component = &*restored.identity.component;
        let content = hex::encode(restored.identity.digest);
        let failed = hex::encode(failed.identity.digest);
        let replaces = match self.by_name.get(component) {
            Some(promoted) if promoted.content == failed => promoted.replaces.clone(),
            _ => failed,
        };
        if replaces == content {
            return self.set(component, None).map(drop);
        }
        let files = self.files.as_ref().ok_or("this agent has no store on disk to keep it in")?;
        let from = if files.copy(&content).exists() {
            None
        } else {
            let origin = restored.spec.from.as_ref();
            let pinned = origin.and_then(|origin| Some(origin.reference.at(origin.digest()?)));
            Some(pinned.ok_or("there is no copy of it")?.to_string())
        };
        let guard = Some(reason.to_owned());
        self.set(component, Some(Promotion { replaces, content, from, guard })).map(drop)
    }

    /// Sets or ends the promotion of a component. Returns the one before.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub(in crate::app) fn set(
        &mut self,
        component: &str,
        promotion: Option<Promotion>,
    ) -> Result<Option<Promotion>, String> {
        let mut changed = self.by_name.clone();
        let before = match promotion {
            Some(promotion) => changed.insert(component.to_owned(), promotion),
            None => changed.remove(component),
        };
        if let Some(files) = &self.files {
            let text = serde_json::to_string_pretty(&changed).map_err(|error| error.to_string())?;
            files
                .write_list(&text)
                .map_err(|error| format!("the promotion cannot be written: {error}"))?;
        }
        self.by_name = changed;
        self.show();
        Ok(before)
    }

    /// Removes copies that no promotion needs. Not during a reload: one that undoes a promotion may fail,
    /// and then needs the copy again.
    pub(in crate::app) fn tidy(&self) {
        if let Some(files) = &self.files {
            let promoted = self.by_name.values().map(Promotion::content);
            let contents: Vec<&str> =
                promoted.chain(self.guarded.iter().map(String::as_str)).collect();
            files.retain(&contents);
        }
    }
}

fn read(files: &PromotedFiles) -> BTreeMap<String, Promotion> {
    let read = match files.read_list() {
        Ok(None) => return BTreeMap::new(),
        Ok(Some(text)) => serde_json::from_str(&text).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    read.unwrap_or_else(|reason: String| {
        events::reload::promotions_unreadable(&files.list(), &reason);
        BTreeMap::new()
    })
}
