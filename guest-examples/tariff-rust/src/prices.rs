//! Converts bands of hours to a price for each hour of the day.

use std::collections::BTreeMap;

use nephometer_guest::OptionReader;

/// A price for each hour.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Prices([f64; 24]);

impl Prices {
    /// The price of an hour from 0 to 23.
    pub(crate) fn at(&self, hour: u64) -> f64 {
        usize::try_from(hour).ok().and_then(|hour| self.0.get(hour)).copied().unwrap_or_default()
    }
}

/// Reads the prices of all projects. Errors are added to the options.
pub(crate) fn read(options: &OptionReader<'_>) -> BTreeMap<String, Prices> {
    options.keys().map(|project| (project.to_owned(), prices_of_day(options, project))).collect()
}

fn prices_of_day(options: &OptionReader<'_>, project: &str) -> Prices {
    let mut prices = [None; 24];
    for band in options.objects(project) {
        let hour = |key| band.value(key).and_then(|hour| usize::try_from(hour.as_u64()?).ok());
        let (Some(from), Some(to), Some(price)) = (hour("from"), hour("to"), band.number("price"))
        else {
            continue;
        };
        if from >= to {
            band.refuse(
                "to",
                format!("is not after from ({from}); write a band over midnight as two"),
            );
            continue;
        }
        for (hour, slot) in prices.iter_mut().enumerate().take(to).skip(from) {
            if slot.is_some() {
                band.refuse("from", format!("hour {hour} already has a price"));
                break;
            }
            *slot = Some(price);
        }
    }
    let missing: Vec<String> =
        (0..24).filter(|hour| prices[*hour].is_none()).map(|hour| hour.to_string()).collect();
    if !missing.is_empty() {
        options.refuse(project, format!("no price for hours {}", missing.join(", ")));
    }
    Prices(prices.map(Option::unwrap_or_default))
}
