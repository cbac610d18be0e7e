//! The engine that all components share, and the thread that moves its clock.

use std::thread;
use std::time::Duration;

use wasmtime::{Config, Engine};

/// From one epoch to the next: how long a guest may keep its thread before a neighbour gets its
/// turn, and the grain of processor budgets.
pub(super) const TICK: Duration = Duration::from_millis(10);

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
    Engine::new(&config)
}

/// Starts the thread that moves the engine's epoch. It ends with the engine.
pub(super) fn start_ticker(engine: &Engine) -> std::io::Result<()> {
    let weak = engine.weak();
    thread::Builder::new().name("guest-epoch".to_owned()).spawn(move || {
        loop {
            thread::sleep(TICK);
            match weak.upgrade() {
                Some(engine) => engine.increment_epoch(),
                None => return,
            }
        }
    })?;
    Ok(())
}
