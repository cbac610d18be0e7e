//! Values of columns: ids, volumes, digests.

use nephometer_audit::Sums;
use nephometer_model::Volume;
use nephometer_proof::ProvedValue;
use rusqlite::Row;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Value, ValueRef};
use uuid::Uuid;

use crate::sample::SampleId;
use crate::store::closing::proved;

/// Microseconds of an hour and of a day, by span.
pub(super) const SPANS: [i64; 2] = [3_600_000_000, 86_400_000_000];
pub(super) const HOUR: u8 = 0;
pub(super) const DAY: u8 = 1;

impl ToSql for SampleId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Uuid(uuid) => ValueRef::Blob(uuid.as_bytes()),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

impl FromSql for SampleId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Blob(bytes) => Uuid::from_slice(bytes)
                .map(Self::Uuid)
                .map_err(|error| FromSqlError::Other(Box::new(error))),
            ValueRef::Text(_) => value.as_str().map(|text| Self::Text(text.into())),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

/// A volume in the store: integers of up to 64 bits keep all digits.
pub(super) fn volume_value(volume: Option<Volume>) -> Value {
    match volume {
        None => Value::Null,
        Some(Volume::Integer(whole)) => i64::try_from(whole)
            .map_or_else(|_| Value::Real(Volume::Integer(whole).as_f64()), Value::Integer),
        Some(Volume::Float(float)) => Value::Real(float),
    }
}

/// A volume of the store.
pub(super) fn volume(value: ValueRef<'_>) -> FromSqlResult<Option<Volume>> {
    match value {
        ValueRef::Null => Ok(None),
        ValueRef::Integer(whole) => Ok(Some(Volume::Integer(whole.into()))),
        ValueRef::Real(float) => Ok(Some(Volume::Float(float))),
        _ => Err(FromSqlError::InvalidType),
    }
}

/// A volume in a column, as audits prove it.
pub(super) fn proved_at(row: &Row<'_>, at: usize) -> rusqlite::Result<ProvedValue> {
    let found = row.get_ref(at)?;
    let kind = found.data_type();
    let wrong = |_| rusqlite::Error::InvalidColumnType(at, "volume".into(), kind);
    volume(found).map(proved).map_err(wrong)
}

/// Sums in five columns from `at` on.
pub(super) fn sums_at(row: &Row<'_>, at: usize) -> rusqlite::Result<Sums> {
    let count = |at| row.get::<_, i64>(at).map(|count| u64::try_from(count).unwrap_or(0));
    let edges = [proved_at(row, at + 3)?, proved_at(row, at + 4)?];
    Ok(Sums::new([count(at)?, count(at + 1)?], row.get(at + 2)?, edges))
}
