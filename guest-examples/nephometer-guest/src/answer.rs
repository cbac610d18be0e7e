use crate::{Answer, Batch, FxHashMap, Meter, NO_ORIGIN, Resource, Row, Timestamp};

/// Makes an [`Answer`], row by row.
///
/// New meters and resources are numbered by their content: asking for the same one again gives
/// the same number, and one that the input has already gives the input's.
#[derive(Debug)]
pub struct AnswerBuilder<'a> {
    input: Option<&'a Batch>,
    meters: Entries<Meter>,
    resources: Entries<Resource>,
    answer: Answer,
}

impl<'a> AnswerBuilder<'a> {
    /// An answer to a batch, with room for as many rows as it has.
    pub fn new(input: &'a Batch) -> Self {
        Self::build(Some(input), input.volume.len())
    }

    /// An answer to a flush, which has no input.
    pub fn without_input() -> Self {
        Self::build(None, 0)
    }

    fn build(input: Option<&'a Batch>, rows: usize) -> Self {
        Self {
            input,
            meters: Entries::default(),
            resources: Entries::default(),
            answer: Answer {
                meters: Vec::new(),
                resources: Vec::new(),
                origin: Vec::with_capacity(rows),
                meter: Vec::with_capacity(rows),
                resource: Vec::with_capacity(rows),
                time: Vec::with_capacity(rows),
                volume: Vec::with_capacity(rows),
            },
        }
    }

    /// The number of a meter.
    pub fn meter(&mut self, meter: &Meter) -> u32 {
        let given = self.input.map_or(&[][..], |batch| &batch.meters);
        self.meters.number(&mut self.answer.meters, given, meter, |meter| meter.name.as_str())
    }

    /// The number of a resource.
    pub fn resource(&mut self, resource: &Resource) -> u32 {
        let given = self.input.map_or(&[][..], |batch| &batch.resources);
        self.resources.number(&mut self.answer.resources, given, resource, |one| one.id.as_str())
    }

    /// Adds a row that passes as it is.
    pub fn pass(&mut self, row: &Row<'_>) {
        self.derive(row, row.meter_index, row.volume);
    }

    /// Adds a row made of another: same resource and time, another meter and value.
    #[inline]
    pub fn derive(&mut self, row: &Row<'_>, meter: u32, volume: f64) {
        self.answer.origin.push(row.number);
        self.answer.resource.push(row.resource_index);
        self.measured(meter, row.time, volume);
    }

    /// Adds a row that comes from no input row.
    pub fn create(&mut self, meter: u32, resource: u32, time: Timestamp, volume: f64) {
        self.answer.origin.push(NO_ORIGIN);
        self.answer.resource.push(resource);
        self.measured(meter, time, volume);
    }

    #[inline]
    fn measured(&mut self, meter: u32, time: Timestamp, volume: f64) {
        self.answer.meter.push(meter);
        self.answer.time.push(time);
        self.answer.volume.push(volume);
    }

    /// The answer.
    pub fn finish(self) -> Answer {
        self.answer
    }
}

/// Numbers of the entries asked for so far, by a text that tells most of them apart.
#[derive(Debug)]
struct Entries<T> {
    numbers: FxHashMap<String, Vec<(T, u32)>>,
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self { numbers: FxHashMap::default() }
    }
}

impl<T: Clone + PartialEq> Entries<T> {
    fn number(&mut self, new: &mut Vec<T>, given: &[T], wanted: &T, key: fn(&T) -> &str) -> u32 {
        let known = self.numbers.get(key(wanted));
        if let Some(&(_, number)) = known.and_then(|of| of.iter().find(|(one, _)| one == wanted)) {
            return number;
        }
        let index = given.iter().position(|one| one == wanted).unwrap_or_else(|| {
            new.push(wanted.clone());
            given.len() + new.len() - 1
        });
        let number = u32::try_from(index).expect("a 32-bit guest holds no more entries than that");
        let same_key = self.numbers.entry(key(wanted).to_owned()).or_default();
        same_key.push((wanted.clone(), number));
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MeterType, rows};

    fn batch() -> Batch {
        let meter = Meter { name: "cpu".into(), unit: "ns".into(), type_: MeterType::Cumulative };
        Batch {
            meters: vec![meter],
            resources: vec![Resource {
                id: "r".into(),
                source: "openstack".into(),
                project_id: None,
                user_id: None,
                metadata: "{}".into(),
            }],
            meter: vec![0],
            resource: vec![0],
            time: vec![5],
            monotonic: vec![0],
            volume: vec![1.5],
            gone: vec![],
        }
    }

    #[test]
    fn numbers_go_on_from_the_inputs_and_follow_content() {
        let batch = batch();
        let mut answer = AnswerBuilder::new(&batch);
        let util = Meter { name: "cpu_util".into(), unit: "%".into(), type_: MeterType::Gauge };
        let other_unit = Meter { unit: "1".into(), ..util.clone() };
        assert_eq!(answer.meter(&batch.meters[0]), 0);
        assert_eq!(answer.meter(&util), 1);
        assert_eq!(answer.meter(&other_unit), 2);
        assert_eq!(answer.meter(&util), 1);
        assert_eq!(answer.resource(&batch.resources[0]), 0);
        let row = rows(&batch).next().unwrap();
        assert_eq!(row.monotonic, None);
        answer.derive(&row, 1, 3.0);
        answer.create(2, 0, 9, 4.0);
        let answer = answer.finish();
        assert_eq!(answer.meters, [util, other_unit]);
        assert!(answer.resources.is_empty());
        assert_eq!(answer.origin, [0, NO_ORIGIN]);
        assert_eq!(answer.time, [5, 9]);
        assert_eq!(answer.volume, [3.0, 4.0]);
    }

    #[test]
    fn numbers_start_at_zero_without_input() {
        let mut answer = AnswerBuilder::without_input();
        assert_eq!(answer.meter(&batch().meters[0]), 0);
        assert_eq!(answer.resource(&batch().resources[0]), 0);
    }
}
