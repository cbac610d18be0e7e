//! Maps requests to answers.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nephometer_model::Timestamp;
use nephometer_page::{COLLECTOR_PAGE, PageFile};
use nephometer_telemetry::events::collector as events;
use serde_json::{Value, json};

use super::access::AccessRules;
use super::audit::{AuditRequest, AuditSettings};
use super::complex::ComplexQuery;
use super::conditions::{Conditions, Subject, conditions, limit, only, whole};
use super::document::DOCUMENT;
use super::endpoints::Endpoint;
use super::error::ApiError;
use super::fleet::{self, Wanted};
use super::request::Request;
use super::rights::Rights;
use super::statistics::Asked;
use super::{metrics, post, render};
use crate::audit::AuditFailure;
use crate::ingest::writer::now;
use crate::ingest::{Health, PostHandover};
use crate::store::{Reader, Selection, StoreError, TimeRange};

/// A status and a body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) kind: &'static str,
}

/// Opens another reader.
type Open = Box<dyn Fn() -> Result<Box<dyn Reader>, StoreError> + Send + Sync>;

/// What answers are made from.
pub(crate) struct Api {
    access: AccessRules,
    limit: usize,
    health: Arc<Health>,
    open: Open,
    /// Readers that nobody uses.
    idle: Mutex<Vec<Box<dyn Reader>>>,
    /// `None` where no samples are taken.
    handover: Option<PostHandover>,
    audits: AuditSettings,
}

impl Api {
    pub(crate) fn new(access: AccessRules, limit: usize, health: Arc<Health>, open: Open) -> Self {
        Self {
            access,
            limit,
            health,
            open,
            idle: Mutex::default(),
            handover: None,
            audits: AuditSettings::default(),
        }
    }

    /// Lets clients post samples.
    pub(crate) fn with_handover(self, handover: PostHandover) -> Self {
        Self { handover: Some(handover), ..self }
    }

    /// Sets what audits of clients trust.
    pub(crate) fn with_audits(self, audits: AuditSettings) -> Self {
        Self { audits, ..self }
    }

    /// Answers a request. Blocks while it reads.
    pub(crate) fn answer(&self, request: &Request) -> Answer {
        if let Some(file) = page_file(request) {
            let body = file.content.as_bytes().to_vec();
            return Answer { status: 200, body, kind: file.content_type };
        }
        let found = Endpoint::find(&request.method, &request.path);
        if let Some((endpoint, _)) = found.filter(|(endpoint, _)| endpoint.is_open()) {
            return self.unprotected(endpoint);
        }
        let rights = match self.access.now().rights(request) {
            Ok(Some(rights)) => rights,
            Ok(None) => return failed(&ApiError::unauthenticated()),
            // Nobody is let in without Keystone.
            Err(_) => return failed(&ApiError::keystone_away()),
        };
        if let Some((Endpoint::Evidence, _)) = found {
            return self.evidence(request, &rights).unwrap_or_else(|error| failed(&error));
        }
        let replied = match found {
            Some(found) => self.routed(request, &rights, found),
            None => Err(missing(request)),
        };
        match replied {
            Ok((status, value)) => json_answer(status, &value),
            Err(error) => failed(&error),
        }
    }

    /// What needs no token.
    fn unprotected(&self, endpoint: Endpoint) -> Answer {
        match endpoint {
            Endpoint::Metrics => {
                let body = metrics::text(&self.health).into_bytes();
                Answer { status: 200, body, kind: "text/plain; version=0.0.4" }
            }
            Endpoint::Document => {
                let body = DOCUMENT.as_bytes().to_vec();
                Answer { status: 200, body, kind: "application/json" }
            }
            _ => {
                let (healthy, value) = metrics::health(&self.health);
                json_answer(if healthy { 200 } else { 503 }, &value)
            }
        }
    }

    fn routed(
        &self,
        request: &Request,
        rights: &Rights,
        (endpoint, part): (Endpoint, &str),
    ) -> Result<(u16, Value), ApiError> {
        let kind = request.content_type.as_deref().and_then(|kind| kind.split(';').next());
        // Other types may be sent by pages of other sites, which browsers ask nobody for leave for.
        if request.method == "POST" && kind.map(str::trim) != Some("application/json") {
            let text = "The body must be JSON, sent as application/json.";
            return Err(ApiError::page(415, "Unsupported Media Type", text));
        }
        let found = match endpoint {
            Endpoint::Meters => self.meters(request, rights),
            Endpoint::Statistics => self.statistics(request, rights, part),
            Endpoint::OldSamples => self.old_samples(request, rights, part),
            Endpoint::PostSamples => {
                return post::samples(request, rights, part, self.handover.as_ref())
                    .map(|value| (201, value));
            }
            Endpoint::Samples => self.samples(request, rights),
            Endpoint::Sample => self.sample(request, rights, part),
            Endpoint::Resources => self.resources(request, rights),
            Endpoint::Resource => self.resource(request, rights, part),
            Endpoint::Query => self.query(request, rights),
            Endpoint::Capabilities => Ok(render::capabilities()),
            Endpoint::Agents => self.agents(request, rights),
            Endpoint::Gaps => self.gaps(request, rights),
            Endpoint::Audit => self.audit(request, rights),
            // These are no JSON, or need no token.
            Endpoint::Evidence | Endpoint::Health | Endpoint::Metrics | Endpoint::Document => {
                Err(missing(request))
            }
        };
        found.map(|value| (200, value))
    }

    fn meters(&self, request: &Request, rights: &Rights) -> Result<Value, ApiError> {
        let parameters = &request.parameters;
        only(parameters, &["q", "limit", "unique"])?;
        let limit = limit(whole(parameters, "limit")?, self.limit)?;
        let conditions = conditions(parameters, Subject::Meters, rights.project.as_deref())?;
        let unique = parameters.iter().rev().find(|(name, _)| name == "unique");
        let unique = unique.is_some_and(|(_, value)| {
            ["true", "1", "yes", "on", "t", "y"].contains(&&*value.to_lowercase())
        });
        let meters = self.read(|reader| reader.meters(&conditions.selection))?;
        let mut entries: Vec<Value> = if unique {
            meters.iter().map(render::unique_meter).collect()
        } else {
            meters.iter().map(render::meter).collect()
        };
        if unique {
            // Those of one name stand side by side, by resource and then by kind.
            let mut known = HashSet::new();
            entries.retain(|entry| known.insert(entry.to_string()));
        }
        entries.truncate(limit);
        Ok(Value::Array(entries))
    }

    fn old_samples(
        &self,
        request: &Request,
        rights: &Rights,
        meter: &str,
    ) -> Result<Value, ApiError> {
        let found = self.newest(request, rights, Some(meter))?;
        Ok(found.iter().map(render::old_sample).collect())
    }

    fn samples(&self, request: &Request, rights: &Rights) -> Result<Value, ApiError> {
        let found = self.newest(request, rights, None)?;
        Ok(found.iter().map(render::sample).collect())
    }

    fn newest(
        &self,
        request: &Request,
        rights: &Rights,
        meter: Option<&str>,
    ) -> Result<Vec<crate::store::StoredSample>, ApiError> {
        let parameters = &request.parameters;
        only(parameters, &["q", "limit"])?;
        let limit = limit(whole(parameters, "limit")?, self.limit)?;
        let found = conditions(parameters, Subject::Samples, rights.project.as_deref())?;
        let mut selection = found.selection;
        if let Some(meter) = meter {
            selection.meter = Some(meter.to_owned());
        }
        self.read(|reader| reader.newest(&selection, limit, &mut |_| true))
    }

    fn sample(&self, request: &Request, rights: &Rights, id: &str) -> Result<Value, ApiError> {
        only(&request.parameters, &[])?;
        let (project, message_id) = (rights.wanted(), Some(id.to_owned()));
        let selection = Selection { project, message_id, ..Selection::default() };
        let found = self.read(|reader| reader.newest(&selection, 1, &mut |_| true))?;
        found.first().map(render::sample).ok_or_else(|| ApiError::not_found("Sample", id))
    }

    fn resources(&self, request: &Request, rights: &Rights) -> Result<Value, ApiError> {
        let parameters = &request.parameters;
        only(parameters, &["q", "limit", "meter_links"])?;
        let limit = limit(whole(parameters, "limit")?, self.limit)?;
        let links = whole(parameters, "meter_links")?.unwrap_or(1) != 0;
        let conditions = conditions(parameters, Subject::Resources, rights.project.as_deref())?;
        let base = base(request);
        self.read(|reader| {
            let mut found = reader.resources(&conditions.selection)?;
            found.truncate(limit);
            let entries = found.iter().map(|entry| {
                let links = linked(reader, &base, &entry.owner.resource_id, links)?;
                Ok(render::resource(entry, &links))
            });
            entries.collect::<Result<Value, StoreError>>()
        })
    }

    fn resource(&self, request: &Request, rights: &Rights, id: &str) -> Result<Value, ApiError> {
        only(&request.parameters, &[])?;
        let (project, resource) = (rights.wanted(), Some(id.to_owned()));
        let selection = Selection { project, resource, ..Selection::default() };
        let base = base(request);
        let found = self.read(|reader| {
            let Some(entry) = reader.resources(&selection)?.pop() else { return Ok(None) };
            let links = linked(reader, &base, id, true)?;
            Ok(Some(render::resource(&entry, &links)))
        })?;
        found.ok_or_else(|| ApiError::not_found("Resource", id))
    }

    fn statistics(
        &self,
        request: &Request,
        rights: &Rights,
        meter: &str,
    ) -> Result<Value, ApiError> {
        let parameters = &request.parameters;
        let known = ["q", "groupby", "period", "aggregate.func", "aggregate.param"];
        only(parameters, &known)?;
        let found = conditions(parameters, Subject::Samples, rights.project.as_deref())?;
        let Conditions { selection, .. } = &found;
        // A range that ends before it begins has nothing.
        let TimeRange { start, end } = selection.times;
        let asked = Asked::read(parameters, meter, found)?;
        if start >= end {
            return Ok(json!([]));
        }
        let totals = self.read(|reader| reader.statistics(&asked.query))?;
        Ok(Value::Array(asked.answer(&totals)))
    }

    fn query(&self, request: &Request, rights: &Rights) -> Result<Value, ApiError> {
        only(&request.parameters, &[])?;
        let query = ComplexQuery::read(&request.body, self.limit, rights.project.as_deref())?;
        let mut reader = self.reader()?;
        let found = query.answer(&mut *reader);
        self.put_back(reader);
        Ok(found?.iter().map(render::sample).collect())
    }

    fn agents(&self, request: &Request, rights: &Rights) -> Result<Value, ApiError> {
        // Hosts are no business of projects.
        if rights.project.is_some() {
            return Err(ApiError::forbidden());
        }
        let parameters = &request.parameters;
        only(parameters, &["text", "state", "limit"])?;
        let limit = limit(whole(parameters, "limit")?, self.limit)?;
        let (wanted, now) = (Wanted::read(parameters, limit)?, now());
        let streams = self.read(|reader| {
            reader.streams(earlier(now, fleet::LISTED), earlier(now, fleet::DROPS))
        })?;
        Ok(fleet::agents(&streams, &wanted, now))
    }

    fn gaps(&self, request: &Request, rights: &Rights) -> Result<Value, ApiError> {
        let parameters = &request.parameters;
        only(parameters, &["q"])?;
        let found = conditions(parameters, Subject::Samples, rights.project.as_deref())?;
        let selection = found.selection;
        if selection.meter.is_none() || selection.resource.is_none() {
            let text = "Gaps are those of one meter of one resource: name meter and resource_id";
            return Err(ApiError::client(400, text));
        }
        let (drops, sent) = self.read(|reader| {
            Ok((reader.drops(&selection)?, fleet::sent_gaps(reader, &selection)?))
        })?;
        Ok(fleet::gaps(&drops, &sent, rights.project.is_none()))
    }

    fn audit(&self, request: &Request, rights: &Rights) -> Result<Value, ApiError> {
        self.audited(request, rights, AuditRequest::answer)
    }

    fn evidence(&self, request: &Request, rights: &Rights) -> Result<Answer, ApiError> {
        let body = self.audited(request, rights, AuditRequest::evidence)?;
        Ok(Answer { status: 200, body, kind: "application/x-ndjson" })
    }

    fn audited<T>(
        &self,
        request: &Request,
        rights: &Rights,
        work: fn(AuditRequest, &mut dyn Reader, &AuditSettings) -> Result<T, AuditFailure>,
    ) -> Result<T, ApiError> {
        let parameters = &request.parameters;
        only(parameters, &["project", "from", "to", "host"])?;
        let asked = AuditRequest::read(parameters, rights.project.as_deref())?;
        let mut reader = self.reader()?;
        match work(asked, &mut *reader, &self.audits) {
            Ok(found) => {
                self.put_back(reader);
                Ok(found)
            }
            Err(AuditFailure::Store(error)) => Err(refused(error)),
            Err(error) => {
                events::query_failed(&error);
                Err(ApiError::client(503, "The audit has failed; the log of the collector has why"))
            }
        }
    }

    /// Reads with a reader of its own.
    fn read<T>(
        &self,
        work: impl FnOnce(&mut dyn Reader) -> Result<T, StoreError>,
    ) -> Result<T, ApiError> {
        let mut reader = self.reader()?;
        let done = work(&mut *reader);
        match done {
            Ok(done) => {
                self.put_back(reader);
                Ok(done)
            }
            // Its files may have been replaced or damaged: the next query opens them again.
            Err(error) => Err(refused(error)),
        }
    }

    fn reader(&self) -> Result<Box<dyn Reader>, ApiError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(reader) => Ok(reader),
            None => (self.open)().map_err(refused),
        }
    }

    fn put_back(&self, reader: Box<dyn Reader>) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
    }
}

/// The file of the page that is asked for.
fn page_file(request: &Request) -> Option<PageFile> {
    let mut files = COLLECTOR_PAGE.into_iter().filter(|_| request.method == "GET");
    files.find(|file| file.path == request.path)
}

fn earlier(now: Timestamp, duration: Duration) -> Timestamp {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    Timestamp::from_nanos(now.as_nanos().saturating_sub(nanos))
}

/// The answer for a path or a method that there is not.
fn missing(request: &Request) -> ApiError {
    let path = request.path.strip_prefix("/v2/").unwrap_or_default();
    let path = path.strip_suffix('/').unwrap_or(path);
    match path.split_once('/').unwrap_or((path, "")) {
        ("alarms", _) => gone(),
        ("query", "alarms") if request.method == "POST" => gone(),
        ("meters" | "samples" | "resources" | "capabilities", _) | ("query", "samples") => {
            not_allowed(request)
        }
        _ if !Endpoint::methods(&request.path).is_empty() => not_allowed(request),
        _ => ApiError::page(404, "Not Found", "The resource could not be found."),
    }
}

fn not_allowed(request: &Request) -> ApiError {
    let text = format!("The method {} is not allowed for this resource. ", request.method);
    ApiError::page(405, "Method Not Allowed", &text)
}

fn gone() -> ApiError {
    let text = "This resource is no longer available. No forwarding address is given.\
        <br /><br />\nalarms URLs is unavailable when Aodh is disabled or unavailable.";
    ApiError::page(410, "Gone", text)
}

/// The answer for an error of the store, which is logged if it is not the client's.
fn refused(error: StoreError) -> ApiError {
    let asked =
        matches!(error, StoreError::TooMuch(_) | StoreError::Expired(_) | StoreError::Bound(_));
    if !asked {
        events::query_failed(&error);
    }
    error.into()
}

/// The links of a resource.
fn linked(
    reader: &mut dyn Reader,
    base: &str,
    resource: &str,
    meters: bool,
) -> Result<Vec<Value>, StoreError> {
    let mut links = vec![render::own_link(base, resource)];
    if meters {
        let resource_only =
            Selection { resource: Some(resource.to_owned()), ..Selection::default() };
        for entry in reader.meters(&resource_only)? {
            links.push(render::meter_link(base, resource, &entry.meter.name));
        }
    }
    Ok(links)
}

fn base(request: &Request) -> String {
    let good = |host: &&str| {
        host.chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']' | '_'))
    };
    let host = request.host.as_deref().filter(good).unwrap_or("localhost");
    format!("http://{host}")
}

fn json_answer(status: u16, value: &Value) -> Answer {
    Answer { status, body: value.to_string().into_bytes(), kind: "application/json" }
}

fn failed(error: &ApiError) -> Answer {
    json_answer(error.status, &error.body)
}
