//! The collector: takes samples from queues, sockets and files, keeps each of them once, and answers queries.
//!
//! `ingest` takes messages and acknowledges them after their commit, `store` keeps them behind two
//! traits, `api` answers Ceilometer's v2 API, `cli` joins them.

mod api;
mod audit;
mod cli;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod ingest;
mod message;
mod parquet_file;
mod python;
mod sample;
mod signature;
mod store;

/// Runs the command that the arguments name.
pub fn main() -> std::process::ExitCode {
    cli::main()
}
