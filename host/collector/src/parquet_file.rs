//! Writes samples as a Parquet file, in row groups of bounded size.

use std::io::Write;
use std::sync::Arc;

use nephometer_model::Volume;
use parquet::basic::{Compression, Encoding};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;

use crate::store::{StoredSample, micros};

/// Samples in a row group: what is in memory at once.
const ROWS: usize = 100_000;

/// The columns, in the order in which [`RowGroup::write`] writes them.
const SCHEMA: &str = "message sample {
  required int64 timestamp (TIMESTAMP(MICROS,true));
  required int64 recorded_at (TIMESTAMP(MICROS,true));
  required binary meter (STRING);
  required binary type (STRING);
  required binary unit (STRING);
  required binary resource_id (STRING);
  optional binary project_id (STRING);
  optional binary user_id (STRING);
  required binary source (STRING);
  optional double volume;
  optional int64 volume_integer (INTEGER(64,true));
  required binary metadata (STRING);
  required binary message_id (STRING);
}";

/// A file that samples are written to.
pub(crate) struct ParquetFile<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    group: RowGroup,
}

impl<W: Write + Send> ParquetFile<W> {
    /// Begins a file.
    pub(crate) fn new(out: W) -> Result<Self> {
        let program = concat!("nephometer-collector version ", env!("CARGO_PKG_VERSION"));
        let mut properties = WriterProperties::builder()
            .set_created_by(program.to_owned())
            .set_compression(Compression::SNAPPY)
            // No two are the same.
            .set_column_dictionary_enabled(ColumnPath::from("message_id"), false);
        for name in ["timestamp", "recorded_at"] {
            let column = ColumnPath::from(name);
            properties = properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
        }
        let schema = Arc::new(parse_message_type(SCHEMA)?);
        let writer = SerializedFileWriter::new(out, schema, Arc::new(properties.build()))?;
        Ok(Self { writer, group: RowGroup::default() })
    }

    /// Adds a sample.
    pub(crate) fn add(&mut self, sample: &StoredSample) -> Result<()> {
        self.group.add(sample);
        if self.group.timestamp.levels.len() < ROWS { Ok(()) } else { self.flush() }
    }

    /// Ends the file, and returns what it was written to.
    pub(crate) fn finish(mut self) -> Result<W> {
        self.flush()?;
        self.writer.into_inner()
    }

    fn flush(&mut self) -> Result<()> {
        let group = std::mem::take(&mut self.group);
        if group.timestamp.levels.is_empty() { Ok(()) } else { group.write(&mut self.writer) }
    }
}

/// The values of a column in a row group.
#[derive(Default)]
struct Column<T> {
    values: Vec<T>,
    /// 1 for a value, 0 for a null, which has no value.
    levels: Vec<i16>,
}

impl<T> Column<T> {
    fn add(&mut self, value: Option<T>) {
        self.levels.push(i16::from(value.is_some()));
        self.values.extend(value);
    }
}

impl Column<ByteArray> {
    /// Adds a text. Series are read one after the other: most texts are those of the sample before, and
    /// share its memory.
    fn text(&mut self, text: Option<&str>) {
        let same = |text: &str| {
            let last = self.values.last().filter(|last| last.data() == text.as_bytes());
            last.cloned().unwrap_or_else(|| ByteArray::from(text.as_bytes().to_vec()))
        };
        self.add(text.map(same));
    }
}

#[derive(Default)]
struct RowGroup {
    timestamp: Column<i64>,
    recorded_at: Column<i64>,
    meter: Column<ByteArray>,
    kind: Column<ByteArray>,
    unit: Column<ByteArray>,
    resource_id: Column<ByteArray>,
    project_id: Column<ByteArray>,
    user_id: Column<ByteArray>,
    source: Column<ByteArray>,
    volume: Column<f64>,
    volume_integer: Column<i64>,
    metadata: Column<ByteArray>,
    message_id: Column<ByteArray>,
}

impl RowGroup {
    fn add(&mut self, sample: &StoredSample) {
        self.timestamp.add(Some(micros(sample.time)));
        self.recorded_at.add(Some(micros(sample.recorded)));
        self.meter.text(Some(&sample.meter.name));
        self.kind.text(Some(sample.meter.kind));
        self.unit.text(Some(&sample.meter.unit));
        self.resource_id.text(Some(&sample.owner.resource_id));
        self.project_id.text(sample.owner.project_id.as_deref());
        self.user_id.text(sample.owner.user_id.as_deref());
        self.source.text(Some(&sample.owner.source));
        self.volume.add(sample.volume.map(Volume::as_f64));
        self.volume_integer.add(match sample.volume {
            // The store keeps integers of 64 bits; others are floats there.
            Some(Volume::Integer(whole)) => i64::try_from(whole).ok(),
            _ => None,
        });
        self.metadata.text(Some(&sample.metadata));
        self.message_id.text(Some(&sample.id.to_string()));
    }

    fn write<W: Write + Send>(&self, file: &mut SerializedFileWriter<W>) -> Result<()> {
        let mut group = file.next_row_group()?;
        put::<Int64Type, W>(&mut group, &self.timestamp)?;
        put::<Int64Type, W>(&mut group, &self.recorded_at)?;
        put::<ByteArrayType, W>(&mut group, &self.meter)?;
        put::<ByteArrayType, W>(&mut group, &self.kind)?;
        put::<ByteArrayType, W>(&mut group, &self.unit)?;
        put::<ByteArrayType, W>(&mut group, &self.resource_id)?;
        put::<ByteArrayType, W>(&mut group, &self.project_id)?;
        put::<ByteArrayType, W>(&mut group, &self.user_id)?;
        put::<ByteArrayType, W>(&mut group, &self.source)?;
        put::<DoubleType, W>(&mut group, &self.volume)?;
        put::<Int64Type, W>(&mut group, &self.volume_integer)?;
        put::<ByteArrayType, W>(&mut group, &self.metadata)?;
        put::<ByteArrayType, W>(&mut group, &self.message_id)?;
        group.close().map(drop)
    }
}

/// Writes the next column of a row group.
fn put<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    column: &Column<T::T>,
) -> Result<()> {
    let missing = || ParquetError::General("the schema has fewer columns".to_owned());
    let mut writer = group.next_column()?.ok_or_else(missing)?;
    writer.typed::<T>().write_batch(&column.values, Some(&column.levels), None)?;
    writer.close()
}
