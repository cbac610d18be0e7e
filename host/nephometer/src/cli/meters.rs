//! `nephometer meters`

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use clap::Args;
use serde_json::{Value, json};

use super::args::{Common, Logging};
use super::run::runtime;
use super::{output, table};
use nephometer_config::{self as config, AgentSpec};
use nephometer_libvirt::hypervisor;
use nephometer_libvirt::poll::meters::{CATALOGUE, has_value, raw_meter};
use nephometer_libvirt::schedule::Clock;
use nephometer_model::{Domain, Groups, Reading, clean};

/// List every meter, and how many domains of this host have it
///
/// Prints type, unit and origin of each meter, and the number of running domains that have it now.
/// Sources have to name meters libvirt.*; `*` does not match them.
#[derive(Debug, Args)]
pub(super) struct Meters {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    logging: Logging,
    /// Print one JSON array instead of text
    #[arg(long)]
    json: bool,
}

type Readings = Vec<(Arc<Domain>, Reading)>;

impl Meters {
    pub(super) fn execute(self) -> Result<()> {
        self.logging.start()?;
        let spec = config::load_host(&self.common.inputs())?.spec;
        let read = runtime()?.block_on(running(&spec));
        let listed = listed(&spec, read.as_deref().ok());
        let running = read.as_ref().ok().map(Vec::len);
        if self.json {
            output::print_json(&listed.iter().map(|one| one.to_json(running)).collect())?;
        } else {
            let mut rows = vec![["METER", "TYPE", "UNIT", "GIVEN", "FROM"].map(str::to_owned)];
            rows.extend(listed.iter().map(|one| one.row(running)));
            table::print(&rows, "no meters")?;
        }
        read.map(drop)
    }
}

/// The running domains, with everything that libvirt reports of them.
async fn running(spec: &AgentSpec) -> Result<Readings> {
    let hypervisor = hypervisor::open(&spec.libvirt.uri, &spec.libvirt, Clock::start())?;
    hypervisor.begin_cycle().await?.ok_or_else(|| anyhow!("the recording is empty"))?;
    let domains = hypervisor.domains().await?;
    let mut readings = Readings::new();
    for slice in domains.chunks(hypervisor.slice_size().max(1)) {
        let answers = hypervisor.read(slice, Groups::ALL.union(Groups::SIZES)).await;
        for (domain, answer) in slice.iter().zip(answers) {
            match answer {
                Ok(reading) if reading.is_shut_off() => {}
                Ok(reading) => readings.push((Arc::clone(domain), reading)),
                Err(error) => output::print_error(&format!("{}: {error}", clean(&domain.name))),
            }
        }
    }
    Ok(readings)
}

/// A meter, and how many domains have it.
struct ListedMeter {
    name: String,
    kind: String,
    unit: String,
    /// `None` if it is not read from domains.
    domains: Option<usize>,
    from: String,
}

impl ListedMeter {
    fn row(&self, running: Option<usize>) -> [String; 5] {
        let given = match (self.domains, running) {
            (Some(count), Some(running)) => format!("{count} of {running}"),
            (Some(_), None) => "unknown".to_owned(),
            (None, _) => String::new(),
        };
        let Self { name, kind, unit, from, .. } = self;
        [name.clone(), kind.clone(), unit.clone(), given, from.clone()]
    }

    fn to_json(&self, running: Option<usize>) -> Value {
        json!({
            "meter": self.name,
            "type": self.kind,
            "unit": self.unit,
            "domains": self.domains.filter(|_| running.is_some()),
            "running": running,
            "from": self.from,
        })
    }
}

fn listed(spec: &AgentSpec, read: Option<&[(Arc<Domain>, Reading)]>) -> Vec<ListedMeter> {
    let metering = spec.metering;
    let readings = read.unwrap_or_default();
    let mut meters = Vec::new();
    for line in CATALOGUE.iter().filter(|line| line.exists_in(metering.release)) {
        let meter = line.meter(metering.release, metering.quirks);
        let has = |(domain, reading): &&(Arc<Domain>, Reading)| has_value(line, domain, reading);
        meters.push(ListedMeter {
            name: meter.name.to_string(),
            kind: meter.kind.to_string(),
            unit: meter.unit.to_string(),
            domains: Some(readings.iter().filter(has).count()),
            from: line.fields.to_owned(),
        });
    }
    meters.push(ListedMeter {
        name: "nephometer.gap".to_owned(),
        kind: "delta".to_owned(),
        unit: "s".to_owned(),
        domains: None,
        from: "readings that are missing".to_owned(),
    });
    for (name, (kind, unit, count)) in raw(readings) {
        let from = name.trim_start_matches("libvirt.").to_owned();
        meters.push(ListedMeter { name, kind, unit, domains: Some(count), from });
    }
    meters
}

/// Meters `libvirt.*` by name: type, unit, and how many domains have them.
fn raw(readings: &[(Arc<Domain>, Reading)]) -> BTreeMap<String, (String, String, usize)> {
    let mut meters = BTreeMap::new();
    for (_, reading) in readings {
        let mut own: Vec<_> = reading.raw.iter().map(|number| raw_meter(&number.key)).collect();
        own.sort_by(|a, b| a.name.cmp(&b.name));
        own.dedup_by(|a, b| a.name == b.name);
        for meter in own {
            let known = (meter.kind.to_string(), meter.unit.to_string(), 0);
            meters.entry(meter.name.to_string()).or_insert(known).2 += 1;
        }
    }
    meters
}
