//! `POST /v2/meters/NAME`: samples from clients.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::conditions::only;
use super::error::ApiError;
use super::flat::flat;
use super::request::Request;
use super::rights::Rights;
use crate::ingest::{PostHandover, writer};
use crate::sample::{KINDS, Measurement};

/// Stores samples and returns them as they are stored.
pub(super) fn samples(
    request: &Request,
    rights: &Rights,
    meter: &str,
    handover: Option<&PostHandover>,
) -> Result<Value, ApiError> {
    only(&request.parameters, &["direct"])?;
    if !rights.writes {
        return Err(ApiError::forbidden());
    }
    let Some(handover) = handover else {
        return Err(ApiError::client(501, "This collector takes no samples over the API"));
    };
    let text = "Samples should be included in request body";
    if request.body.is_empty() {
        return Err(ApiError::client(400, text));
    }
    let value: Value = serde_json::from_slice(&request.body).map_err(|error| {
        ApiError::client(400, format!("Request is not in valid JSON format: {error}"))
    })?;
    let list = value.as_array().filter(|list| !list.is_empty());
    let list = list.ok_or_else(|| ApiError::client(400, text))?;
    let mut answer = Vec::new();
    let mut measurements = Vec::new();
    for sample in list {
        let map = completed(sample, rights, meter)?;
        let wrong = |error: String| {
            ApiError::client(400, format!("Invalid input for field/attribute samples. {error}"))
        };
        let measurement = Measurement::read(&map).map_err(wrong)?;
        answer.push(shown(&map, &measurement));
        measurements.push(measurement);
    }
    let committed = handover.post(measurements).is_some_and(|done| done.blocking_recv().is_ok());
    if !committed {
        return Err(ApiError::client(503, "The collector is ending. Try again later."));
    }
    Ok(Value::Array(answer))
}

/// A sample with what the client has left out.
fn completed(sample: &Value, rights: &Rights, meter: &str) -> Result<Map<String, Value>, ApiError> {
    let Value::Object(map) = sample else {
        return Err(ApiError::client(400, "A sample must be a JSON object"));
    };
    let mut map = map.clone();
    let text = |map: &Map<String, Value>, key: &str| {
        map.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    for key in ["counter_name", "counter_type", "counter_unit", "resource_id"] {
        if text(&map, key).is_none() && !(key == "counter_unit" && map.contains_key(key)) {
            let text = format!(
                "Invalid input for field/attribute {key}. Value: 'None'. Mandatory field missing."
            );
            return Err(ApiError::client(400, text));
        }
    }
    let name = text(&map, "counter_name").unwrap_or_default();
    if name != meter {
        return Err(ApiError::invalid("counter_name", &name, &format!("should be {meter}")));
    }
    if let Some(id) = text(&map, "message_id") {
        return Err(ApiError::invalid("message_id", &id, "The message_id must not be set"));
    }
    let kind = text(&map, "counter_type").unwrap_or_default();
    if !KINDS.contains(&&*kind) {
        let kinds = format!("The counter type must be: {}", KINDS.join(", "));
        return Err(ApiError::invalid("counter_type", &kind, &kinds));
    }
    let project = text(&map, "project_id").or_else(|| rights.own.clone());
    if let (Some(own), Some(project)) = (&rights.project, &project)
        && own != project
    {
        let text = "can not post samples to other projects";
        return Err(ApiError::invalid("project_id", project, text));
    }
    let source = text(&map, "source").unwrap_or_else(|| "openstack".to_owned());
    let owner = project.as_deref().unwrap_or("None");
    map.insert("source".into(), json!(format!("{owner}:{source}")));
    map.insert("project_id".into(), json!(project));
    map.entry("user_id").or_insert(Value::Null);
    if text(&map, "timestamp").is_none() {
        map.insert("timestamp".into(), json!(writer::now().iso()));
    }
    map.insert("message_id".into(), json!(Uuid::new_v4().to_string()));
    Ok(map)
}

/// A sample as the real API returns it.
fn shown(map: &Map<String, Value>, sample: &Measurement) -> Value {
    json!({
        "source": map["source"],
        "counter_name": map["counter_name"],
        "counter_type": map["counter_type"],
        "counter_unit": map["counter_unit"],
        "counter_volume": sample.volume.map(nephometer_model::Volume::as_f64),
        "user_id": map["user_id"],
        "project_id": map["project_id"],
        "resource_id": map["resource_id"],
        "timestamp": sample.time.iso(),
        "resource_metadata": flat(&sample.metadata.text),
        "message_id": map["message_id"],
    })
}
