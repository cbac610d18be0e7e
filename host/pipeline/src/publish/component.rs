//! Publishers that are components: `NAME://...` is `NAME.wasm`.
//!
//! The host owns the envelopes, their order and the retries; the component gets one envelope at a
//! time. When the file or the settings change, a new instance is created before the next envelope;
//! if that fails, the old instance keeps running.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use super::catalog::ServiceCatalog;
use super::{Envelope, Publisher};
use nephometer_config::{CloudSpec, ComponentSpec, ComponentUrl, ConnectTarget, Grant};
use nephometer_model::{Batch, DeliveryResult};
use nephometer_store::decode_batch;
use nephometer_telemetry::{Chain, events::publish as events};
use nephometer_wasm::{
    ComponentError, ComponentHost, Delivery, InstanceHandle, PublishError, PublisherRole, TextForm,
};
use nephometer_wire::Notation;
use nephometer_wire::{MessageForm, Messages, as_dict};

/// Envelopes at a time. Each is a separate call of the component.
const WINDOW: usize = 20;
/// Delay after a component reports that it cannot deliver until an operator acts.
const BROKEN_DELAY: Duration = Duration::from_secs(60);
/// Bounds of the delay that a component may ask for.
const MIN_DELAY: Duration = Duration::from_millis(20);
const MAX_DELAY: Duration = Duration::from_secs(3_600);
/// An envelope is rejected after it has ended the instance this many times.
const MAX_FAILURES: u32 = 2;

/// Passes envelopes to a component.
pub(super) struct ComponentPublisher {
    host: ComponentHost,
    url: ComponentUrl,
    /// The URL without secrets, for the log.
    label: Arc<str>,
    /// Name of the instance in metrics, such as `SINK/influx://db:8086`.
    place: String,
    /// Their secret may be replaced by a reload.
    messages: watch::Receiver<MessageForm>,
    /// Where services are, for components with the credentials of the cloud.
    catalog: Arc<dyn ServiceCatalog>,
    /// The instance, and what it was created from.
    running: Option<(InstanceHandle<PublisherRole>, InstanceSource)>,
    /// What no instance could be created from at the last attempt, and why.
    refused: Option<(InstanceSource, String)>,
    /// By id of a pending envelope.
    attempts: HashMap<Uuid, Attempts>,
    broken: bool,
}

/// Attempts to deliver one envelope.
#[derive(Debug, Default)]
struct Attempts {
    calls: u32,
    /// Calls that ended the instance.
    failures: u32,
}

/// What an instance is created from: device, inode, size and mtime of the file, and the settings.
#[derive(Debug, Clone, PartialEq)]
struct InstanceSource {
    file: (u64, u64, u64, i64, i64),
    spec: ComponentSpec,
}

/// Creates an instance and drops it: checks the component, its options and its grants.
///
/// # Errors
/// If no instance can be created, or the component uses the network without any grant.
pub async fn try_component(host: &ComponentHost, url: &ComponentUrl) -> Result<(), ComponentError> {
    let loaded = host.load::<PublisherRole>(&url.name).await?;
    let spec = host.component_spec(&url.name).await;
    let granted = !grants(url).is_empty() || !spec.connect.is_empty() || spec.cloud.is_some();
    if loaded.uses_network() && !granted {
        let name = &url.name;
        let reason = format!(
            "it connects to the network and has no grant; write {name}://HOST:PORT, or \
             components.by_name.{name}.grants.connect: [\"HOST:PORT\"]"
        );
        return Err(ComponentError::Invalid { path: loaded.path.clone(), reason });
    }
    instance(host, url, (Vec::new(), "")).await.map(drop)
}

/// Creates an instance that may also reach the destinations in `more`.
async fn instance(
    host: &ComponentHost,
    url: &ComponentUrl,
    (more, place): (Vec<Grant>, &str),
) -> Result<InstanceHandle<PublisherRole>, ComponentError> {
    let loaded = host.load::<PublisherRole>(&url.name).await?;
    let spec = host.component_spec(&url.name).await;
    let keystone = spec.cloud.as_ref().and_then(CloudSpec::keystone);
    let granted = grants(url).into_iter().chain(keystone).chain(more).collect();
    host.publisher(&loaded, granted, options(url, &spec), place).await
}

/// The type of the service that a component with the credentials of the cloud publishes to, if only
/// the catalog of Keystone has its address.
fn service_in_catalog(url: &ComponentUrl, spec: &ComponentSpec) -> Option<&'static str> {
    let configured = url.host.is_some() || spec.options.reveal().contains_key("endpoint");
    (&*url.name == "gnocchi" && !configured).then_some("metric")
}

/// The grant of the configured URL: its host and port. A missing port is the component's choice,
/// which the host only knows for the shipped publishers.
fn grants(url: &ComponentUrl) -> Vec<Grant> {
    let configured = url.port.as_slice();
    let ports: &[u16] = match &*url.name {
        _ if !configured.is_empty() => configured,
        "http" => &[80],
        "https" => &[443],
        // Their option `ssl` selects one.
        "prometheus" | "prometheus_remote_write" | "opentelemetryhttp" => &[80, 443],
        "influx" => &[8086],
        "statsd" => &[8125],
        "gnocchi" => &[8041],
        _ => &[],
    };
    let Some(to) = url.host.as_deref().and_then(ConnectTarget::host) else { return Vec::new() };
    ports.iter().map(|&port| Grant { to: to.clone(), port }).collect()
}

/// The credentials of the cloud if they are granted, overridden by the options of the component's
/// block, overridden by the parts of the URL: the block holds for all URLs of the component. It can
/// supply what a URL omits, such as a password.
fn options(url: &ComponentUrl, spec: &ComponentSpec) -> Map<String, Value> {
    let credentials = spec.cloud.as_ref().map(CloudSpec::options);
    let mut options = credentials.map_or_else(Map::new, |options| options.reveal().clone());
    options.extend(spec.options.reveal().clone());
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
    /// A publisher for this URL. Nothing is loaded yet.
    pub(super) fn new(
        (host, catalog): (&ComponentHost, &Arc<dyn ServiceCatalog>),
        url: &ComponentUrl,
        sink: &str,
        label: &Arc<str>,
        messages: watch::Receiver<MessageForm>,
    ) -> Self {
        Self {
            host: host.clone(),
            url: url.clone(),
            label: Arc::clone(label),
            place: format!("{sink}/{label}"),
            messages,
            catalog: Arc::clone(catalog),
            running: None,
            refused: None,
            attempts: HashMap::new(),
            broken: false,
        }
    }

    /// What an instance would be created from now.
    async fn source(&self) -> Result<InstanceSource, ComponentError> {
        let path = self.host.find(&self.url.name).await?;
        let metadata = path
            .metadata()
            .map_err(|source| ComponentError::Unreadable { path: path.clone(), source })?;
        let file = (
            metadata.dev(),
            metadata.ino(),
            metadata.len(),
            metadata.mtime(),
            metadata.mtime_nsec(),
        );
        Ok(InstanceSource { file, spec: self.host.component_spec(&self.url.name).await })
    }

    /// Creates a new instance if the file or the settings have changed.
    async fn refresh(&mut self) -> Result<(), String> {
        let message = |error: ComponentError| Chain(&error).to_string();
        let source = match self.source().await {
            Ok(source) => source,
            Err(_) if self.running.is_some() => return Ok(()),
            Err(error) => return Err(message(error)),
        };
        let unchanged = self.running.as_ref().is_some_and(|(_, running)| *running == source);
        if unchanged {
            return Ok(());
        }
        if let Some((refused, reason)) = &self.refused
            && *refused == source
        {
            return if self.running.is_some() { Ok(()) } else { Err(reason.clone()) };
        }
        let more = match self.in_catalog(&source.spec).await {
            Ok(granted) => granted,
            Err(_) if self.running.is_some() => return Ok(()),
            Err(reason) => return Err(reason),
        };
        match instance(&self.host, &self.url, (more, &self.place)).await {
            Ok(instance) => {
                if self.running.replace((instance, source)).is_some() {
                    events::component_replaced(&self.label);
                }
                self.refused = None;
                Ok(())
            }
            Err(error) if self.running.is_some() => {
                let reason = message(error);
                events::component_not_replaced(&self.label, &reason);
                self.refused = Some((source, reason));
                Ok(())
            }
            // The same options would be rejected, and logged, again at each attempt.
            Err(error @ ComponentError::Options { .. }) => {
                let reason = message(error);
                self.refused = Some((source, reason.clone()));
                Err(reason)
            }
            Err(error) => Err(message(error)),
        }
    }

    /// The grant of the service that Keystone's catalog lists for this component.
    async fn in_catalog(&self, spec: &ComponentSpec) -> Result<Vec<Grant>, String> {
        let Some(cloud) = &spec.cloud else { return Ok(Vec::new()) };
        let Some(kind) = service_in_catalog(&self.url, spec) else { return Ok(Vec::new()) };
        Ok(vec![self.catalog.endpoint(cloud, kind).await?])
    }

    /// Ends an instance whose service is in the catalog: it may have moved, and the next instance
    /// looks it up.
    fn forget_endpoint(&mut self) {
        let moved = |(_, source): &(_, InstanceSource)| {
            source.spec.cloud.is_some() && service_in_catalog(&self.url, &source.spec).is_some()
        };
        if self.running.as_ref().is_some_and(moved) {
            self.running = None;
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
            return DeliveryResult::pending("the component is not loaded".to_owned());
        };
        let form = match running.ready().await {
            Ok(form) => form,
            Err(error) => return DeliveryResult::pending(Chain(&error).to_string()),
        };
        // Envelopes come in order: a full spool has dropped any other that was tried before.
        self.attempts.retain(|id, _| *id == envelope.id);
        let attempts = self.attempts.entry(envelope.id).or_default();
        attempts.calls += 1;
        let id = envelope.id.to_string();
        let messages = self.messages.borrow().clone();
        let texts = texts(&batch, form, &messages);
        let delivery = Delivery { id, attempt: attempts.calls, batch, texts };
        let published = running.publish(delivery).await;
        if !matches!(published, Err(PublishError::Broken(_))) {
            self.broken = false;
        }
        match published {
            Ok(DeliveryResult::Pending { reason, after }) => {
                let after = after.map(|after| after.clamp(MIN_DELAY, MAX_DELAY));
                DeliveryResult::Pending { reason, after }
            }
            Ok(result) => result,
            // An operator has to act, perhaps at the receiver: retry rarely.
            Err(PublishError::Broken(reason)) => {
                if !std::mem::replace(&mut self.broken, true) {
                    events::component_broken(&self.label, &reason);
                }
                self.forget_endpoint();
                DeliveryResult::Pending { reason, after: Some(BROKEN_DELAY) }
            }
            Err(PublishError::Failed(reason)) => {
                attempts.failures += 1;
                events::component_failed(&self.label, &reason);
                if attempts.failures < MAX_FAILURES {
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
            let mut writer = Messages::new(messages.clone());
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
        let mut results = Vec::with_capacity(envelopes.len());
        for envelope in envelopes {
            let result = self.deliver(envelope).await;
            if let DeliveryResult::Pending { .. } = &result {
                // The envelopes behind it are pending, too: the order is kept.
                results.resize(envelopes.len(), result);
                return results;
            }
            self.attempts.remove(&envelope.id);
            results.push(result);
        }
        results
    }

    fn window(&self) -> usize {
        WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nephometer_config::{CloudIdentity, CloudInterface, Secret, SecretOptions};

    // The block once overrode the parts of the URL, while components let the query override the
    // block: which of two values applied depended on the name of the setting.
    #[test]
    fn the_url_overrides_the_block() {
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
        let without_port = ComponentUrl { port: None, user: None, ..url };
        assert_eq!(options(&without_port, &spec)["user"], "other");
    }

    #[test]
    fn credentials_of_the_cloud_are_below_the_options_of_the_block() {
        let cloud = CloudSpec {
            auth_url: "http://keystone:5000/v3".to_owned(),
            identity: CloudIdentity::Token { token: Secret::new("t"), project: None },
            region: Some("north".to_owned()),
            interface: CloudInterface::Internal,
            ca: None,
            compute: None,
            timeout: Duration::from_secs(1),
        };
        let own = json!({"region_name": "south"}).as_object().unwrap().clone();
        let spec = ComponentSpec {
            options: SecretOptions::new(own),
            cloud: Some(cloud),
            ..ComponentSpec::default()
        };
        let url = |name: &str, host: Option<&str>| ComponentUrl {
            name: name.into(),
            host: host.map(str::to_owned),
            port: None,
            path: String::new(),
            user: None,
            password: None,
            query: SecretOptions::default(),
        };
        let whole = options(&url("gnocchi", None), &spec);
        assert_eq!((&whole["region_name"], &whole["token"]), (&json!("south"), &json!("t")));
        let service = |name: &str, host| service_in_catalog(&url(name, host), &spec);
        assert_eq!(service("gnocchi", None), Some("metric"));
        assert_eq!((service("gnocchi", Some("g")), service("own", None)), (None, None));
    }

    #[test]
    fn a_url_grants_its_host_at_its_port_or_at_that_of_its_scheme() {
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
        // Regression: these two have default ports, which were denied.
        assert_eq!(ports("influx", None), [8086]);
        assert_eq!(ports("statsd", None), [8125]);
        assert_eq!(ports("gnocchi", None), [8041]);
        assert!(ports("elsewhere", None).is_empty());
        assert_eq!(ports("https", Some(8443)), [8443]);
        assert_eq!(ports("https", None), [443]);
        assert_eq!(ports("http", None), [80]);
        assert_eq!(ports("prometheus", None), [80, 443]);
    }
}
