//! The typed mirror of `collector.yaml`.

use serde::Deserialize;

use super::mirror::{Field, RawCredentials, RawTls, Scalar, Scalars};

/// `collector.yaml`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawCollector {
    pub(crate) store: Field<RawKeep>,
    pub(crate) brokers: Field<Vec<Field<RawQueues>>>,
    pub(crate) receivers: Scalars,
    pub(crate) commit: Field<RawCommit>,
    pub(crate) secrets: Field<Vec<Field<RawSecret>>>,
    pub(crate) unsigned: Field<Scalar>,
    pub(crate) api: Field<RawApi>,
    pub(crate) audit: Field<RawAudit>,
}

/// `audit`
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawAudit {
    pub(crate) keys: Field<Scalar>,
}

/// `store`
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawKeep {
    pub(crate) path: Field<Scalar>,
    pub(crate) window: Field<Scalar>,
    pub(crate) ahead: Field<Scalar>,
    pub(crate) keep: Field<Scalar>,
    pub(crate) rollups: Field<Scalar>,
    pub(crate) classes: Field<Vec<Field<RawClass>>>,
    pub(crate) clickhouse: Field<RawClickHouse>,
}

/// `store.clickhouse`
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawClickHouse {
    pub(crate) servers: Scalars,
    pub(crate) database: Field<Scalar>,
    pub(crate) user: Field<Scalar>,
    pub(crate) password: Field<Scalar>,
    pub(crate) password_file: Field<Scalar>,
    pub(crate) ca: Field<Scalar>,
    pub(crate) timeout: Field<Scalar>,
}

/// An entry of `store.classes`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawClass {
    pub(crate) name: Field<Scalar>,
    pub(crate) meters: Scalars,
    pub(crate) keep: Field<Scalar>,
    pub(crate) rollups: Field<Scalar>,
}

/// An entry of `brokers`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawQueues {
    pub(crate) url: Field<Scalar>,
    pub(crate) url_file: Field<Scalar>,
    pub(crate) tls: Field<RawTls>,
    pub(crate) queues: Scalars,
    pub(crate) declare: Field<Scalar>,
    pub(crate) prefetch: Field<Scalar>,
}

/// `commit`
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawCommit {
    pub(crate) rows: Field<Scalar>,
    pub(crate) bytes: Field<Scalar>,
    pub(crate) time: Field<Scalar>,
}

/// An entry of `secrets`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawSecret {
    pub(crate) name: Field<Scalar>,
    pub(crate) secret: Field<Scalar>,
    pub(crate) secret_file: Field<Scalar>,
}

/// `api`
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawApi {
    pub(crate) listen: Field<Scalar>,
    pub(crate) access: Field<Scalar>,
    pub(crate) tokens: Field<Scalar>,
    pub(crate) keystone: Field<RawCredentials>,
    pub(crate) token_cache: Field<Scalar>,
    pub(crate) limit: Field<Scalar>,
    pub(crate) rows: Field<Scalar>,
}
