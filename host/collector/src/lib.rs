//! The collector: takes samples from queues and files, keeps them, and answers queries.

mod message;
mod sample;
mod signature;
mod store;
