//! Tools for authors of components: a name and a language become a project, a project becomes a
//! component, fixtures test it, and a benchmark says what it costs. Must not know the agent.
//!
//! The templates, the helper libraries and the contract are inside the program, so that an author
//! needs this program and the tools of one language.

mod bindings;
mod build;
mod embedded;
mod encode;
mod error;
mod files;
mod fixture;
mod language;
mod measure;
mod project;
mod tools;
mod trial;

pub use build::{Build, build};
pub use error::SdkError;
pub use fixture::{Fixture, FixtureError};
pub use language::{Kind, Language};
pub use measure::{Measured, measure};
pub use project::create;
pub use trial::{TestBed, Trial};
