//! Notes of samples that are stored after their month was closed.

use nephometer_model::{Timestamp, Volume};
use rusqlite::{Connection, params};

use super::rows::{DAY, SPANS, volume_value};
use crate::store::selection::micros;

/// Notes that a sample of a series and a time was stored after its month was closed. The first one of
/// a day keeps the sums that the day had.
pub(super) fn correct(
    connection: &Connection,
    [series, time]: [i64; 2],
    stored: Option<Volume>,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let sql = "INSERT OR IGNORE INTO closed_day \
               SELECT series, start, row_count, volume_count, coalesce(sum, 0.0), min, max \
               FROM rollup WHERE series = ?1 AND span = ?2 AND start = ?3";
    let day = time - time.rem_euclid(SPANS[usize::from(DAY)]);
    connection.prepare_cached(sql)?.execute(params![series, DAY, day])?;
    let sql = "INSERT INTO correction VALUES (?1, 1, ?2, ?3, ?4, ?4, ?5, ?5) \
               ON CONFLICT (series) DO UPDATE SET samples = samples + 1, \
               volumes = volumes + excluded.volumes, sum = sum + excluded.sum, \
               lowest = coalesce(min(lowest, excluded.lowest), lowest, excluded.lowest), \
               highest = coalesce(max(highest, excluded.highest), highest, excluded.highest), \
               last_arrived = excluded.last_arrived";
    let sum = stored.map_or(0.0, Volume::as_f64);
    let (count, value) = (i64::from(stored.is_some()), volume_value(stored));
    let values = params![series, count, sum, value, micros(now)];
    connection.prepare_cached(sql)?.execute(values).map(drop)
}
