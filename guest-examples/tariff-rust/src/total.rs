//! Totals of costs, and their saved form.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A compensated sum (Neumaier): `rest` holds the rounding errors, so small costs are not lost.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Total {
    /// The source of the first sample.
    pub(crate) source: String,
    sum: f64,
    rest: f64,
}

impl Total {
    pub(crate) fn new(source: &str) -> Self {
        Self { source: source.to_owned(), sum: 0.0, rest: 0.0 }
    }

    /// Adds a cost, which is not negative.
    pub(crate) fn add(&mut self, cost: f64) {
        let total = self.sum + cost;
        let (large, small) = if self.sum >= cost { (self.sum, cost) } else { (cost, self.sum) };
        self.rest += (large - total) + small;
        self.sum = total;
    }

    pub(crate) fn value(&self) -> f64 {
        self.sum + self.rest
    }
}

/// The state, in the format of all languages: project, source, sum and rest.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Saved {
    pub(crate) currency: String,
    totals: Vec<(String, String, f64, f64)>,
}

impl Saved {
    pub(crate) fn new(currency: &str, totals: &BTreeMap<String, Total>) -> Self {
        let one = |(project, total): (&String, &Total)| {
            (project.clone(), total.source.clone(), total.sum, total.rest)
        };
        Self { currency: currency.to_owned(), totals: totals.iter().map(one).collect() }
    }

    pub(crate) fn totals(self) -> BTreeMap<String, Total> {
        let one = |(project, source, sum, rest)| (project, Total { source, sum, rest });
        self.totals.into_iter().map(one).collect()
    }

    pub(crate) fn to_json(&self) -> Result<Vec<u8>, String> {
        serde_json::to_vec(self).map_err(|error| error.to_string())
    }

    pub(crate) fn from_json(state: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(state).map_err(|_| "the state is damaged".to_owned())
    }
}
