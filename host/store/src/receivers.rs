//! Assigns spools to receivers. Labels hide secrets, so two URLs that differ only in a token have the
//! same label, and still need a spool each.
//!
//! The receiver of each spool is stored as a UUID that is derived from the whole URL. The order of
//! publishers in the configuration does not matter.

use std::collections::{BTreeMap, HashMap};

use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use uuid::Uuid;

/// By spool: its receiver.
const RECEIVERS: TableDefinition<'_, &str, u128> = TableDefinition::new("receivers");

/// Creates the table, so that readers find it.
pub(super) fn create_tables(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(RECEIVERS)?;
    Ok(())
}

pub(super) fn write(
    transaction: &WriteTransaction,
    receivers: &[(String, Uuid)],
) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(RECEIVERS)?;
    for (spool, receiver) in receivers {
        table.insert(spool.as_str(), receiver.as_u128())?;
    }
    Ok(())
}

/// The receiver of every spool that has one.
pub(super) fn read(transaction: &ReadTransaction) -> Result<HashMap<String, Uuid>, redb::Error> {
    let mut receivers = HashMap::new();
    for entry in transaction.open_table(RECEIVERS)?.iter()? {
        let (spool, receiver) = entry?;
        receivers.insert(spool.value().to_owned(), Uuid::from_u128(receiver.value()));
    }
    Ok(receivers)
}

/// A publisher's claim to a spool.
#[derive(Debug, Clone, Copy)]
pub struct SpoolClaim<'a> {
    /// The sink of the publisher.
    pub sink: &'a str,
    /// The publisher's URL without secrets.
    pub label: &'a str,
    /// Identifies the whole URL.
    pub receiver: Uuid,
    /// Index among publishers of the sink with the same whole URL.
    pub nth: usize,
    /// Whether no other publisher of the sink has this label.
    pub alone: bool,
}

impl SpoolClaim<'_> {
    /// The name of the spool with this number, from 1.
    pub(super) fn name(&self, number: usize) -> String {
        let Self { sink, label, .. } = self;
        if number == 1 { format!("{sink}/{label}") } else { format!("{sink}/{label}#{number}") }
    }

    /// The number of its spool, given the known receivers.
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
        // The only one with this label, before and now: its secret has changed, and pending envelopes are
        // sent with the new one.
        if self.alone && taken.len() == 1 && taken.contains_key(&1) {
            return 1;
        }
        // A spool of an older agent, which stored no receivers, goes to the first claim.
        (1..).find(|number| !taken.contains_key(number)).unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(receiver: u128, alone: bool) -> SpoolClaim<'static> {
        let receiver = Uuid::from_u128(receiver);
        SpoolClaim { sink: "s", label: "http://h/***", receiver, nth: 0, alone }
    }

    /// Assigns spools to claims one after the other.
    fn assigned(known: &mut HashMap<String, Uuid>, claims: &[SpoolClaim<'_>]) -> Vec<usize> {
        let assign = |claim: &SpoolClaim<'_>| {
            let number = claim.number(known);
            known.insert(claim.name(number), claim.receiver);
            number
        };
        claims.iter().map(assign).collect()
    }

    // Before, a reload always gave number 1, and a restart went by the order in the file.
    #[test]
    fn assignment_does_not_depend_on_order_or_on_other_publishers() {
        let mut known = HashMap::new();
        let (a, b, c) = (claim(1, false), claim(2, false), claim(3, false));
        assert_eq!(assigned(&mut known, &[a, b]), [1, 2]);
        assert_eq!(assigned(&mut known, &[b, a]), [2, 1]);
        assert_eq!(assigned(&mut known, &[claim(2, true)]), [2]);
        assert_eq!(assigned(&mut known, &[c, b]), [3, 2]);
        assert_eq!(
            assigned(&mut known, &[claim(9, true)]),
            [4],
            "the other spools belong to others"
        );
        let other = SpoolClaim { sink: "t", ..a };
        assert_eq!(
            (assigned(&mut known, &[other]), other.name(1)),
            (vec![1], "t/http://h/***".into())
        );
    }

    #[test]
    fn changed_secret_keeps_the_spool() {
        let mut known = HashMap::new();
        assert_eq!(assigned(&mut known, &[claim(1, true), claim(2, true), claim(3, true)]), [1; 3]);
        assert_eq!(known.len(), 1);
    }

    #[test]
    fn same_url_twice_gets_two_spools() {
        let mut known = HashMap::new();
        let twice = [claim(1, false), SpoolClaim { nth: 1, ..claim(1, false) }];
        assert_eq!(assigned(&mut known, &twice), [1, 2]);
        assert_eq!(assigned(&mut known, &twice), [1, 2]);
    }
}
