//! Parses the ledger that `run` prints at its end, and checks that every line adds up.

use std::collections::BTreeMap;

use regex::Regex;

/// The ledger as it is printed on exit: `ledger: ...` and one line for each sink, each of its
/// transformers and each of its publishers.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) polled: u64,
    pub(crate) missing: u64,
    /// Samples that entered a sink.
    pub(crate) sinks: BTreeMap<String, Balance>,
    /// Samples that entered a transformer: `SINK/NAME`.
    pub(crate) transformers: BTreeMap<String, TransformerBalance>,
    /// Envelopes that were encoded: `SINK/LABEL`.
    pub(crate) publishers: BTreeMap<String, Balance>,
}

/// In = out + dropped + pending.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Balance {
    pub(crate) entered: u64,
    pub(crate) left: u64,
    pub(crate) dropped: u64,
    /// Drops by reason.
    pub(crate) reasons: BTreeMap<String, u64>,
    pub(crate) pending: u64,
    /// Samples in the envelopes, for publishers.
    pub(crate) samples: u64,
}

/// In = passed + absorbed + dropped; out = passed + created.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TransformerBalance {
    pub(crate) samples_in: u64,
    pub(crate) passed: u64,
    pub(crate) absorbed: u64,
    pub(crate) dropped: u64,
    pub(crate) created: u64,
    pub(crate) samples_out: u64,
}

const DROPPED: &str = r"(\d+) dropped(?: \((.*?)\))?";

impl Ledger {
    /// Finds the ledger in an output, and asserts that every line adds up.
    pub(crate) fn read(text: &str) -> Self {
        let regex = |pattern: &str| Regex::new(pattern).unwrap();
        let head = regex(
            r"^ledger: (\d+) samples polled, \d+ cycles skipped, (\d+) domain readings missing, \d+ values absent$",
        );
        let sink = regex(&format!(
            r"^  sink (.+): (\d+) samples in = (\d+) processed \+ {DROPPED} \+ (\d+) pending$"
        ));
        let transformer = regex(&format!(
            r"^    (.+): (\d+) samples in = (\d+) passed \+ (\d+) absorbed \+ {DROPPED}; (\d+) samples out = (\d+) passed \+ (\d+) created$"
        ));
        let publisher = regex(&format!(
            r"^    (.+): (\d+) samples in (\d+) envelopes = (\d+) confirmed \+ {DROPPED} \+ (\d+) pending$"
        ));
        let number = |text: &str| text.parse::<u64>().unwrap();
        let mut ledger = None::<Self>;
        let mut within = String::new();
        for line in text.lines() {
            if let Some(found) = head.captures(line) {
                let [polled, missing] = found.extract().1.map(number);
                ledger = Some(Self { polled, missing, ..Self::default() });
            }
            let Some(ledger) = &mut ledger else { continue };
            let at = |found: &regex::Captures<'_>, group: usize| number(&found[group]);
            if let Some(found) = sink.captures(line) {
                within = found[1].to_owned();
                let balance = Balance {
                    entered: at(&found, 2),
                    left: at(&found, 3),
                    dropped: at(&found, 4),
                    reasons: reasons(found.get(5)),
                    pending: at(&found, 6),
                    samples: 0,
                };
                ledger.sinks.insert(within.clone(), balance.adds_up(line));
            } else if let Some(found) = transformer.captures(line) {
                let balance = TransformerBalance {
                    samples_in: at(&found, 2),
                    passed: at(&found, 3),
                    absorbed: at(&found, 4),
                    dropped: at(&found, 5),
                    samples_out: at(&found, 7),
                    created: at(&found, 9),
                };
                let left = balance.passed + balance.absorbed + balance.dropped;
                assert_eq!(balance.samples_in, left, "{line}");
                assert_eq!(balance.samples_out, balance.passed + balance.created, "{line}");
                ledger.transformers.insert(format!("{within}/{}", &found[1]), balance);
            } else if let Some(found) = publisher.captures(line) {
                let balance = Balance {
                    samples: at(&found, 2),
                    entered: at(&found, 3),
                    left: at(&found, 4),
                    dropped: at(&found, 5),
                    reasons: reasons(found.get(6)),
                    pending: at(&found, 7),
                };
                ledger.publishers.insert(format!("{within}/{}", &found[1]), balance.adds_up(line));
            }
        }
        ledger.unwrap_or_else(|| panic!("no ledger in:\n{text}"))
    }

    /// The only publisher whose label contains this text.
    pub(crate) fn publisher(&self, label: &str) -> &Balance {
        let found: Vec<_> =
            self.publishers.iter().filter(|(name, _)| name.contains(label)).collect();
        assert_eq!(found.len(), 1, "publishers with {label:?} in {self:?}");
        found[0].1
    }

    /// The only transformer of this name.
    pub(crate) fn transformer(&self, name: &str) -> &TransformerBalance {
        let found: Vec<_> =
            self.transformers.iter().filter(|(key, _)| key.ends_with(name)).collect();
        assert_eq!(found.len(), 1, "transformers {name:?} in {self:?}");
        found[0].1
    }
}

impl Balance {
    fn adds_up(self, line: &str) -> Self {
        assert_eq!(self.entered, self.left + self.dropped + self.pending, "{line}");
        assert_eq!(self.dropped, self.reasons.values().sum::<u64>(), "{line}");
        self
    }
}

fn reasons(text: Option<regex::Match<'_>>) -> BTreeMap<String, u64> {
    let Some(text) = text else { return BTreeMap::new() };
    text.as_str()
        .split(", ")
        .map(|reason| {
            let (name, count) = reason.rsplit_once(' ').unwrap();
            (name.to_owned(), count.parse().unwrap())
        })
        .collect()
}
