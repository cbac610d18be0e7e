//! Renders samples as a fixture for `nephometer component test` (docs/fixtures.md).

use serde_json::Value;

use nephometer_model::{Batch, Release};
use nephometer_wire::{Notation, as_dict};

/// A fixture with one batch, one sample a line. `options` is the transformer's JSON text. The
/// expected output is empty, for the component's author to fill in.
pub fn render_fixture(about: &str, options: &str, batch: &Batch) -> String {
    let mut text = format!("{{\n  \"about\": {},\n", Value::from(about));
    text.push_str(&format!(
        "  \"options\": {options},\n  \"steps\": [\n    {{\n      \"batch\": ["
    ));
    for (number, sample) in batch.samples.iter().enumerate() {
        let mut line = Vec::with_capacity(1_024);
        as_dict(&mut line, Notation::Json, Release::Current, sample);
        text.push_str(if number == 0 { "\n        " } else { ",\n        " });
        text.push_str(&String::from_utf8_lossy(&line));
    }
    let gone = Value::from(batch.removed.iter().map(|id| Value::from(&**id)).collect::<Vec<_>>());
    text.push_str(&format!(
        "\n      ],\n      \"gone\": {gone},\n      \"out\": []\n    }}\n  ]\n}}\n"
    ));
    text
}
