//! What a transformer is made of. It is a struct with
//!
//!     pub const description: Description = ...;
//!     pub fn init(gpa: Allocator, options: *const OptionReader) !Self
//!     pub fn deinit(self: *Self) void
//!     pub fn settings(self: *const Self) Settings
//!     pub fn transform(self: *Self, call: *Call, batch: *const Batch) !Outcome
//!
//! and, if it remembers,
//!
//!     pub fn flush(self: *Self, call: *Call, now: u64) !?Answer
//!     pub fn save(self: *const Self, call: *Call) ![]const u8
//!     pub fn restore(self: *Self, call: *Call, version: u32, state: []const u8) !void
//!
//! `init` gives back what `OptionReader.check` does if options are wrong, and copies what it keeps.
//! A batch, and all that a call's arena holds, is gone after the call. Meters and resources stay
//! until the host forgets them; keep their names and ids, never their numbers. `flush` comes after
//! all batches of a polling cycle, and its `now` is the only clock there is. Errors other than
//! those of `Call` end the instance; their names are logged.

const std = @import("std");
const Allocator = std.mem.Allocator;
const Dictionary = @import("dictionary.zig").Dictionary;

/// Anything else worth knowing, as a pair of texts.
pub const Fact = struct { []const u8, []const u8 };

/// What a component tells about itself, whatever its options are.
pub const Description = struct {
    name: []const u8,
    version: []const u8,
    summary: []const u8,
    /// JSON Schema (2020-12) of the options; empty if anything goes.
    options_schema: []const u8 = "",
    /// Version of the format that `save` writes; 0 if it keeps no state.
    state_version: u32 = 0,
    facts: []const Fact = &.{},
};

/// What a configured component wants to be given: all meters and no metadata, if left out.
pub const Settings = struct {
    /// Globs of meter names; rows of others pass by, uncopied.
    meters: []const []const u8 = &.{},
    /// Paths into the metadata.
    metadata: []const []const u8 = &.{},
    facts: []const Fact = &.{},
};

/// One call from the host: memory that lasts as long as it, the meters and resources of the
/// instance, and the reason why it fails.
pub const Call = struct {
    arena: Allocator,
    dictionary: *Dictionary,
    reason: []const u8 = "",

    /// This batch cannot be transformed; the next one may.
    pub fn rejected(self: *Call, comptime format: []const u8, args: anytype) error{ Rejected, OutOfMemory } {
        self.reason = std.fmt.allocPrint(self.arena, format, args) catch |fault| return fault;
        return error.Rejected;
    }

    /// No batch can be transformed until an operator acts.
    pub fn broken(self: *Call, comptime format: []const u8, args: anytype) error{ Broken, OutOfMemory } {
        self.reason = std.fmt.allocPrint(self.arena, format, args) catch |fault| return fault;
        return error.Broken;
    }

    /// The state cannot be saved, or is none that this component reads.
    pub fn wrongState(self: *Call, comptime format: []const u8, args: anytype) error{ WrongState, OutOfMemory } {
        self.reason = std.fmt.allocPrint(self.arena, format, args) catch |fault| return fault;
        return error.WrongState;
    }
};
