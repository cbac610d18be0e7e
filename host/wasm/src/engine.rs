//! The engine that all components share, and its clock.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use wasmtime::{Config, Engine, WasmBacktraceDetails};

use super::code;

/// From one epoch to the next: how long a guest may keep its thread before a neighbour gets its
/// turn, and the grain of processor budgets.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// How long the clock's thread sleeps through while no guest is at work.
const IDLE: Duration = Duration::from_secs(1);

/// Stack of wasm code. Host functions run on what is left of [`FIBER_STACK`]; an overflow there
/// would end the process, so most of it is theirs.
const WASM_STACK: usize = 512 << 10;
const FIBER_STACK: usize = 2 << 20;

/// Makes the engine. Instances live for hours, so they are allocated on demand; the reservation
/// of 4 GiB of addresses for each memory stays, because it costs nothing but addresses and keeps
/// bounds checks out of the code.
pub(super) fn engine() -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config
        // Calls cost a third without the machinery for concurrent ones.
        .concurrency_support(false)
        .epoch_interruption(true)
        .consume_fuel(false)
        // Lines of sources are what a guest's debug information says, which is read in a confined
        // child only (`symbolize`): parsing it here let a guest end the agent.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(FIBER_STACK);
    // What no toolchain for components needs is only surface.
    config
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_relaxed_simd(false)
        .wasm_tail_call(false)
        .wasm_wide_arithmetic(false)
        .wasm_custom_page_sizes(false);
    code::publish_from_files(&mut config);
    Engine::new(&config)
}

/// The engine's clock. It moves the epoch while guests are at work and stands still otherwise: a
/// hundred wake-ups a second would be most of what an idle agent costs its machine.
#[derive(Clone)]
pub(super) struct Clock(Arc<Calls>);

#[derive(Default)]
struct Calls {
    /// Calls that go on.
    calls: Mutex<usize>,
    begun: Condvar,
}

/// A guest is at work as long as this lives.
pub(super) struct AtWork(Arc<Calls>);

impl Clock {
    /// Starts the clock's thread. It ends with the engine.
    pub(super) fn start(engine: &Engine) -> std::io::Result<Self> {
        let (weak, state) = (engine.weak(), Arc::<Calls>::default());
        let own = Arc::clone(&state);
        thread::Builder::new().name("guest-epoch".to_owned()).spawn(move || {
            loop {
                let working = own.wait();
                if working {
                    thread::sleep(TICK);
                }
                match weak.upgrade() {
                    Some(engine) if working => engine.increment_epoch(),
                    Some(_) => {}
                    None => return,
                }
            }
        })?;
        Ok(Self(state))
    }

    /// A call begins.
    pub(super) fn work(&self) -> AtWork {
        let mut calls = self.0.calls();
        *calls += 1;
        if *calls == 1 {
            self.0.begun.notify_one();
        }
        AtWork(Arc::clone(&self.0))
    }
}

impl Calls {
    /// Waits until a guest is at work, but not for ever: the engine may be gone. Whether one is.
    fn wait(&self) -> bool {
        let calls = self.calls();
        let waited = self.begun.wait_timeout_while(calls, IDLE, |calls| *calls == 0);
        *waited.unwrap_or_else(PoisonError::into_inner).0 > 0
    }

    fn calls(&self) -> MutexGuard<'_, usize> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        *self.0.calls() -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // It once ticked a hundred times a second, day and night.
    #[test]
    fn the_clock_moves_while_somebody_works() {
        let engine = engine().unwrap();
        let clock = Clock::start(&engine).unwrap();
        assert_eq!(*clock.0.calls(), 0);
        let (first, second) = (clock.work(), clock.work());
        assert!(clock.0.wait());
        drop(first);
        assert!(clock.0.wait());
        drop(second);
        assert_eq!(*clock.0.calls(), 0);
        assert!(!clock.0.wait());
    }
}
