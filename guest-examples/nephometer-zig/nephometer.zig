//! Helper library for transformers in Zig.
//!
//! Write a struct as `transformer.zig` describes it, and export it from a file of its own with
//! `exportStateful` or `exportStateless`. The rest makes the columns easy to use:
//!
//! * `Batch.rows` iterates over the rows of a batch and looks up their meters and resources;
//! * `Cache` keeps a value per meter or resource, for all of its rows;
//! * `AnswerBuilder` builds the answer and numbers new meters and resources by content;
//! * `OptionReader` reads the options and collects all errors, each with its place;
//! * `Complaint` writes one log line for all rows of a batch with the same problem;
//! * `log` writes to the log of the component.
//!
//! Everything except the export works natively, so components are tested with `zig test` and
//! `testing`, without a host. A component has no files and no clock.

pub const Answer = @import("answer.zig").Answer;
pub const AnswerBuilder = @import("answer.zig").AnswerBuilder;
pub const Derived = @import("answer.zig").Derived;
pub const Outcome = @import("answer.zig").Outcome;
pub const Batch = @import("batch.zig").Batch;
pub const ExactInteger = @import("batch.zig").ExactInteger;
pub const Meter = @import("batch.zig").Meter;
pub const MeterType = @import("batch.zig").MeterType;
pub const Resource = @import("batch.zig").Resource;
pub const Row = @import("batch.zig").Row;
pub const no_origin = @import("batch.zig").no_origin;
pub const Cache = @import("dictionary.zig").Cache;
pub const Complaint = @import("complaint.zig").Complaint;
pub const OptionError = @import("options.zig").OptionError;
pub const OptionReader = @import("options.zig").OptionReader;
pub const Call = @import("transformer.zig").Call;
pub const Description = @import("transformer.zig").Description;
pub const Fact = @import("transformer.zig").Fact;
pub const Settings = @import("transformer.zig").Settings;

pub const json = @import("json.zig");
pub const log = @import("log.zig");
pub const testing = @import("testing.zig");

pub const exportStateful = @import("bridge.zig").exportStateful;
pub const exportStateless = @import("bridge.zig").exportStateless;
/// Logs a panic before it ends the instance. Put `pub const panic = nephometer.panic;` into the
/// root file of a component.
pub const panic = @import("bridge.zig").panic;
