//! `store` of `nephometer.yaml`.

use std::path::PathBuf;
use std::time::Duration;

use super::Check;
use super::units::{DURATION, SIZE};
use super::units::{duration, size};
use crate::keys;
use crate::raw::{Field, Kind, RawStore, Scalar, Scalars};
use crate::spec::{StoreSpec, WhenFull};
use nephometer_model::{Bound, Glob};

const BYTES: u64 = 1 << 30;
/// A quarter of it is for states.
const LEAST: u64 = 512 << 20;
const AGE: Duration = Duration::from_secs(7 * 86_400);

pub(super) fn check(
    check: &mut Check<'_>,
    field: Field<RawStore>,
    default: PathBuf,
) -> Option<StoreSpec> {
    let raw = check.mapping("/store", field)?;
    check.keys("/store", &keys::STORE, &[]);
    let path = check.string("/store/path", &raw.path);
    let bytes = check.value("/store/bytes", &raw.bytes, size, SIZE);
    let enough = |value: &Scalar| size(value).filter(|bytes| *bytes >= LEAST);
    let right = "write a size of at least 512MiB, such as 20GiB";
    let total = check.value("/store/total", &raw.total, enough, right);
    let age = check.value("/store/age", &raw.age, duration, DURATION);
    let words = [
        ("drop_oldest", WhenFull::DropOldest),
        ("drop_newest", WhenFull::DropNewest),
        ("block", WhenFull::Block),
    ];
    let when_full = check.word("/store/when_full", &raw.when_full, &words);
    let last = meters(check, "/store/keep_longest", &raw.keep_longest);
    Some(StoreSpec {
        path: path?.map_or(default, PathBuf::from),
        bytes: bytes?.unwrap_or(BYTES),
        total: total?.unwrap_or(Bound::StoreTotal.most()),
        age: age?.unwrap_or(AGE),
        when_full: when_full?.unwrap_or_default(),
        last: last?,
    })
}

/// Patterns as in `meters` of a source, without exclusions.
fn meters(check: &mut Check<'_>, pointer: &str, field: &Scalars) -> Option<Vec<Glob>> {
    const RIGHT: &str = "write a list of meters, such as [cpu, \"network.*\"]";
    let entries = match (field, check.kind(pointer)) {
        (Field::Absent | Field::Null, _) => return Some(Vec::new()),
        (Field::Given(entries), Kind::List) => entries,
        _ => {
            check.wrong(pointer, RIGHT);
            return None;
        }
    };
    let texts = check.texts(pointer, entries);
    let mut globs = Vec::new();
    for (inner, text) in &texts {
        match Glob::new(text) {
            Ok(glob) => globs.push(glob),
            Err(error) => check.fault(inner, error.to_string(), RIGHT),
        }
    }
    (globs.len() == entries.len()).then_some(globs)
}
