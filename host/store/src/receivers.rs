//! Which spool belongs to which receiver, where publishers of a sink look alike: labels hide
//! secrets, so that two URLs that differ in a token have one.
//!
//! What a spool holds is for the receiver that it was made for. So each spool's receiver is kept, as
//! a number that is made from the whole URL, and order in the file decides nothing.

use std::collections::{BTreeMap, HashMap};

use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use uuid::Uuid;

/// By spool: its receiver.
const RECEIVERS: TableDefinition<'_, &str, u128> = TableDefinition::new("receivers");

/// Makes the table, so that reading finds it.
pub(super) fn begin(writing: &WriteTransaction) -> Result<(), redb::Error> {
    writing.open_table(RECEIVERS)?;
    Ok(())
}

pub(super) fn write(
    writing: &WriteTransaction,
    receivers: &[(String, Uuid)],
) -> Result<(), redb::Error> {
    let mut table = writing.open_table(RECEIVERS)?;
    for (spool, receiver) in receivers {
        table.insert(spool.as_str(), receiver.as_u128())?;
    }
    Ok(())
}

/// The receiver of every spool for which it is known.
pub(super) fn read(reading: &ReadTransaction) -> Result<HashMap<String, Uuid>, redb::Error> {
    let mut receivers = HashMap::new();
    for entry in reading.open_table(RECEIVERS)?.iter()? {
        let (spool, receiver) = entry?;
        receivers.insert(spool.value().to_owned(), Uuid::from_u128(receiver.value()));
    }
    Ok(receivers)
}

/// Somebody wants a spool.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The sink that the publisher is for.
    pub sink: &'a str,
    /// Its URL without secrets.
    pub label: &'a str,
    /// Tells its whole URL from others.
    pub receiver: Uuid,
    /// Which one it is among publishers of the sink with the very same URL, from 0.
    pub nth: usize,
    /// Whether no other publisher of the sink has this label.
    pub alone: bool,
}

impl Claim<'_> {
    /// The name of the spool with this number, from 1.
    pub(super) fn name(&self, number: usize) -> String {
        let Self { sink, label, .. } = self;
        if number == 1 { format!("{sink}/{label}") } else { format!("{sink}/{label}#{number}") }
    }

    /// The number of its spool, where these spools have a receiver.
    pub(super) fn number(&self, known: &HashMap<String, Uuid>) -> usize {
        let first = self.name(1);
        let number = |name: &str| match name.strip_prefix(&*first)? {
            "" => Some(1),
            rest => rest.strip_prefix('#')?.parse().ok(),
        };
        let taken: BTreeMap<usize, Uuid> =
            known.iter().filter_map(|(name, uuid)| Some((number(name)?, *uuid))).collect();
        let own = taken.iter().filter(|(_, receiver)| **receiver == self.receiver).nth(self.nth);
        if let Some((number, _)) = own {
            return *number;
        }
        // The only one of its kind, then and now: its secret has changed, and what is held goes out with
        // the new one.
        if self.alone && taken.len() == 1 && taken.contains_key(&1) {
            return 1;
        }
        // A spool of an older agent, which knew no receivers, goes to the first that asks, as then.
        (1..).find(|number| !taken.contains_key(number)).unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(receiver: u128, alone: bool) -> Claim<'static> {
        let receiver = Uuid::from_u128(receiver);
        Claim { sink: "s", label: "http://h/***", receiver, nth: 0, alone }
    }

    /// Gives out spools one after the other; 0 for what is no claim but a restart.
    fn given(known: &mut HashMap<String, Uuid>, claims: &[Claim<'_>]) -> Vec<usize> {
        let give = |claim: &Claim<'_>| {
            let number = claim.number(known);
            known.insert(claim.name(number), claim.receiver);
            number
        };
        claims.iter().map(give).collect()
    }

    // A reload always gave number 1, and a restart went by the order in the file.
    #[test]
    fn order_and_absence_of_others_change_nothing() {
        let mut known = HashMap::new();
        let (a, b, c) = (claim(1, false), claim(2, false), claim(3, false));
        assert_eq!(given(&mut known, &[a, b]), [1, 2]);
        assert_eq!(given(&mut known, &[b, a]), [2, 1]);
        assert_eq!(given(&mut known, &[claim(2, true)]), [2]);
        assert_eq!(given(&mut known, &[c, b]), [3, 2]);
        assert_eq!(given(&mut known, &[claim(9, true)]), [4], "whose the others are is not known");
        let other = Claim { sink: "t", ..a };
        assert_eq!(
            (given(&mut known, &[other]), other.name(1)),
            (vec![1], "t/http://h/***".into())
        );
    }

    #[test]
    fn a_secret_that_changes_keeps_what_is_held() {
        let mut known = HashMap::new();
        assert_eq!(given(&mut known, &[claim(1, true), claim(2, true), claim(3, true)]), [1; 3]);
        assert_eq!(known.len(), 1);
    }

    #[test]
    fn the_same_url_twice_has_two_spools() {
        let mut known = HashMap::new();
        let twice = [claim(1, false), Claim { nth: 1, ..claim(1, false) }];
        assert_eq!(given(&mut known, &twice), [1, 2]);
        assert_eq!(given(&mut known, &twice), [1, 2]);
    }
}
