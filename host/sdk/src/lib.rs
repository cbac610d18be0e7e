//! Projects of authors: a name and a language become a folder that builds, and a folder becomes a
//! component.
//!
//! The templates, the helper libraries and the contract are inside the program, so that an author
//! needs this program and the tools of one language.

mod bindings;
mod build;
mod embedded;
mod encode;
mod error;
mod files;
mod language;
mod project;
mod tools;

pub use build::{Build, build};
pub use error::AuthorError;
pub use language::{Kind, Language};
pub use project::create;
