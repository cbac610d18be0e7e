//! Nova's API: servers of a host, flavors, server groups.

use std::collections::HashMap;

use hyper::Method;
use serde_json::{Map, Value, json};
use url::Url;
use uuid::Uuid;

use crate::error::CloudError;
use crate::http::{CloudAnswer, CloudRequest, HttpClient, shown, too_large, unusable};
use crate::keystone::Keystone;
use nephometer_model::{Bound, Server, Timestamp};

/// The type of Nova in the catalog.
const COMPUTE: &str = "compute";
/// The version that Ceilometer asks for: flavors by id, images by id, states with their extensions.
const VERSION: (&str, &str) = ("x-openstack-nova-api-version", "2.1");
/// What Ceilometer asks for in place of a flavor or image that is gone.
const NOT_FOUND: u16 = 404;

/// Sends requests with the token of a session.
pub(crate) struct Api<'a> {
    pub http: &'a HttpClient,
    pub keystone: &'a mut Keystone,
}

/// One answer of `servers/detail`, all pages together.
pub(crate) struct ServerList {
    pub servers: Vec<ListedServer>,
    /// Its size as text.
    pub bytes: usize,
    /// The time at Nova when it answered the first page.
    pub at: Option<Timestamp>,
}

/// A server of a list.
pub(crate) enum ListedServer {
    /// One that exists.
    Present(Box<Server>),
    /// One that is deleted, or that failed to start: Ceilometer forgets both.
    Gone(Uuid),
}

impl Api<'_> {
    /// Gets an object from a service. A token that is refused is renewed once.
    ///
    /// # Errors
    /// See [`CloudError`].
    pub(crate) async fn get(
        &mut self,
        kind: &'static str,
        path: &Path<'_>,
    ) -> Result<CloudAnswer, CloudError> {
        let first = self.try_get(kind, path).await;
        if !first.as_ref().is_err_and(|error| error.is_status(401)) {
            return first;
        }
        self.keystone.forget();
        self.try_get(kind, path).await
    }

    async fn try_get(
        &mut self,
        kind: &'static str,
        path: &Path<'_>,
    ) -> Result<CloudAnswer, CloudError> {
        self.keystone.session(self.http).await?;
        let url = path.on(self.keystone.endpoint(kind)?);
        let session = self.keystone.session(self.http).await?;
        let headers: &[_] = if kind == COMPUTE { &[VERSION] } else { &[] };
        let token = Some(&session.token);
        self.http
            .send(CloudRequest { method: Method::GET, url: &url, token, headers, body: None })
            .await
    }

    /// The servers of a host, or those that have changed since a time. Follows all pages.
    pub(crate) async fn servers(
        &mut self,
        host: &str,
        since: Option<Timestamp>,
    ) -> Result<ServerList, CloudError> {
        let mut query = vec![("all_tenants".to_owned(), "True".to_owned())];
        query.push(("host".to_owned(), host.to_owned()));
        if let Some(since) = since {
            let whole = Timestamp::from_nanos(since.as_nanos() / 1_000_000_000 * 1_000_000_000);
            query.push(("changes-since".to_owned(), format!("{}Z", whole.iso())));
        }
        let mut list = ServerList { servers: Vec::new(), bytes: 0, at: None };
        let what = "GET servers/detail";
        for page in 0..Bound::CloudPages.size() {
            let path = Path { segments: &["servers", "detail"], query: &query };
            let answer = self.get(COMPUTE, &path).await?;
            if page == 0 {
                list.at = answer.date().and_then(Timestamp::from_http_date);
            }
            let servers = answer.json["servers"].as_array();
            let servers = servers.ok_or_else(|| unusable(what, "it has no servers".to_owned()))?;
            for one in servers {
                list.bytes += one.to_string().len();
                list.servers.push(server(one).map_err(|reason| unusable(what, reason))?);
            }
            for (bound, amount) in
                [(Bound::CloudServers, list.servers.len()), (Bound::CloudTotal, list.bytes)]
            {
                if amount > bound.size() {
                    return Err(too_large(what, bound));
                }
            }
            match next_page(&answer.json) {
                Some(next) if !servers.is_empty() => query = next,
                _ => return Ok(list),
            }
        }
        Err(too_large(what, Bound::CloudPages))
    }

    /// A flavor with the keys that Ceilometer has: name and sizes.
    pub(crate) async fn flavor(&mut self, id: &str) -> Result<Map<String, Value>, CloudError> {
        let path = Path { segments: &["flavors", id], query: &[] };
        let found = match self.get(COMPUTE, &path).await {
            Ok(answer) => answer.json["flavor"].clone(),
            Err(error) if error.is_status(NOT_FOUND) => Value::Null,
            Err(error) => return Err(error),
        };
        let unknown = json!(format!("unknown-id-{id}"));
        let mut flavor = Map::new();
        for (key, from, default) in [
            ("name", "name", unknown),
            ("vcpus", "vcpus", json!(0)),
            ("ram", "ram", json!(0)),
            ("disk", "disk", json!(0)),
            ("ephemeral", "OS-FLV-EXT-DATA:ephemeral", json!(0)),
        ] {
            let value = found.get(from).filter(|value| value.is_number() || value.is_string());
            flavor.insert(key.to_owned(), value.cloned().unwrap_or(default));
        }
        bounded("a flavor", &Value::Object(flavor.clone()))?;
        Ok(flavor)
    }

    /// The names of the server groups, by member.
    pub(crate) async fn server_groups(&mut self) -> Result<HashMap<Uuid, String>, CloudError> {
        let what = "GET os-server-groups";
        let mut groups = HashMap::new();
        let mut offset = 0;
        for _ in 0..Bound::CloudPages.size() {
            let query = [
                ("all_projects".to_owned(), "True".to_owned()),
                ("offset".to_owned(), offset.to_string()),
            ];
            let path = Path { segments: &["os-server-groups"], query: &query };
            let answer = self.get(COMPUTE, &path).await?;
            let page = answer.json["server_groups"].as_array();
            let page = page.ok_or_else(|| unusable(what, "it has no groups".to_owned()))?;
            for group in page {
                let (Some(name), Some(members)) =
                    (group["name"].as_str(), group["members"].as_array())
                else {
                    continue;
                };
                bounded(what, &group["name"])?;
                let members = members.iter().filter_map(|member| member.as_str()?.parse().ok());
                groups.extend(members.map(|member| (member, name.to_owned())));
            }
            if groups.len() > Bound::CloudMembers.size() {
                return Err(too_large(what, Bound::CloudMembers));
            }
            if page.is_empty() {
                return Ok(groups);
            }
            offset += page.len();
        }
        Err(too_large(what, Bound::CloudPages))
    }
}

/// A path below the URL of a service.
pub(crate) struct Path<'a> {
    pub segments: &'a [&'a str],
    pub query: &'a [(String, String)],
}

impl Path<'_> {
    fn on(&self, mut endpoint: Url) -> Url {
        if let Ok(mut segments) = endpoint.path_segments_mut() {
            segments.pop_if_empty().extend(self.segments);
        }
        endpoint.set_query(None);
        if !self.query.is_empty() {
            endpoint.query_pairs_mut().extend_pairs(self.query);
        }
        endpoint
    }
}

/// The query of the next page. Only the query: the token must not follow a link to another host, and
/// behind a proxy the link often names the wrong one.
fn next_page(answer: &Value) -> Option<Vec<(String, String)>> {
    let links = answer["servers_links"].as_array()?;
    let next = links.iter().find(|link| link["rel"] == "next")?["href"].as_str()?;
    if next.len() > Bound::UrlBytes.size() {
        return None;
    }
    let query = Url::parse(next).ok()?.query_pairs().into_owned().collect::<Vec<_>>();
    query.iter().any(|(key, _)| key == "marker").then_some(query)
}

fn server(one: &Value) -> Result<ListedServer, String> {
    let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let uuid = text("id").parse().map_err(|_| "a server has no uuid".to_owned())?;
    let vm_state = &one["OS-EXT-STS:vm_state"];
    if vm_state == "deleted" || vm_state == "error" {
        return Ok(ListedServer::Gone(uuid));
    }
    let object = |key: &str| one[key].as_object().cloned();
    let server = Server {
        uuid,
        name: text("name"),
        user_id: text("user_id"),
        project_id: text("tenant_id"),
        host_id: text("hostId"),
        host: one["OS-EXT-SRV-ATTR:host"].clone(),
        instance_name: one["OS-EXT-SRV-ATTR:instance_name"].clone(),
        status: text("status"),
        vm_state: vm_state.clone(),
        task_state: one["OS-EXT-STS:task_state"].clone(),
        availability_zone: one["OS-EXT-AZ:availability_zone"].clone(),
        metadata: object("metadata").unwrap_or_default(),
        flavor: object("flavor").unwrap_or_default(),
        // Booted from a volume it is an empty text.
        image: object("image"),
        ..Server::default()
    };
    let kept = [&server.flavor, &server.metadata];
    let size: usize = kept.iter().map(|map| json!(map).to_string().len()).sum();
    let fields = [&server.host, &server.instance_name, &server.vm_state, &server.task_state];
    let size = size + fields.iter().map(|value| value.to_string().len()).sum::<usize>();
    let size = size + server.name.len() + json!(server.image).to_string().len();
    Bound::ServerMetadata.check(size).map_err(|exceeded| format!("server {uuid}: {exceeded}"))?;
    Ok(ListedServer::Present(Box::new(server)))
}

/// Rejects what is too large to be kept.
pub(crate) fn bounded(what: &str, value: &Value) -> Result<(), CloudError> {
    let size = value.to_string().len();
    Bound::ServerMetadata
        .check(size)
        .map_err(|source| CloudError::Exceeded { what: what.to_owned(), source })
}

/// The endpoint without its query, for log lines.
pub(crate) fn compute_url(keystone: &Keystone) -> String {
    keystone.endpoint(COMPUTE).map(|url| shown(&url)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_the_query_of_the_link_and_never_its_host() {
        let answer = json!({"servers_links": [
            {"rel": "previous", "href": "http://a/?marker=x"},
            {"rel": "next", "href": "http://evil:1/v2.1/servers/detail?host=h&marker=m%2B1"},
        ]});
        let query = next_page(&answer).unwrap();
        let path = Path { segments: &["servers", "detail"], query: &query };
        let url = path.on(Url::parse("https://nova:8774/v2.1/").unwrap());
        assert_eq!(url.as_str(), "https://nova:8774/v2.1/servers/detail?host=h&marker=m%2B1");
        for none in [
            json!({}),
            json!({"servers_links": []}),
            json!({"servers_links": [{"rel": "next", "href": 7}]}),
            json!({"servers_links": [{"rel": "next", "href": "http://a/?limit=1"}]}),
            json!({"servers_links": [{"rel": "next", "href": format!("http://a/?marker={}", "x".repeat(9_000))}]}),
        ] {
            assert_eq!(next_page(&none), None, "{none}");
        }
    }

    #[test]
    fn ids_cannot_leave_their_segment() {
        let path = Path { segments: &["flavors", "../../v3/users?x#y"], query: &[] };
        let url = path.on(Url::parse("http://nova/v2.1").unwrap());
        assert_eq!(url.as_str(), "http://nova/v2.1/flavors/..%2F..%2Fv3%2Fusers%3Fx%23y");
    }

    #[test]
    fn deleted_and_failed_servers_are_gone_and_odd_ones_are_refused() {
        let with = |state: &str| {
            server(&json!({"id": Uuid::nil().to_string(), "OS-EXT-STS:vm_state": state}))
        };
        assert!(matches!(with("deleted"), Ok(ListedServer::Gone(_))));
        assert!(matches!(with("error"), Ok(ListedServer::Gone(_))));
        assert!(matches!(with("active"), Ok(ListedServer::Present(_))));
        assert!(server(&json!({"id": "x"})).is_err());
        assert!(server(&json!(null)).is_err());
        let huge = "x".repeat(Bound::ServerMetadata.size());
        let huge = json!({"id": Uuid::nil().to_string(), "metadata": {"a": huge}});
        let Err(reason) = server(&huge) else { panic!("it is accepted") };
        assert!(reason.contains("openstack_server_bytes"), "{reason}");
    }
}
