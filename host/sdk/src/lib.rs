//! The SDK for component authors: creates projects, builds components, runs fixtures and benchmarks.
//!
//! Embeds the templates, the helper libraries and the contract, so that an author needs only this
//! program and the tools of one language. Knows the component engine, but not the agent.

mod bindings;
mod build;
mod embedded;
mod encode;
mod error;
mod files;
mod fixture;
mod fixture_runner;
mod language;
mod measure;
mod project;
mod tools;
mod typescript;

pub use build::{Build, build, world_of};
pub use error::SdkError;
pub use fixture::{Fixture, FixtureError};
pub use fixture_runner::{FixtureRun, FixtureRunner};
pub use language::{Kind, Language};
pub use measure::{Measurement, measure};
pub use project::create;
