//! Embeds the component host: loads a transformer, gives it one batch, prints what it returns.
//!
//! ```sh
//! nephometer once --raw --format ndjson --libvirt 'sim://?domains=1' --pipeline config/pipeline.yaml |
//!   cargo run --release -p nephometer-wasm --example embed -- \
//!     target/components/unit_conversion.wasm '{"target": {"name": "gibibytes", "scale": "volume / 2**30"}}'
//! ```

use std::error::Error;
use std::io::{Write, stdin, stdout};
use std::path::Path;
use std::sync::Arc;

use nephometer_config::ComponentsSpec;
use nephometer_model::{Batch, Moment, Release};
use nephometer_wasm::{ComponentHost, Numbering, TransformerRole};
use nephometer_wire::{Notation, as_dict, sample_from_json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, options] = &arguments[..] else { return Err("usage: embed FILE OPTIONS".into()) };
    let options = serde_json::from_str(options)?;

    // One host per program: it owns the engine, the guest threads and the cache of compiled code.
    let cache = tempfile::tempdir()?;
    let host = ComponentHost::start(&ComponentsSpec::default(), cache.path())?;
    let component = host.open::<TransformerRole>(Path::new(file)).await?;
    let mut transformer =
        host.transformer(&component, &options, "embed/0", Numbering::Ascending).await?;

    let source: Arc<str> = "openstack".into();
    let samples = stdin().lines().map(|line| Ok(sample_from_json(&line?, &source)?));
    let samples = samples.collect::<Result<Vec<_>, Box<dyn Error>>>()?;
    let cycle_start = Moment::default();
    let batch = Arc::new(Batch { source, cycle_start, samples, removed: Vec::new() });
    let transformed = transformer.transform(&batch).await.map_err(|error| format!("{error:?}"))?;
    for sample in transformed.into_samples(&batch) {
        let mut line = Vec::new();
        as_dict(&mut line, Notation::Json, Release::Current, &sample);
        line.push(b'\n');
        stdout().write_all(&line)?;
    }
    Ok(())
}
