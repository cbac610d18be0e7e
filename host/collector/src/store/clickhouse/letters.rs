//! Dead letters: each once by its digest. A removed one is replaced by a row without its body.

use std::collections::{BTreeSet, HashMap, HashSet};

use nephometer_model::{Bound, Timestamp};
use nephometer_proof::Digest;

use super::Cluster;
use super::wire::{RowReader, RowWriter, hexed, quoted};
use super::write::listed;
use crate::store::selection::{from_micros, micros};
use crate::store::{DeadLetter, StoreError, StoredLetter};

const COLUMNS: &str = "digest, number, arrived, origin, reason, body, place, removed, version";

impl Cluster {
    /// Adds letters that are new. Returns how many were left out for projects that are erased, and how
    /// many are new.
    pub(super) fn add_letters(
        &self,
        letters: &[DeadLetter],
        erasing: &BTreeSet<String>,
        now: Timestamp,
    ) -> Result<(u64, u64), StoreError> {
        if letters.is_empty() {
            return Ok((0, 0));
        }
        let digests: Vec<Digest> = letters.iter().map(|one| Digest::of(&one.body)).collect();
        let (versions, mut known) = self.known_letters(&digests)?;
        let (mut erased, mut new) = (0, 0);
        let mut rows = RowWriter::default();
        for (at, (letter, digest)) in letters.iter().zip(&digests).enumerate() {
            if letter.names(erasing) {
                erased += 1;
            } else if known.insert(*digest) {
                new += 1;
                // Unique for letters of one commit, and in practice for those of several collectors.
                let number = micros(now) * 1_000 + i64::try_from(at % 1_000).unwrap_or(0);
                let place = letter.place.as_ref().map(|place| place.written());
                rows.fixed(digest.as_bytes()).i64(number).i64(micros(now)).text(&letter.origin);
                rows.text(&letter.reason).blob(&letter.body).text(&place.unwrap_or_default());
                rows.u8(0).u64(versions.get(digest).map_or(1, |version| version + 1));
            }
        }
        self.first().insert("letter", COLUMNS, &rows)?;
        Ok((erased, new))
    }

    /// The versions of letters, and which of them are there.
    fn known_letters(
        &self,
        digests: &[Digest],
    ) -> Result<(HashMap<Digest, u64>, HashSet<Digest>), StoreError> {
        let mut rows = self.first().query(&format!(
            "SELECT digest, removed, version FROM {}.letter FINAL WHERE digest IN ({})",
            self.database,
            listed(digests.iter().map(|digest| hexed(digest.as_bytes())))
        ))?;
        let (mut versions, mut known) = (HashMap::new(), HashSet::new());
        while rows.has_row() {
            let (digest, removed) = (Digest::from_bytes(rows.fixed()?), rows.u8()?);
            versions.insert(digest, rows.u64()?);
            if removed == 0 {
                known.insert(digest);
            }
        }
        Ok((versions, known))
    }

    /// See [`crate::store::Storage::letters`].
    pub(super) fn letters(&self, after: i64, most: usize) -> Result<Vec<StoredLetter>, StoreError> {
        let mut rows = self.first().query(&format!(
            "SELECT number, arrived, origin, reason, body, place FROM {}.letter FINAL \
             WHERE removed = 0 AND number > {after} ORDER BY number LIMIT {most}",
            self.database
        ))?;
        let mut found = Vec::new();
        while rows.has_row() {
            found.push(letter(&mut rows)?);
        }
        Ok(found)
    }

    pub(super) fn count_letters(&self) -> Result<u64, StoreError> {
        let sql = "SELECT count() FROM {}.letter FINAL WHERE removed = 0";
        self.first().query(&sql.replace("{}", &self.database))?.u64()
    }

    pub(super) fn remove_letters(&self, numbers: &[i64]) -> Result<(), StoreError> {
        if numbers.is_empty() {
            return Ok(());
        }
        self.remove_where(&format!("number IN ({})", listed(numbers))).map(drop)
    }

    /// Replaces letters by rows without content. Returns how many.
    fn remove_where(&self, condition: &str) -> Result<u64, StoreError> {
        let mut rows = self.first().query(&format!(
            "SELECT digest, number, version FROM {}.letter FINAL WHERE removed = 0 AND {condition}",
            self.database
        ))?;
        let (mut removed, mut count) = (RowWriter::default(), 0);
        while rows.has_row() {
            let (digest, number, version) = (rows.fixed::<32>()?, rows.i64()?, rows.u64()?);
            removed.fixed(&digest).i64(number).i64(0).text("").text("").text("").text("").u8(1);
            removed.u64(version + 1);
            count += 1;
        }
        self.first().insert("letter", COLUMNS, &removed)?;
        Ok(count)
    }

    /// Removes letters with the id of a project, also from the disk. Returns how many.
    pub(super) fn erase_letters(&self, project: &str) -> Result<u64, StoreError> {
        let count = self.remove_where(&format!("position(body, {}) > 0", quoted(project)))?;
        if count > 0 {
            self.first().execute(&format!("OPTIMIZE TABLE {}.letter FINAL", self.database))?;
        }
        Ok(count)
    }

    /// Removes the oldest letters beyond the bounds. Returns how many.
    pub(super) fn bound_letters(&self) -> Result<u64, StoreError> {
        let mut rows = self.first().query(&format!(
            "SELECT number, length(body) FROM {}.letter FINAL WHERE removed = 0 \
             ORDER BY number DESC",
            self.database
        ))?;
        let (mut count, mut bytes) = (0, 0);
        while rows.has_row() {
            let (number, length) = (rows.i64()?, rows.u64()?);
            count += 1;
            bytes += length;
            let over = count > Bound::CollectorLetters.most()
                || bytes > Bound::CollectorLetterBytes.most();
            if over {
                return self.remove_where(&format!("number <= {number}"));
            }
        }
        Ok(0)
    }
}

fn letter(rows: &mut RowReader<'_>) -> Result<StoredLetter, StoreError> {
    let (number, arrived) = (rows.i64()?, from_micros(rows.i64()?));
    let (origin, reason) = (rows.text()?.into(), rows.text()?);
    let (body, place) = (rows.blob()?.to_vec(), rows.text()?);
    let place = crate::message::StreamPlace::read(&place);
    Ok(StoredLetter { number, arrived, letter: DeadLetter { origin, place, body, reason } })
}
