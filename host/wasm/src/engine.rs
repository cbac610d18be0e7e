//! The engine that all components share, and its clock.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use wasmtime::{Config, Engine, WasmBacktraceDetails};

use super::code;

/// From one epoch to the next: how long a guest may keep its thread before a neighbour gets its
/// turn, and the grain of processor budgets.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// Ticks that the clock goes on for when no guest is at work any more.
const LINGER: u32 = 10;

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

/// The engine's clock. It moves the epoch while guests are at work, and a little longer: waking its thread
/// for each of many short calls would cost more than the calls. Then it stands still: a hundred wake-ups a
/// second would be most of what an idle agent costs its machine.
#[derive(Clone)]
pub(super) struct Clock(Arc<Calls>);

#[derive(Default)]
struct Calls {
    state: Mutex<CallState>,
    begun: Condvar,
}

#[derive(Default)]
struct CallState {
    /// Calls that go on.
    calls: usize,
    /// The clock's thread waits for a call.
    asleep: bool,
}

/// A guest is at work as long as this lives.
pub(super) struct AtWork(Arc<Calls>);

impl Clock {
    /// Starts the clock's thread. It ends with the engine.
    pub(super) fn start(engine: &Engine) -> std::io::Result<Self> {
        let (weak, state) = (engine.weak(), Arc::<Calls>::default());
        let own = Arc::clone(&state);
        thread::Builder::new().name("guest-epoch".to_owned()).spawn(move || {
            let mut idle = LINGER;
            loop {
                let working = if idle < LINGER { own.working() } else { own.wait() };
                idle = if working { 0 } else { LINGER.min(idle + 1) };
                let moving = idle < LINGER;
                if moving {
                    thread::sleep(TICK);
                }
                match weak.upgrade() {
                    Some(engine) if moving => engine.increment_epoch(),
                    Some(_) => {}
                    None => return,
                }
            }
        })?;
        Ok(Self(state))
    }

    /// A call begins.
    pub(super) fn work(&self) -> AtWork {
        let mut state = self.0.state();
        state.calls += 1;
        if state.asleep {
            self.0.begun.notify_one();
        }
        drop(state);
        AtWork(Arc::clone(&self.0))
    }
}

impl Calls {
    /// Whether a guest is at work.
    fn working(&self) -> bool {
        self.state().calls > 0
    }

    /// Waits until a guest is at work, but not for ever: the engine may be gone. Whether one is.
    fn wait(&self) -> bool {
        let mut state = self.state();
        state.asleep = true;
        let waited = self.begun.wait_timeout_while(state, IDLE, |state| state.calls == 0);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.asleep = false;
        state.calls > 0
    }

    fn state(&self) -> MutexGuard<'_, CallState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.state().calls -= 1;
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
        assert!(!clock.0.working());
        let (first, second) = (clock.work(), clock.work());
        assert!(clock.0.working());
        drop(first);
        assert!(clock.0.working());
        drop(second);
        assert!(!clock.0.working());
        assert!(!clock.0.wait(), "it looks whether the engine is still there");
        let asleep = || clock.0.state().asleep;
        let until = std::time::Instant::now() + Duration::from_secs(30);
        while !asleep() {
            assert!(std::time::Instant::now() < until, "it ticks although nobody works");
            thread::sleep(TICK);
        }
    }
}
