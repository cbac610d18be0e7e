//! Components from registries: pulls and pushes them as OCI artifacts, keeps what was pulled, makes
//! and verifies signatures.
//!
//! Given: a reference, how its registry is reached, and the keys that count. Gives back: a file whose
//! content and signature were verified. A registry is not trusted: its answers are bounded, every
//! digest is checked before anything is written, and nothing is compiled here.
//!
//! `oci-client` is not used: it reads manifests, tokens and errors of any size, follows redirects
//! that its caller cannot bound, and brings reqwest with 28 further packages for these few requests.

mod artifact;
mod auth;
mod body;
mod connect;
mod error;
mod pulled;
mod registry;
mod request;
mod signature;

pub use error::RegistryError;
pub use pulled::{PulledComponent, PulledStore};
pub use registry::{FetchedComponent, PushedComponent, Registries};
pub use signature::{ComponentSignature, SignatureError, Signer, verify};
