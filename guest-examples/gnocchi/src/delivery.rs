//! The delivery of one envelope: archive policies once, all measures at once, then the resources
//! that Gnocchi does not know or knows with other attributes.

use std::cell::Cell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::time::Duration;

use nephometer_guest::{Delivery, Failure, FxHashMap, FxHashSet, later, log};
use nephometer_guest_http::{Response, escaped};
use serde_json::Value;

use crate::definitions::{ARCHIVE_POLICIES, Definitions};
use crate::measures::Measures;
use crate::options::{Filter, Options};
use crate::reported::Reported;
use crate::session::{Call, Exchange, Session};

const BATCH: &str = "/v1/batch/resources/metrics/measures?create_metrics=True";

/// Attributes of more resources than this are not remembered, and sent again each time.
const MOST_KNOWN: usize = 100_000;

/// Publishes envelopes, and remembers what Gnocchi has.
#[derive(Debug)]
pub struct Worker {
    session: Session,
    definitions: Rc<Definitions>,
    filter: Filter,
    /// How many archive policies exist.
    policies: usize,
    /// By id of a resource, a digest of the attributes that Gnocchi has.
    known: FxHashMap<String, u64>,
    /// Meters and resources that were reported.
    reported: Reported,
    progress: Progress,
}

/// The progress of the current envelope.
#[derive(Debug, Default)]
struct Progress {
    id: String,
    /// Resources that are to be created before the measures are sent again, the next one last.
    unknown: Vec<String>,
    /// Whether Gnocchi has reported unknown resources. It does so once.
    reported: bool,
    /// Whether Gnocchi has all measures.
    measured: bool,
    /// Resources that cannot be created.
    refused: FxHashSet<String>,
    first_reason: Option<String>,
}

impl Worker {
    /// A worker that has not sent anything.
    pub fn new(options: Options) -> Self {
        Self {
            session: Session::new(options.login, options.endpoint, options.timeout),
            definitions: Rc::new(options.definitions),
            filter: options.filter,
            policies: 0,
            known: FxHashMap::default(),
            reported: Reported::default(),
            progress: Progress::default(),
        }
    }

    /// The time limit of one request.
    pub fn timeout(&self) -> Duration {
        self.session.timeout
    }

    /// Delivers an envelope. After a retryable failure, the next call with the same envelope
    /// continues.
    ///
    /// # Errors
    /// Permanent if Gnocchi refused the measures, or some of the resources: the others arrived.
    pub fn deliver(
        &mut self,
        delivery: &Delivery,
        exchange: &mut Exchange<'_>,
        has_time: &dyn Fn() -> bool,
    ) -> Result<(), Failure> {
        if self.progress.id != delivery.id {
            self.progress = Progress { id: delivery.id.clone(), ..Progress::default() };
        }
        // Each call sends at least one request, however long that may take.
        let requests = Cell::new(0);
        let exchange: &mut Exchange<'_> = &mut |call: &Call<'_>| {
            requests.set(requests.get() + 1);
            exchange(call)
        };
        let has_time: &dyn Fn() -> bool = &|| requests.get() == 0 || has_time();
        self.create_policies(exchange, has_time)?;
        self.find_project(exchange)?;
        let filtered = match &self.filter {
            Filter::Id(id) => Some(id.as_str()),
            Filter::Off | Filter::Name(..) => None,
        };
        let definitions = Rc::clone(&self.definitions);
        let (batch, texts) = (&delivery.input, delivery.texts.as_slice());
        let mut measures = Measures::of(batch, texts, &definitions, filtered, &mut self.reported)?;
        for id in &self.progress.refused {
            measures.remove(id);
        }
        if !self.progress.measured {
            self.send_measures(&mut measures, exchange, has_time)?;
            self.progress.measured = true;
        }
        self.update_resources(&measures, exchange, has_time)?;
        for id in &batch.removed {
            self.known.remove(&id.replace('/', "_"));
        }
        let Progress { refused, first_reason, .. } = std::mem::take(&mut self.progress);
        match first_reason {
            None => Ok(()),
            Some(reason) => {
                let count = refused.len();
                let reason = format!("{count} resources were refused, first: {reason}");
                Err(Failure::Permanent(reason))
            }
        }
    }

    fn create_policies(
        &mut self,
        exchange: &mut Exchange<'_>,
        has_time: &dyn Fn() -> bool,
    ) -> Result<(), Failure> {
        for policy in ARCHIVE_POLICIES.iter().skip(self.policies) {
            if !has_time() {
                return Err(unfinished("creating archive policies"));
            }
            let request = ("POST", "/v1/archive_policy/");
            let response = self.session.call(exchange, request, policy.as_bytes().to_vec())?;
            // 409: it exists, perhaps in another form, which is the operator's.
            if !matches!(response.status, 200..=299 | 409) {
                return Err(Failure::Broken(refusal("an archive policy", &response)));
            }
            self.policies += 1;
        }
        Ok(())
    }

    /// Replaces the name of the filtered project by its id.
    fn find_project(&mut self, exchange: &mut Exchange<'_>) -> Result<(), Failure> {
        let Filter::Name(name, domain) = &self.filter else { return Ok(()) };
        self.filter = match self.session.project(exchange, (name, domain))? {
            Some(id) => Filter::Id(id),
            None => {
                log::warn(&format!("project {name} not found in Keystone; filter_project is off"));
                Filter::Off
            }
        };
        Ok(())
    }

    /// Posts all measures; if Gnocchi does not know some of the resources, creates them and posts
    /// again.
    fn send_measures(
        &mut self,
        measures: &mut Measures<'_>,
        exchange: &mut Exchange<'_>,
        has_time: &dyn Fn() -> bool,
    ) -> Result<(), Failure> {
        loop {
            while let Some(id) = self.progress.unknown.last().cloned() {
                if !has_time() {
                    return Err(unfinished("creating resources"));
                }
                self.create_resource(&id, measures, exchange)?;
                self.progress.unknown.pop();
            }
            if measures.is_empty() {
                return Ok(());
            }
            if !has_time() {
                return Err(unfinished("sending measures"));
            }
            let response = self.session.call(exchange, ("POST", BATCH), measures.body())?;
            if (200..=299).contains(&response.status) {
                return Ok(());
            }
            self.progress.unknown = unknown_resources(&response);
            self.progress.unknown.reverse();
            let is_second = std::mem::replace(&mut self.progress.reported, true);
            if is_second || self.progress.unknown.is_empty() {
                return Err(Failure::Permanent(refusal("measures", &response)));
            }
        }
    }

    fn create_resource(
        &mut self,
        id: &str,
        measures: &mut Measures<'_>,
        exchange: &mut Exchange<'_>,
    ) -> Result<(), Failure> {
        let Some((_, info)) = measures.resources.iter().find(|(one, _)| one == id) else {
            return Ok(());
        };
        let path = format!("/v1/resource/{}", info.type_.name);
        let response = self.session.call(exchange, ("POST", &path), info.creation(id))?;
        match response.status {
            200..=299 => {
                let digest = digest(&info.update());
                self.remember(id, digest);
            }
            // Another agent has just created it; its attributes are updated below.
            409 => {}
            _ => {
                let reason = refusal(&format!("resource {id}"), &response);
                self.reported.warn(&format!("resource {id}"), &reason);
                self.progress.first_reason.get_or_insert(reason);
                self.progress.refused.insert(id.to_owned());
                measures.remove(id);
            }
        }
        Ok(())
    }

    fn update_resources(
        &mut self,
        measures: &Measures<'_>,
        exchange: &mut Exchange<'_>,
        has_time: &dyn Fn() -> bool,
    ) -> Result<(), Failure> {
        for (id, info) in &measures.resources {
            let body = info.update();
            let digest = digest(&body);
            if self.known.get(id) == Some(&digest) {
                continue;
            }
            if !has_time() {
                return Err(unfinished("updating resources"));
            }
            let path = format!("/v1/resource/{}/{}", info.type_.name, escaped(id));
            let response = self.session.call(exchange, ("PATCH", &path), body)?;
            if !(200..=299).contains(&response.status) {
                // The measures have arrived; the next envelope tries again.
                log::warn(&refusal(&format!("attributes of resource {id}"), &response));
                continue;
            }
            self.remember(id, digest);
        }
        Ok(())
    }

    fn remember(&mut self, id: &str, digest: u64) {
        if self.known.len() < MOST_KNOWN || self.known.contains_key(id) {
            self.known.insert(id.to_owned(), digest);
        }
    }
}

fn unfinished(what: &str) -> Failure {
    later(format!("{what}, more to come"), Some(0))
}

fn refusal(what: &str, response: &Response) -> String {
    format!("Gnocchi refused {what} with status {}: {}", response.status, response.first_line())
}

fn digest(body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    hasher.finish()
}

/// The ids that Gnocchi does not know, if that is why it refused measures.
fn unknown_resources(response: &Response) -> Vec<String> {
    let body: Value = serde_json::from_slice(&response.body).unwrap_or(Value::Null);
    let description = &body["description"];
    if response.status != 400 || description["cause"] != "Unknown resources" {
        return Vec::new();
    }
    let details = description["detail"].as_array();
    let ids = details.into_iter().flatten();
    ids.filter_map(|one| Some(one["original_resource_id"].as_str()?.to_owned())).collect()
}

#[cfg(test)]
#[path = "delivery_tests.rs"]
mod tests;
