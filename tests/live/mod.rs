//! Looking at a running agent: `tap`, `explain` and `top`.

mod explain;
mod gaps;
mod tap;
mod top;

use crate::harness::Agent;

/// A transformer that makes `cpu_util` of `cpu`, as a YAML value on one line.
const RATE: &str = "{name: rate_of_change, parameters: {target: {name: cpu_util, unit: '%', type: gauge, \
                    scale: '100.0 / (10**9 * (resource_metadata.cpu_number or 1))'}}}";

/// One source of all meters every second; `raw` without transformers, `rates` with rates of `cpu`.
fn agent(name: &str) -> Agent {
    Agent::new(name).pipeline(&format!(
        "sources:\n\
         - {{name: all, interval: 1, meters: ['*'], sinks: [raw]}}\n\
         - {{name: cpus, interval: 1, meters: [cpu], sinks: [rates]}}\n\
         sinks:\n\
         - {{name: raw, publishers: ['test://']}}\n\
         - {{name: rates, transformers: [{RATE}], publishers: ['test://']}}\n"
    ))
}
