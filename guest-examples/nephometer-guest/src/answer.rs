//! Builds answers to batches and flushes.

use std::cell::RefMut;

use crate::own::OwnEntries;
use crate::{
    Answer, Batch, Derived, Dictionary, ExactInteger, Meter, NO_ORIGIN, Outcome, Resource, Row,
    Timestamp, Volume,
};

/// Builds an answer, row by row.
///
/// New meters and resources are numbered by their content: asking again returns the same number.
/// Numbers are valid until the answer is finished.
#[derive(Debug)]
pub struct AnswerBuilder<'a> {
    input: Option<Batch<'a>>,
    own: RefMut<'a, OwnEntries>,
    origin: Vec<u32>,
    meter: Vec<u32>,
    volume: Vec<f64>,
    exact: Vec<ExactInteger>,
    /// The columns for resource and time. `None` as long as every row has those of its origin and
    /// origins ascend, so that the answer can be [`Outcome::Derive`].
    resource_and_time: Option<(Vec<u32>, Vec<Timestamp>)>,
}

impl<'a> AnswerBuilder<'a> {
    /// Begins the answer to a batch, with capacity for as many rows.
    pub fn new(input: &Batch<'a>) -> Self {
        let rows = input.samples.volume.len();
        Self::build(input.dictionary, Some(*input), rows, None)
    }

    /// Begins the answer to a flush, which has no input.
    pub fn without_input(dictionary: &'a Dictionary) -> Self {
        Self::build(dictionary, None, 0, Some(Default::default()))
    }

    fn build(
        dictionary: &'a Dictionary,
        input: Option<Batch<'a>>,
        rows: usize,
        resource_and_time: Option<(Vec<u32>, Vec<Timestamp>)>,
    ) -> Self {
        let mut own = dictionary.own.borrow_mut();
        own.reset_if_full();
        Self {
            input,
            own,
            origin: Vec::with_capacity(rows),
            meter: Vec::with_capacity(rows),
            volume: Vec::with_capacity(rows),
            exact: Vec::new(),
            resource_and_time,
        }
    }

    /// The number of a meter of the component's own.
    pub fn meter(&mut self, meter: &Meter) -> u32 {
        self.own.meters.number(meter)
    }

    /// The number of a resource of the component's own.
    pub fn resource(&mut self, resource: &Resource) -> u32 {
        self.own.resources.number(resource)
    }

    /// Adds a row of the input unchanged.
    pub fn pass(&mut self, row: &Row<'_>) {
        self.derive(row, row.meter_number, row.value());
    }

    /// Adds a row computed from an input row: same resource and time, another meter or value.
    #[inline]
    pub fn derive(&mut self, row: &Row<'_>, meter: u32, volume: impl Into<Volume>) {
        if self.resource_and_time.is_some()
            || self.origin.last().is_some_and(|last| *last > row.number)
        {
            self.add_resource_and_time(row.resource_number, row.time);
        }
        self.add_row(row.number, meter, volume.into());
    }

    /// Adds a row that is not computed from an input row.
    pub fn create(
        &mut self,
        meter: u32,
        resource: u32,
        time: Timestamp,
        volume: impl Into<Volume>,
    ) {
        self.add_resource_and_time(resource, time);
        self.add_row(NO_ORIGIN, meter, volume.into());
    }

    #[cold]
    fn add_resource_and_time(&mut self, resource: u32, time: Timestamp) {
        let Self { input, origin, resource_and_time, .. } = self;
        let (resources, times) = resource_and_time.get_or_insert_with(|| {
            let samples = input.expect("answers without input have these columns").samples;
            let resources = origin.iter().map(|row| samples.resource[*row as usize]);
            let times = origin.iter().map(|row| samples.time[*row as usize]);
            (resources.collect(), times.collect())
        });
        resources.push(resource);
        times.push(time);
    }

    #[inline]
    fn add_row(&mut self, origin: u32, meter: u32, volume: Volume) {
        if let Volume::Integer(value) = volume {
            let row = u32::try_from(self.volume.len()).expect("a 32-bit guest has no more rows");
            self.exact.push(ExactInteger { row, value });
        }
        self.origin.push(origin);
        self.meter.push(meter);
        self.volume.push(volume.as_f64());
    }

    /// Finishes the answer to a batch.
    pub fn finish(self) -> Outcome {
        let Self { origin, meter, volume, exact, resource_and_time, .. } = self;
        match resource_and_time {
            None => Outcome::Derive(Derived { origin, meter, volume, exact }),
            Some((resource, time)) => {
                Outcome::Replace(Answer { origin, meter, resource, time, volume, exact })
            }
        }
    }

    /// Finishes the answer to a flush; `None` if it has no rows.
    pub fn finish_flush(self) -> Option<Answer> {
        match self.finish() {
            Outcome::Replace(answer) => Some(answer).filter(|answer| !answer.volume.is_empty()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Input;
    use crate::{MeterType, rows};

    const FIRST: u32 = 1 << 31;

    fn util() -> Meter {
        Meter { name: "cpu_util".into(), unit: "%".into(), type_: MeterType::Gauge }
    }

    #[test]
    fn equal_content_has_the_same_number_in_every_answer() {
        let mut input = Input::default();
        input.row("cpu", "r", 5, 1.5);
        let batch = input.batch();
        let mut answer = AnswerBuilder::new(&batch);
        let other_unit = Meter { unit: "1".into(), ..util() };
        assert_eq!(answer.meter(&util()), FIRST);
        assert_eq!(answer.meter(&other_unit), FIRST + 1);
        assert_eq!(answer.meter(&util()), FIRST);
        let row = rows(&batch).next().unwrap();
        answer.derive(&row, FIRST, 3.0);
        let Outcome::Derive(derived) = answer.finish() else { panic!("not derived") };
        assert_eq!((derived.origin, derived.meter), (vec![0], vec![FIRST]));
        let sent = input.dictionary().take_new_meters();
        let numbers: Vec<u32> = sent.iter().map(|one| one.number).collect();
        assert_eq!(numbers, [FIRST, FIRST + 1]);
        let mut answer = AnswerBuilder::without_input(input.dictionary());
        assert_eq!(answer.meter(&other_unit), FIRST + 1);
        drop(answer);
        assert!(input.dictionary().take_new_meters().is_empty(), "sent already");
    }

    // Regression: the entries of a dropped answer counted as sent, so the host never got them.
    #[test]
    fn entries_of_a_dropped_answer_are_sent_with_the_next_one() {
        let input = Input::default();
        AnswerBuilder::without_input(input.dictionary()).meter(&util());
        AnswerBuilder::without_input(input.dictionary()).meter(&util());
        assert_eq!(input.dictionary().take_new_meters().len(), 1);
    }

    #[test]
    fn created_or_unordered_rows_have_resource_and_time_columns() {
        let mut input = Input::default();
        input.row("cpu", "r", 5, 1.5);
        input.row("cpu", "s", 6, 2.5);
        let batch = input.batch();
        let all: Vec<Row<'_>> = rows(&batch).collect();
        let mut answer = AnswerBuilder::new(&batch);
        answer.pass(&all[1]);
        answer.pass(&all[0]);
        answer.create(all[0].meter_number, all[1].resource_number, 9, (1 << 60) + 1);
        let Outcome::Replace(answer) = answer.finish() else { panic!("not replaced") };
        assert_eq!(answer.origin, [1, 0, NO_ORIGIN]);
        let resource = [all[1], all[0], all[1]].map(|row| row.resource_number);
        assert_eq!((answer.resource, answer.time), (resource.to_vec(), vec![6, 5, 9]));
        assert_eq!(answer.exact, [ExactInteger { row: 2, value: (1 << 60) + 1 }]);
    }
}
