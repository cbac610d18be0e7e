use std::cell::RefMut;

use crate::own::Own;
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
    own: RefMut<'a, Own>,
    origin: Vec<u32>,
    meter: Vec<u32>,
    volume: Vec<f64>,
    exact: Vec<ExactInteger>,
    /// Resources and times, once a row has others than its origin, or origins do not ascend.
    places: Option<(Vec<u32>, Vec<Timestamp>)>,
}

impl<'a> AnswerBuilder<'a> {
    /// An answer to a batch, with capacity for as many rows as it has.
    pub fn new(input: &Batch<'a>) -> Self {
        let rows = input.samples.volume.len();
        Self::build(input.dictionary, Some(*input), rows, None)
    }

    /// An answer to a flush, which has no input.
    pub fn without_input(dictionary: &'a Dictionary) -> Self {
        Self::build(dictionary, None, 0, Some(Default::default()))
    }

    fn build(
        dictionary: &'a Dictionary,
        input: Option<Batch<'a>>,
        rows: usize,
        places: Option<(Vec<u32>, Vec<Timestamp>)>,
    ) -> Self {
        let mut own = dictionary.own.borrow_mut();
        own.tidy();
        Self {
            input,
            own,
            origin: Vec::with_capacity(rows),
            meter: Vec::with_capacity(rows),
            volume: Vec::with_capacity(rows),
            exact: Vec::new(),
            places,
        }
    }

    /// The number of a meter.
    pub fn meter(&mut self, meter: &Meter) -> u32 {
        self.own.meters.number(meter)
    }

    /// The number of a resource.
    pub fn resource(&mut self, resource: &Resource) -> u32 {
        self.own.resources.number(resource)
    }

    /// Adds a row of the input as it is.
    pub fn pass(&mut self, row: &Row<'_>) {
        self.derive(row, row.meter_number, row.value());
    }

    /// Adds a row computed from another: the same resource and time, another meter or value.
    #[inline]
    pub fn derive(&mut self, row: &Row<'_>, meter: u32, volume: impl Into<Volume>) {
        if self.places.is_some() || self.origin.last().is_some_and(|last| *last > row.number) {
            self.place(row.resource_number, row.time);
        }
        self.measured(row.number, meter, volume.into());
    }

    /// Adds a row without an origin.
    pub fn create(
        &mut self,
        meter: u32,
        resource: u32,
        time: Timestamp,
        volume: impl Into<Volume>,
    ) {
        self.place(resource, time);
        self.measured(NO_ORIGIN, meter, volume.into());
    }

    #[cold]
    fn place(&mut self, resource: u32, time: Timestamp) {
        let Self { input, origin, places, .. } = self;
        let (resources, times) = places.get_or_insert_with(|| {
            let samples = input.expect("an answer without input has places").samples;
            let resources = origin.iter().map(|row| samples.resource[*row as usize]);
            let times = origin.iter().map(|row| samples.time[*row as usize]);
            (resources.collect(), times.collect())
        });
        resources.push(resource);
        times.push(time);
    }

    #[inline]
    fn measured(&mut self, origin: u32, meter: u32, volume: Volume) {
        if let Volume::Integer(value) = volume {
            let row = u32::try_from(self.volume.len()).expect("a 32-bit guest has no more rows");
            self.exact.push(ExactInteger { row, value });
        }
        self.origin.push(origin);
        self.meter.push(meter);
        self.volume.push(volume.as_f64());
    }

    /// The answer to a batch.
    pub fn finish(self) -> Outcome {
        let Self { origin, meter, volume, exact, places, .. } = self;
        match places {
            None => Outcome::Derive(Derived { origin, meter, volume, exact }),
            Some((resource, time)) => {
                Outcome::Replace(Answer { origin, meter, resource, time, volume, exact })
            }
        }
    }

    /// The answer to a flush; `None` without rows.
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
    fn own_numbers_follow_content_and_stay_from_answer_to_answer() {
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
        let Outcome::Derive(derived) = answer.finish() else { panic!("others than derived") };
        assert_eq!((derived.origin, derived.meter), (vec![0], vec![FIRST]));
        let sent = input.dictionary().take_new_meters();
        let numbers: Vec<u32> = sent.iter().map(|one| one.number).collect();
        assert_eq!(numbers, [FIRST, FIRST + 1]);
        let mut answer = AnswerBuilder::without_input(input.dictionary());
        assert_eq!(answer.meter(&other_unit), FIRST + 1);
        drop(answer);
        assert!(input.dictionary().take_new_meters().is_empty(), "sent already");
    }

    // An answer that was given up took the entries with it: the host did not know their numbers.
    #[test]
    fn entries_of_an_answer_that_is_not_returned_go_with_the_next_one() {
        let input = Input::default();
        AnswerBuilder::without_input(input.dictionary()).meter(&util());
        AnswerBuilder::without_input(input.dictionary()).meter(&util());
        assert_eq!(input.dictionary().take_new_meters().len(), 1);
    }

    #[test]
    fn rows_that_are_created_or_do_not_ascend_take_their_places_along() {
        let mut input = Input::default();
        input.row("cpu", "r", 5, 1.5);
        input.row("cpu", "s", 6, 2.5);
        let batch = input.batch();
        let all: Vec<Row<'_>> = rows(&batch).collect();
        let mut answer = AnswerBuilder::new(&batch);
        answer.pass(&all[1]);
        answer.pass(&all[0]);
        answer.create(all[0].meter_number, all[1].resource_number, 9, (1 << 60) + 1);
        let Outcome::Replace(answer) = answer.finish() else { panic!("others than replaced") };
        assert_eq!(answer.origin, [1, 0, NO_ORIGIN]);
        let resource = [all[1], all[0], all[1]].map(|row| row.resource_number);
        assert_eq!((answer.resource, answer.time), (resource.to_vec(), vec![6, 5, 9]));
        assert_eq!(answer.exact, [ExactInteger { row: 2, value: (1 << 60) + 1 }]);
    }
}
