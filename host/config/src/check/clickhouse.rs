//! Checks `store.clickhouse` of `collector.yaml`.

use std::path::PathBuf;
use std::time::Duration;

use nephometer_model::{Bound, Secret};

use super::Check;
use super::units::{DURATION, duration};
use crate::collector::ClickHouseSpec;
use crate::keys;
use crate::raw::{Field, RawClickHouse};

const AT: &str = "/store/clickhouse";
const SERVERS: &str = "write a list such as [\"http://127.0.0.1:8123\"]";

/// The servers; the inner `None` if none is named.
pub(super) fn clickhouse(
    check: &mut Check<'_>,
    field: Field<RawClickHouse>,
) -> Option<Option<ClickHouseSpec>> {
    let raw = check.mapping(AT, field)?;
    check.keys(AT, &keys::CLICKHOUSE, &[]);
    let at = |key: &str| format!("{AT}/{key}");
    let servers = servers(check, &raw);
    let database = check.string(&at("database"), &raw.database);
    let user = check.string(&at("user"), &raw.user);
    let password = check.secret(&at("password"), &raw.password, &raw.password_file);
    let ca = check.string(&at("ca"), &raw.ca);
    let timeout = check.value(&at("timeout"), &raw.timeout, duration, DURATION);
    let database = database?.unwrap_or_else(|| "nephometer".to_owned());
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if database.is_empty() || !database.chars().all(plain) {
        let what = format!("`database` is {database:?}");
        check.fault(&at("database"), what, "use letters, digits and underscores");
        return None;
    }
    let spec = ClickHouseSpec {
        servers: servers?,
        database,
        user: user?.unwrap_or_else(|| "default".to_owned()),
        password: password?.map(Secret::new),
        ca: ca?.map(PathBuf::from),
        timeout: timeout?.unwrap_or(Duration::from_secs(60)),
    };
    Some((!spec.servers.is_empty()).then_some(spec))
}

fn servers(check: &mut Check<'_>, raw: &RawClickHouse) -> Option<Vec<String>> {
    let pointer = format!("{AT}/servers");
    let entries = match &raw.servers {
        Field::Given(entries) => entries,
        Field::Absent | Field::Null => return Some(Vec::new()),
        Field::Wrong => {
            check.wrong(&pointer, SERVERS);
            return None;
        }
    };
    if let Err(error) = Bound::CollectorServers.check(entries.len()) {
        check.fault(&pointer, error.to_string(), "use fewer of them");
        return None;
    }
    let mut found: Vec<String> = Vec::new();
    let texts = check.texts(&pointer, entries);
    for (inner, text) in &texts {
        if !is_server(text) {
            // It may hold a password, so it is not shown.
            let what = "it is no URL of HTTP without user, path and query";
            let remedy =
                "write it like http://clickhouse-1:8123; set user and password_file for a login";
            check.fault(inner, what, remedy);
        } else if found.contains(text) {
            check.fault(inner, format!("{text} is in the list twice"), "remove one");
        } else {
            found.push(text.trim_end_matches('/').to_owned());
        }
    }
    (found.len() == entries.len()).then_some(found)
}

fn is_server(text: &str) -> bool {
    text.len() <= Bound::UrlBytes.size()
        && ::url::Url::parse(text).is_ok_and(|url| {
            ["http", "https"].contains(&url.scheme())
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
                && url.path() == "/"
                && url.query().is_none()
                && url.fragment().is_none()
        })
}
