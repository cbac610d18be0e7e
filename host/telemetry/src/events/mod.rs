//! Named events: one function a happening, one file a subject. Lower case, no full stop, fields
//! instead of formatting; one line per change of state, not per try.

pub mod component;
pub mod control;
pub mod hypervisor;
pub mod outbound;
pub mod pipeline;
pub mod poll;
pub mod process;
pub mod publish;
pub mod reload;
pub mod store;
