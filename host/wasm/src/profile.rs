//! Profiles guests: takes the stack of the running one at each tick of the clock.
//!
//! A tick is seen where a guest enters a function or begins a round of a loop. Time in functions of the
//! host is not sampled.

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wasmtime::component::Component;
use wasmtime::{AsContext, GuestProfiler};

/// The time between two samples.
pub(crate) const INTERVAL: Duration = Duration::from_millis(1);

/// The profile of the instances of one component.
#[derive(Default)]
pub(crate) struct Recorder(Mutex<Recording>);

#[derive(Default)]
struct Recording {
    /// From the first instance on.
    profiler: Option<GuestProfiler>,
    samples: u64,
}

impl Recorder {
    /// Begins with the first instance; further ones go on.
    pub(crate) fn begin(&self, name: &str, component: &Component) -> wasmtime::Result<()> {
        let mut recording = self.recording();
        if recording.profiler.is_none() {
            let modules = [];
            let (engine, component) = (component.engine(), component.clone());
            let profiler =
                GuestProfiler::new_component(engine, name, INTERVAL, component, modules)?;
            recording.profiler = Some(profiler);
        }
        Ok(())
    }

    /// Takes the stack of the guest that runs in this store.
    pub(crate) fn sample(&self, store: impl AsContext) {
        let mut recording = self.recording();
        if let Some(profiler) = &mut recording.profiler {
            profiler.sample(store, Duration::ZERO);
            recording.samples += 1;
        }
    }

    /// Ends the profile and writes it. Returns the number of samples.
    pub(crate) fn finish(&self, out: impl Write) -> wasmtime::Result<u64> {
        let Recording { profiler, samples } = std::mem::take(&mut *self.recording());
        profiler.map_or(Ok(()), |profiler| profiler.finish(out))?;
        Ok(samples)
    }

    fn recording(&self) -> MutexGuard<'_, Recording> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
