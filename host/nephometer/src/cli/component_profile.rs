//! `nephometer component profile`

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use super::args::Common;
use super::component_bench::Subject;
use super::run::runtime;
use super::{output, table, tool};
use nephometer_config as config;
use nephometer_pipeline::transform::{ComponentTransformer, Transformer};
use nephometer_sdk::measure;
use nephometer_wasm::demangle;

/// Find out where a transformer spends its time
///
/// Runs it as `component bench` does, takes the stack of the component a thousand times per second,
/// prints the functions that it was in, and writes a file that the Firefox Profiler opens, with
/// a flame graph; the page keeps the file in the browser. Stacks are taken where a function or a round
/// of a loop begins, and never in the host. Names need a component that is not stripped.
#[derive(Debug, Args)]
pub(super) struct Profile {
    #[command(flatten)]
    subject: Subject,
    /// Samples per batch
    #[arg(long, value_name = "N", default_value = "1000")]
    rows: NonZeroUsize,
    /// Time to run
    #[arg(long, value_name = "TIME", value_parser = config::parse_duration, default_value = "5s")]
    time: Duration,
    /// Where to write the profile
    #[arg(long, short, value_name = "FILE", default_value = "profile.json")]
    output: PathBuf,
    /// Functions to print
    #[arg(long, value_name = "N", default_value_t = 15)]
    top: usize,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    common: Common,
}

impl Profile {
    pub(super) fn execute(self) -> Result<()> {
        let (options, mut sample) = self.subject.read()?;
        let host = tool::start_profiling(&self.common)?;
        runtime()?.block_on(async {
            let load = async {
                let loaded = tool::open(&host, &self.subject.file).await?;
                ComponentTransformer::from_loaded(&host, &loaded, &options, "profile").await
            };
            let mut transformer = tool::accepted(load.await)?;
            measure(&mut transformer, &mut sample, self.rows.get(), self.time).await?;
            let name = transformer.name().to_owned();
            let mut text = Vec::new();
            let stacks = host.write_profile(&mut text)?;
            if stacks == 0 {
                bail!("{name} did not run long enough to be seen once; raise --rows or --time");
            }
            let mut profile = serde_json::from_slice(&text)?;
            let functions = functions(&mut profile).context("the profile has no thread")?;
            let shown = || self.output.display().to_string();
            std::fs::write(&self.output, profile.to_string()).with_context(shown)?;
            self.report(&name, stacks, &functions)
        })
    }

    fn report(&self, name: &str, stacks: u64, functions: &[Function]) -> Result<()> {
        let share = |count: u64| count as f64 / stacks as f64;
        let file = self.output.display();
        if self.json {
            let rows = functions.iter().map(|one| {
                json!({"function": one.name, "self": share(one.own), "total": share(one.total)})
            });
            return output::print_json(&json!({
                "name": name,
                "stacks": stacks,
                "file": file.to_string(),
                "functions": rows.collect::<Vec<_>>(),
            }));
        }
        let percent = |count: u64| format!("{:.1}%", share(count) * 100.0);
        let mut rows = vec![["SELF", "TOTAL", "FUNCTION"].map(str::to_owned)];
        let top = functions.iter().take(self.top);
        rows.extend(top.map(|one| [percent(one.own), percent(one.total), one.name.clone()]));
        table::print(&rows, "no function has a name")?;
        let mut out = output::stdout();
        writeln!(
            out,
            "\n{stacks} stacks of {name} in {file}; open it at https://profiler.firefox.com"
        )?;
        Ok(out.flush()?)
    }
}

/// A function of the guest.
struct Function {
    name: String,
    /// Stacks that ended in it.
    own: u64,
    /// Stacks that it was in.
    total: u64,
}

/// Demangles names of functions. Returns them, the one with most time of its own first; `None` if this
/// is not in the format of the Firefox Profiler.
fn functions(profile: &mut Value) -> Option<Vec<Function>> {
    let thread = profile.get_mut("threads")?.get_mut(0)?;
    for name in thread.get_mut("stringArray")?.as_array_mut()? {
        *name = demangle(name.as_str()?).into();
    }
    let column = |table: &str, name: &str| thread.get(table)?.get(name)?.as_array();
    let strings = thread.get("stringArray")?.as_array()?;
    let (prefixes, frames) = (column("stackTable", "prefix")?, column("stackTable", "frame")?);
    let (of_frame, names) = (column("frameTable", "func")?, column("funcTable", "name")?);
    let index = |values: &[Value], at: usize| usize::try_from(values.get(at)?.as_u64()?).ok();
    let mut found: BTreeMap<usize, (u64, u64)> = BTreeMap::new();
    for stack in column("samples", "stack")? {
        let mut at = stack.as_u64().and_then(|at| usize::try_from(at).ok());
        let mut seen = BTreeSet::new();
        while let Some(here) = at {
            let function = index(of_frame, index(frames, here)?)?;
            let counts = found.entry(function).or_default();
            counts.0 += u64::from(seen.is_empty());
            // Once, also if it calls itself.
            counts.1 += u64::from(seen.insert(function));
            at = index(prefixes, here);
        }
    }
    let named = found.into_iter().map(|(function, (own, total))| {
        let name = strings.get(index(names, function)?)?.as_str()?.to_owned();
        Some(Function { name, own, total })
    });
    let mut functions: Vec<Function> = named.collect::<Option<_>>()?;
    functions.sort_by_key(|one| std::cmp::Reverse((one.own, one.total)));
    Some(functions)
}
