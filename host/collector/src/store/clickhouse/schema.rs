//! The tables of a server, and its place among the others.

use super::client::ClickHouseServer;
use super::wire::quoted;
use crate::store::StoreError;

/// The number of this schema.
const SCHEMA: u32 = 1;

/// The key of a sum, which samples and sums share. `owner` is a digest of everything in it that does not
/// stand in the order of a table.
pub(super) const KEY: &str = "meter, unit, kind, resource_id, project_id, user_id, source, owner";

/// Tables with their columns, partition and order. `{text}`, `{time}` and `{sync}` are replaced by what
/// the server has.
const TABLES: [(&str, &str, &str); 14] = [
    (
        "sample",
        "month UInt32, class {text}, meter {text}, unit {text}, kind {text}, resource_id {text}, \
         project_id Nullable(String), user_id Nullable(String), source {text}, owner UInt64, \
         day UInt16, time Int64{time}, id FixedString(16), text String, form UInt8, whole Int64, \
         number Float64, revision UInt64, stream FixedString(16), origin {text}, message Int64, \
         arrived Int64{time}, late UInt8, version UInt64",
        "ReplacingMergeTree(version) PARTITION BY (month, class) \
         ORDER BY (meter, day, resource_id, time, id, text)",
    ),
    (
        "seen",
        "month UInt32, hour UInt32, id FixedString(16), text String, message Int64, version UInt64",
        "ReplacingMergeTree(version) PARTITION BY month ORDER BY (hour, id, text)",
    ),
    (
        "touched",
        "month UInt32, class String, hour UInt32, marks UInt64",
        "SummingMergeTree(marks) PARTITION BY month ORDER BY (class, hour)",
    ),
    (
        "counted",
        "month UInt32, class String, span UInt8, start UInt32, marks UInt64",
        "ReplacingMergeTree(marks) PARTITION BY month ORDER BY (class, span, start)",
    ),
    (
        "rollup",
        "month UInt32, class {text}, span UInt8, start Int64, meter {text}, unit {text}, \
         kind {text}, resource_id {text}, project_id Nullable(String), user_id Nullable(String), \
         source {text}, owner UInt64, late UInt8, samples UInt64, volumes UInt64, total Float64, \
         wholes UInt64, whole_low Int64, whole_high Int64, number_low Float64, number_high Float64, \
         first_time Int64, last_time Int64, first_arrived Int64, last_arrived Int64, version UInt64",
        "ReplacingMergeTree(version) PARTITION BY (month, class) \
         ORDER BY (meter, span, start, resource_id, owner, late)",
    ),
    (
        "revision",
        "month UInt32, resource_id String, id UInt64, project_id Nullable(String), \
         metadata String, version UInt64",
        "ReplacingMergeTree(version) PARTITION BY month ORDER BY (resource_id, id)",
    ),
    (
        "message",
        "month UInt32, stream FixedString(16), sequence UInt64, body FixedString(32), \
         message Int64, arrived Int64, origin String, event_type String, samples UInt32, \
         previous FixedString(32), digest FixedString(32), record String, refused String, \
         version UInt64",
        "ReplacingMergeTree(version) PARTITION BY month ORDER BY (stream, sequence, body)",
    ),
    (
        "repeated",
        "month UInt32, stream FixedString(16), message Int64, hour UInt32, id FixedString(16), \
         text String, version UInt64",
        "ReplacingMergeTree(version) PARTITION BY month ORDER BY (stream, message, id, text)",
    ),
    (
        "letter",
        "digest FixedString(32), number Int64, arrived Int64, origin String, reason String, \
         body String, place String, removed UInt8, version UInt64",
        "ReplacingMergeTree(version) ORDER BY digest",
    ),
    ("tally", "name String, number Int64", "SummingMergeTree(number) ORDER BY name"),
    (
        "closing",
        "month UInt32, closed Int64, digest FixedString(32), tree String, sums String, \
         projects String, version UInt64",
        "ReplacingMergeTree(version) ORDER BY month",
    ),
    (
        "erasing",
        "project String, active UInt8, version UInt64",
        "ReplacingMergeTree(version) ORDER BY project",
    ),
    (
        "moved",
        "name String, samples UInt64, version UInt64",
        "ReplacingMergeTree(version) ORDER BY name",
    ),
    (
        "dropped",
        "month UInt32, class String, version UInt64",
        "ReplacingMergeTree(version) ORDER BY (month, class)",
    ),
];

/// What an insert into `sample` does besides. Views run after the rows themselves are stored, so that
/// whoever sees a mark sees its samples.
const VIEWS: [(&str, &str, &str); 2] = [
    (
        "sample_to_seen",
        "seen",
        "SELECT month, toUInt32(intDiv(time, 3600000000)) AS hour, id, text, message, version",
    ),
    (
        "sample_to_touched",
        "touched",
        "SELECT month, class, toUInt32(intDiv(time, 3600000000)) AS hour, \
         toUInt64(1) AS marks",
    ),
];

impl ClickHouseServer {
    /// Asks for the version, makes what is missing, and checks that this server is the one that its
    /// place in the list of servers had before.
    pub(super) fn prepare(
        &mut self,
        database: &str,
        [place, places]: [usize; 2],
        makes: bool,
    ) -> Result<(), StoreError> {
        let found = self.query("SELECT version()")?.text()?;
        let version = found.split('.').next().and_then(|first| first.parse().ok());
        self.version =
            version.ok_or_else(|| self.error("it has no version; check that it is ClickHouse"))?;
        let known = [place, places].map(|number| u32::try_from(number).unwrap_or(0));
        if self.has_place(database, known)? {
            return Ok(());
        }
        if !makes {
            return Err(self.error(format!(
                "database {database} has no tables of a collector; start the collector, which makes them"
            )));
        }
        self.make(database)?;
        // Last of all: a server with a place has all tables.
        let [place, places] = known;
        self.execute(&format!("INSERT INTO {database}.place VALUES ({SCHEMA}, {place}, {places})"))
    }

    /// Whether the tables were made. An error if they are those of another place.
    fn has_place(&self, database: &str, place: [u32; 2]) -> Result<bool, StoreError> {
        let mut found = self.query(&format!(
            "SELECT count() FROM system.tables WHERE database = '{database}' AND name = 'place'"
        ))?;
        if found.u64()? == 0 {
            return Ok(false);
        }
        let mut rows = self.query(&format!(
            "SELECT schema, place, places FROM {database}.place ORDER BY schema DESC LIMIT 1"
        ))?;
        if rows.has_row() {
            let (schema, known) = (rows.u32()?, [rows.u32()?, rows.u32()?]);
            if schema > SCHEMA {
                return Err(self.error(format!(
                    "database {database} has schema {schema}, and this version knows {SCHEMA}; \
                     install the version that wrote it, or a later one"
                )));
            }
            if known != place {
                return Err(self.error(format!(
                    "database {database} is that of server {} of {}, and it is server {} of {} of \
                     store.clickhouse.servers; write the servers in their first order, or name \
                     another database and move the samples with `migrate`",
                    known[0] + 1,
                    known[1],
                    place[0] + 1,
                    place[1],
                )));
            }
            return Ok(true);
        }
        Ok(false)
    }

    fn make(&self, database: &str) -> Result<(), StoreError> {
        self.execute(&format!("CREATE DATABASE IF NOT EXISTS {database}"))?;
        self.execute(&format!(
            "CREATE TABLE IF NOT EXISTS {database}.place \
             (schema UInt32, place UInt32, places UInt32) ENGINE = MergeTree ORDER BY schema"
        ))?;
        for (name, columns, engine) in TABLES {
            // Later versions write repeated texts and near times in less space, and can sync.
            let later = self.version >= 22;
            let columns = columns
                .replace("{text}", if later { "LowCardinality(String)" } else { "String" })
                .replace("{time}", if later { " CODEC(Delta, ZSTD)" } else { "" });
            let settings = if later { " SETTINGS fsync_after_insert = 1" } else { "" };
            self.execute(&format!(
                "CREATE TABLE IF NOT EXISTS {database}.{name} ({columns}) ENGINE = {engine}{settings}"
            ))?;
        }
        for (name, target, select) in VIEWS {
            self.execute(&format!(
                "CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.{name} TO {database}.{target} \
                 AS {select} FROM {database}.sample"
            ))?;
        }
        Ok(())
    }
}

/// The condition on the partition of a month and a class.
pub(super) fn partition(month: u32, class: &str) -> String {
    format!("month = {month} AND class = {}", quoted(class))
}
