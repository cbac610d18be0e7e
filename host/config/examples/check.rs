//! Checks a `pipeline.yaml` and prints every problem with its place, as `nephometer check` does.
//!
//! ```sh
//! cargo run -p nephometer-config --example check -- config/pipeline.yaml
//! ```

use std::error::Error;
use std::io::{Write, stdout};

use nephometer_config::{Inputs, Origin, load};

fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args().nth(1).ok_or("usage: check PIPELINE")?;
    let inputs = Inputs { pipeline: Origin::File(file.into()), ..Inputs::default() };
    let loaded = load(&inputs)?;
    for warning in &loaded.warnings {
        writeln!(stdout(), "warning: {warning}")?;
    }
    let pipeline = &loaded.spec.pipeline;
    writeln!(stdout(), "ok: {} sources, {} sinks", pipeline.sources.len(), pipeline.sinks.len())?;
    Ok(())
}
