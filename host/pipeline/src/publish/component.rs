//! Publishers that are components: `NAME://...` is `NAME.wasm`.
//!
//! The host keeps the envelopes, their order and the waiting; the component is given one at a time.
//! Another file or other settings make another instance before the next envelope; if none can be
//! made, the one before goes on.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Envelope, Publisher};
use nephometer_config::{ComponentSpec, ComponentUrl, Grant, Reach};
use nephometer_model::{Batch, DeliveryResult};
use nephometer_store::decode_batch;
use nephometer_telemetry::{Chain, events::publish as events};
use nephometer_wasm::{
    ComponentError, ComponentHost, Delivery, InstanceHandle, PublishError, PublisherRole, TextForm,
};
use nephometer_wire::Notation;
use nephometer_wire::{MessageForm, Messages, as_dict};

/// Envelopes that are handed over at once: each is a call of its own.
const WINDOW: usize = 20;
/// How long a component is left alone that says that nothing can be delivered until someone acts.
const BROKEN: Duration = Duration::from_secs(60);
/// The shortest and the longest wait that a component may ask for.
const SHORTEST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(3_600);
/// How often an envelope may end the instance.
const FAILURES: u32 = 2;

/// Hands envelopes to a component.
pub(super) struct ComponentPublisher {
    host: ComponentHost,
    url: ComponentUrl,
    /// For people: the URL without secrets.
    label: Arc<str>,
    /// Where it is counted, such as `SINK/influx://db:8086`.
    place: String,
    messages: MessageForm,
    /// With what it was made of.
    running: Option<(InstanceHandle<PublisherRole>, Made)>,
    /// What was tried last and is of no use, and why.
    refused: Option<(Made, String)>,
    /// Per envelope that is not settled: attempts, and how many of them ended the instance.
    attempts: HashMap<Uuid, (u32, u32)>,
    broken: bool,
}

/// What an instance is made of: the file as the system knows it, and the settings.
#[derive(Debug, Clone, PartialEq)]
struct Made {
    file: (u64, u64, u64, i64, i64),
    spec: ComponentSpec,
}

/// Makes an instance and lets it go again: whether the component fits, with its options.
///
/// # Errors
/// If it does not.
pub async fn try_component(host: &ComponentHost, url: &ComponentUrl) -> Result<(), ComponentError> {
    let loaded = host.load::<PublisherRole>(&url.name).await?;
    let granted =
        !grants(url).is_empty() || !host.component_spec(&url.name).await.connect.is_empty();
    if loaded.reaches() && !granted {
        let name = &url.name;
        let reason = format!(
            "it speaks to the network and may reach nothing; write {name}://HOST:PORT, or \
             components.by_name.{name}.grants.connect: [\"HOST:PORT\"]"
        );
        return Err(ComponentError::Unfit { path: loaded.path.clone(), reason });
    }
    instance(host, url, "").await.map(drop)
}

async fn instance(
    host: &ComponentHost,
    url: &ComponentUrl,
    place: &str,
) -> Result<InstanceHandle<PublisherRole>, ComponentError> {
    let loaded = host.load::<PublisherRole>(&url.name).await?;
    let spec = host.component_spec(&url.name).await;
    host.publisher(&loaded, grants(url), options(url, &spec), place).await
}

/// What the operator's own URL grants: its host, at its port. A port that is not written is the
/// component's choice, which the host does not know, but for Ceilometer's publishers over HTTP.
fn grants(url: &ComponentUrl) -> Vec<Grant> {
    let written = url.port.as_slice();
    let ports: &[u16] = match &*url.name {
        _ if !written.is_empty() => written,
        "http" => &[80],
        "https" => &[443],
        // `ssl` in their options chooses.
        "prometheus" | "opentelemetryhttp" => &[80, 443],
        _ => &[],
    };
    let Some(to) = url.host.as_deref().and_then(Reach::host) else { return Vec::new() };
    ports.iter().map(|&port| Grant { to: to.clone(), port }).collect()
}

/// The component's own block, and over it the parts of the URL: the block is for all of its URLs,
/// a URL for one place. What the URL leaves out, such as a password, the block may say.
fn options(url: &ComponentUrl, spec: &ComponentSpec) -> Map<String, Value> {
    let mut options = spec.options.reveal().clone();
    let host = url.host.as_deref().unwrap_or_default();
    let authority = match url.port {
        Some(port) if host.contains(':') => format!("[{host}]:{port}"),
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    options.insert("url".to_owned(), json!(format!("{}://{authority}{}", url.name, url.path)));
    options.insert("scheme".to_owned(), json!(*url.name));
    options.insert("host".to_owned(), json!(host));
    options.insert("port".to_owned(), json!(url.port));
    options.insert("path".to_owned(), json!(url.path));
    if let Some(user) = &url.user {
        options.insert("user".to_owned(), json!(user));
    }
    if let Some(password) = &url.password {
        options.insert("password".to_owned(), json!(password.reveal()));
    }
    options.insert("query".to_owned(), Value::Object(url.query.reveal().clone()));
    options
}

impl ComponentPublisher {
    /// For this URL. Nothing is loaded yet.
    pub(super) fn new(
        host: &ComponentHost,
        url: &ComponentUrl,
        sink: &str,
        label: &Arc<str>,
        messages: MessageForm,
    ) -> Self {
        Self {
            host: host.clone(),
            url: url.clone(),
            label: Arc::clone(label),
            place: format!("{sink}/{label}"),
            messages,
            running: None,
            refused: None,
            attempts: HashMap::new(),
            broken: false,
        }
    }

    /// What an instance would be made of now.
    async fn made(&self) -> Result<Made, ComponentError> {
        let path = self.host.find(&self.url.name).await?;
        let found = path
            .metadata()
            .map_err(|source| ComponentError::Unreadable { path: path.clone(), source })?;
        let file = (found.dev(), found.ino(), found.len(), found.mtime(), found.mtime_nsec());
        Ok(Made { file, spec: self.host.component_spec(&self.url.name).await })
    }

    /// Sees to it that the instance is the one that should be there, if that can be.
    async fn refresh(&mut self) -> Result<(), String> {
        let words = |error: ComponentError| Chain(&error).to_string();
        let made = match self.made().await {
            Ok(made) => made,
            Err(_) if self.running.is_some() => return Ok(()),
            Err(error) => return Err(words(error)),
        };
        let known = self.running.as_ref().is_some_and(|(_, running)| *running == made);
        if known {
            return Ok(());
        }
        if let Some((refused, reason)) = &self.refused
            && *refused == made
        {
            return if self.running.is_some() { Ok(()) } else { Err(reason.clone()) };
        }
        match instance(&self.host, &self.url, &self.place).await {
            Ok(instance) => {
                if self.running.replace((instance, made)).is_some() {
                    events::component_replaced(&self.label);
                }
                self.refused = None;
                Ok(())
            }
            Err(error) if self.running.is_some() => {
                let reason = words(error);
                events::component_not_replaced(&self.label, &reason);
                self.refused = Some((made, reason));
                Ok(())
            }
            // The same options would be refused again, and its log lines repeated at each attempt.
            Err(error @ ComponentError::Options { .. }) => {
                let reason = words(error);
                self.refused = Some((made, reason.clone()));
                Err(reason)
            }
            Err(error) => Err(words(error)),
        }
    }

    async fn deliver(&mut self, envelope: &Envelope) -> DeliveryResult {
        let batch = match &envelope.batch {
            Some(batch) => Arc::clone(batch),
            None => match decode_batch(&envelope.body) {
                Ok(batch) => Arc::new(batch),
                Err(reason) => return DeliveryResult::Rejected(reason),
            },
        };
        let Some((running, _)) = &mut self.running else {
            return DeliveryResult::pending("its component is not there".to_owned());
        };
        let form = match running.ready().await {
            Ok(form) => form,
            Err(error) => return DeliveryResult::pending(Chain(&error).to_string()),
        };
        // Envelopes come in order: what was tried before and comes no more, a full spool has dropped.
        self.attempts.retain(|id, _| *id == envelope.id);
        let attempts = self.attempts.entry(envelope.id).or_default();
        attempts.0 += 1;
        let id = envelope.id.to_string();
        let texts = texts(&batch, form, &self.messages);
        let delivery = Delivery { id, attempt: attempts.0, batch, texts };
        let published = running.publish(delivery).await;
        if !matches!(published, Err(PublishError::Broken(_))) {
            self.broken = false;
        }
        match published {
            Ok(DeliveryResult::Pending { reason, after }) => {
                let after = after.map(|after| after.clamp(SHORTEST, LONGEST));
                DeliveryResult::Pending { reason, after }
            }
            Ok(result) => result,
            // Someone has to act, at the receiver perhaps: so it is tried again, but rarely.
            Err(PublishError::Broken(reason)) => {
                if !std::mem::replace(&mut self.broken, true) {
                    events::component_broken(&self.label, &reason);
                }
                DeliveryResult::Pending { reason, after: Some(BROKEN) }
            }
            Err(PublishError::Failed(reason)) => {
                attempts.1 += 1;
                events::component_failed(&self.label, &reason);
                if attempts.1 < FAILURES {
                    DeliveryResult::pending(reason)
                } else {
                    DeliveryResult::Rejected(reason)
                }
            }
        }
    }
}

fn texts(batch: &Batch, form: TextForm, messages: &MessageForm) -> Vec<String> {
    let text = |write: &mut dyn FnMut(&mut Vec<u8>)| {
        let mut bytes = Vec::with_capacity(1_024);
        write(&mut bytes);
        String::from_utf8(bytes).expect("JSON is UTF-8")
    };
    match form {
        TextForm::None => Vec::new(),
        TextForm::Samples => batch
            .samples
            .iter()
            .map(|sample| {
                text(&mut |bytes| as_dict(bytes, Notation::Json, messages.release, sample))
            })
            .collect(),
        TextForm::Messages => {
            let mut writer = Messages::new(messages);
            let samples = batch.samples.iter();
            samples.map(|sample| text(&mut |bytes| writer.write(bytes, sample))).collect()
        }
    }
}

#[async_trait]
impl Publisher for ComponentPublisher {
    async fn publish(&mut self, envelopes: &[Envelope]) -> Vec<DeliveryResult> {
        if let Err(reason) = self.refresh().await {
            return vec![DeliveryResult::pending(reason); envelopes.len()];
        }
        let mut outcomes = Vec::with_capacity(envelopes.len());
        for envelope in envelopes {
            let outcome = self.deliver(envelope).await;
            if let DeliveryResult::Pending { .. } = &outcome {
                // What comes behind waits for it: the order is kept.
                outcomes.resize(envelopes.len(), outcome);
                return outcomes;
            }
            self.attempts.remove(&envelope.id);
            outcomes.push(outcome);
        }
        outcomes
    }

    fn window(&self) -> usize {
        WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nephometer_config::SecretOptions;

    // The host once let the block win over the parts of the URL, while components let the query
    // win over the block: a setting in both places meant one thing or the other by its name.
    #[test]
    fn the_url_wins_over_the_block() {
        let query = json!({"db": ["a"]}).as_object().unwrap().clone();
        let url = ComponentUrl {
            name: "influx".into(),
            host: Some("::1".to_owned()),
            port: Some(8086),
            path: "/x".to_owned(),
            user: Some("u".to_owned()),
            password: None,
            query: SecretOptions::new(query),
        };
        let own = json!({"user": "other", "password": "p", "host": "elsewhere", "query": {}});
        let own = SecretOptions::new(own.as_object().unwrap().clone());
        let spec = ComponentSpec { options: own, ..ComponentSpec::default() };
        let whole = Value::Object(options(&url, &spec));
        let expected = json!({
            "url": "influx://[::1]:8086/x", "scheme": "influx", "host": "::1", "port": 8086,
            "path": "/x", "user": "u", "password": "p", "query": {"db": ["a"]},
        });
        assert_eq!(whole, expected);
        let bare = ComponentUrl { port: None, user: None, ..url };
        assert_eq!(options(&bare, &spec)["user"], "other");
    }

    #[test]
    fn a_url_grants_its_host_at_its_port_or_at_that_of_http() {
        let ports = |text: &str, port: Option<u16>| {
            let url = ComponentUrl {
                name: text.into(),
                host: Some("h".to_owned()),
                port,
                path: String::new(),
                user: None,
                password: None,
                query: SecretOptions::new(Map::new()),
            };
            grants(&url).iter().map(|grant| grant.port).collect::<Vec<_>>()
        };
        assert_eq!(ports("influx", Some(8086)), [8086]);
        assert!(ports("influx", None).is_empty());
        assert_eq!(ports("https", Some(8443)), [8443]);
        assert_eq!(ports("https", None), [443]);
        assert_eq!(ports("http", None), [80]);
        assert_eq!(ports("prometheus", None), [80, 443]);
    }
}
