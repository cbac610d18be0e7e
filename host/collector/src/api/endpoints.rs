//! What can be asked for: methods and paths. `openapi.json` describes each of them.

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Health,
    Metrics,
    Document,
    Meters,
    PostSamples,
    Statistics,
    OldSamples,
    Samples,
    Sample,
    Resources,
    Resource,
    Query,
    Capabilities,
    Agents,
    Gaps,
    Audit,
    Evidence,
}

impl Endpoint {
    /// All of them with their method and path; the first path that matches is taken. A part in braces
    /// is any text, also with slashes: ids of interfaces may have some, which clients do not escape.
    pub(super) const ALL: [(Self, &'static str, &'static str); 17] = [
        (Self::Health, "GET", "/health"),
        (Self::Metrics, "GET", "/metrics"),
        (Self::Document, "GET", "/openapi.json"),
        (Self::Meters, "GET", "/v2/meters"),
        (Self::Statistics, "GET", "/v2/meters/{meter_name}/statistics"),
        (Self::PostSamples, "POST", "/v2/meters/{meter_name}"),
        (Self::OldSamples, "GET", "/v2/meters/{meter_name}"),
        (Self::Samples, "GET", "/v2/samples"),
        (Self::Sample, "GET", "/v2/samples/{sample_id}"),
        (Self::Resources, "GET", "/v2/resources"),
        (Self::Resource, "GET", "/v2/resources/{resource_id}"),
        (Self::Query, "POST", "/v2/query/samples"),
        (Self::Capabilities, "GET", "/v2/capabilities"),
        (Self::Agents, "GET", "/v1/agents"),
        (Self::Gaps, "GET", "/v1/gaps"),
        (Self::Audit, "GET", "/v1/audit"),
        (Self::Evidence, "GET", "/v1/audit/evidence"),
    ];

    /// The endpoint of a request, and the part of its path that is in braces.
    pub(super) fn find<'p>(method: &str, path: &'p str) -> Option<(Self, &'p str)> {
        let trimmed = path.strip_suffix('/').filter(|_| path.starts_with("/v2/")).unwrap_or(path);
        let mut all = Self::ALL.into_iter();
        let (template, found) =
            all.find_map(|(_, _, template)| Some((template, part(template, trimmed)?)))?;
        let mut all = Self::ALL.into_iter();
        let (endpoint, ..) = all.find(|(_, known, path)| *known == method && *path == template)?;
        Some((endpoint, found))
    }

    /// The methods that a path has.
    pub(super) fn methods(path: &str) -> Vec<&'static str> {
        let mut methods: Vec<&str> = Self::ALL.into_iter().map(|(_, method, _)| method).collect();
        methods.sort_unstable();
        methods.dedup();
        methods.retain(|method| Self::find(method, path).is_some());
        methods
    }

    /// Whether no token is needed.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Health | Self::Metrics | Self::Document)
    }
}

/// The part of a path in place of the braces; empty without braces.
fn part<'p>(template: &str, path: &'p str) -> Option<&'p str> {
    let Some((before, rest)) = template.split_once('{') else {
        return (template == path).then_some("");
    };
    let (_, after) = rest.split_once('}')?;
    path.strip_prefix(before)?.strip_suffix(after).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::api::document::DOCUMENT;

    #[test]
    fn paths_are_found_with_what_is_in_braces() {
        for (method, path, expected) in [
            ("GET", "/v2/meters", Some((Endpoint::Meters, ""))),
            ("GET", "/v2/meters/", Some((Endpoint::Meters, ""))),
            ("GET", "/v2/meters/cpu/statistics", Some((Endpoint::Statistics, "cpu"))),
            ("GET", "/v2/meters/statistics", Some((Endpoint::OldSamples, "statistics"))),
            ("POST", "/v2/meters/a.b", Some((Endpoint::PostSamples, "a.b"))),
            (
                "GET",
                "/v2/resources/i-1-tap/with space",
                Some((Endpoint::Resource, "i-1-tap/with space")),
            ),
            ("GET", "/v1/agents", Some((Endpoint::Agents, ""))),
            ("POST", "/v2/meters", None),
            ("POST", "/v2/meters/cpu/statistics", None),
            ("GET", "/health/", None),
            ("GET", "/v2", None),
            ("DELETE", "/v2/samples", None),
        ] {
            assert_eq!(Endpoint::find(method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn paths_have_methods() {
        for (path, expected) in [
            ("/v2/meters", &["GET"][..]),
            ("/v2/meters/cpu", &["GET", "POST"]),
            ("/v2/query/samples", &["POST"]),
            ("/health", &["GET"]),
            ("/v2/events", &[]),
        ] {
            assert_eq!(Endpoint::methods(path), expected, "{path}");
        }
    }

    /// The files of the page are served before routes are looked for.
    #[test]
    fn the_page_hides_no_route() {
        for file in nephometer_page::COLLECTOR_PAGE {
            assert_eq!(Endpoint::find("GET", file.path), None, "{}", file.path);
        }
    }

    /// Every route is described, and nothing else.
    #[test]
    fn the_document_has_exactly_these_routes() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let mut described = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
                described.insert((method.to_uppercase(), path.clone()));
            }
        }
        let routes = Endpoint::ALL.map(|(_, method, path)| (method.to_owned(), path.to_owned()));
        assert_eq!(described, BTreeSet::from(routes));
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(document["openapi"], "3.1.0");
    }
}
