//! The programs as services: what they report to a service manager, their units, manual pages and
//! completions. `scripts/package-test` tries the rest in a booted container.

mod apparmor;
mod manual;
mod notify;
mod unit;
