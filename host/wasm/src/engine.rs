//! The wasmtime engine that all components share, and the thread that advances its epoch.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use wasmtime::{Config, Engine, WasmBacktraceDetails};

use super::code;

/// Length of an epoch: how long a guest may keep its thread before another one runs, and the
/// resolution of processor time limits.
pub(super) const EPOCH: Duration = Duration::from_millis(10);

/// Epochs for which the clock keeps running after the last call.
const IDLE_EPOCHS: u32 = 10;

/// How often the stopped clock checks whether the engine still exists.
const IDLE_CHECK: Duration = Duration::from_secs(1);

/// Stack of wasm code, bytes. Host functions use the rest of [`FIBER_STACK`]. They get most of it,
/// because an overflow there would end the process.
const WASM_STACK: usize = 512 << 10;
const FIBER_STACK: usize = 2 << 20;

/// Creates the engine. Instances live for hours, so they are allocated on demand. Each memory
/// reserves 4 GiB of addresses, which costs nothing else and saves bounds checks.
pub(super) fn engine() -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config
        // Without support for concurrent calls, a call costs a third.
        .concurrency_support(false)
        .epoch_interruption(true)
        .consume_fuel(false)
        // Source lines come from the guest's debug information, which only a confined child parses
        // (`symbolize`): parsing it here would let a guest crash the agent.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(FIBER_STACK);
    // Features that no component toolchain needs would only add attack surface.
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

/// The engine's clock. It advances the epoch during calls and for a short time after: waking its
/// thread for each of many short calls would cost more than the calls. Then it stops: a hundred
/// wake-ups per second would be most of the processor time of an idle agent.
#[derive(Clone)]
pub(super) struct Clock(Arc<ClockState>);

#[derive(Default)]
struct ClockState {
    state: Mutex<CallState>,
    call_started: Condvar,
}

#[derive(Default)]
struct CallState {
    /// Calls in progress.
    calls: usize,
    /// Whether the clock's thread waits for a call.
    asleep: bool,
}

/// Keeps the clock running during a call.
pub(super) struct ClockGuard(Arc<ClockState>);

impl Clock {
    /// Starts the clock's thread, which ends with the engine. An epoch is at least this long.
    pub(super) fn start(engine: &Engine, epoch: Duration) -> std::io::Result<Self> {
        let (weak, state) = (engine.weak(), Arc::<ClockState>::default());
        let own = Arc::clone(&state);
        thread::Builder::new().name("guest-epoch".to_owned()).spawn(move || {
            let mut idle = IDLE_EPOCHS;
            loop {
                let has_calls = if idle < IDLE_EPOCHS { own.has_calls() } else { own.wait() };
                idle = if has_calls { 0 } else { IDLE_EPOCHS.min(idle + 1) };
                let running = idle < IDLE_EPOCHS;
                if running {
                    thread::sleep(epoch);
                }
                match weak.upgrade() {
                    Some(engine) if running => engine.increment_epoch(),
                    Some(_) => {}
                    None => return,
                }
            }
        })?;
        Ok(Self(state))
    }

    /// Runs the clock until the guard is dropped.
    pub(super) fn start_call(&self) -> ClockGuard {
        let mut state = self.0.state();
        state.calls += 1;
        if state.asleep {
            self.0.call_started.notify_one();
        }
        drop(state);
        ClockGuard(Arc::clone(&self.0))
    }
}

impl ClockState {
    /// Whether a call is in progress.
    fn has_calls(&self) -> bool {
        self.state().calls > 0
    }

    /// Waits for a call, for at most [`IDLE_CHECK`], and returns whether there is one.
    fn wait(&self) -> bool {
        let mut state = self.state();
        state.asleep = true;
        let waited =
            self.call_started.wait_timeout_while(state, IDLE_CHECK, |state| state.calls == 0);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.asleep = false;
        state.calls > 0
    }

    fn state(&self) -> MutexGuard<'_, CallState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ClockGuard {
    fn drop(&mut self) {
        self.0.state().calls -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Regression: the idle clock woke up a hundred times per second.
    #[test]
    fn clock_runs_during_calls_only() {
        let engine = engine().unwrap();
        let clock = Clock::start(&engine, EPOCH).unwrap();
        assert!(!clock.0.has_calls());
        let (first, second) = (clock.start_call(), clock.start_call());
        assert!(clock.0.has_calls());
        drop(first);
        assert!(clock.0.has_calls());
        drop(second);
        assert!(!clock.0.has_calls());
        assert!(!clock.0.wait(), "it returns to check the engine");
        let asleep = || clock.0.state().asleep;
        let until = std::time::Instant::now() + Duration::from_secs(30);
        while !asleep() {
            assert!(std::time::Instant::now() < until, "the clock runs without a call");
            thread::sleep(EPOCH);
        }
    }
}
