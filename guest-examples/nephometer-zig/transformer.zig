//! The interface of a transformer. It is a struct with
//!
//!     pub const description: Description = ...;
//!     pub fn init(gpa: Allocator, options: *const OptionReader) !Self
//!     pub fn deinit(self: *Self) void
//!     pub fn settings(self: *const Self) Settings
//!     pub fn transform(self: *Self, call: *Call, batch: *const Batch) !Outcome
//!
//! and, with state,
//!
//!     pub fn flush(self: *Self, call: *Call, now: u64) !?Answer
//!     pub fn save(self: *const Self, call: *Call) ![]const u8
//!     pub fn restore(self: *Self, call: *Call, version: u32, state: []const u8) !void
//!
//! `init` returns the error of `OptionReader.check` if options are wrong, and copies what it keeps.
//! A batch and the arena of a call are invalid after the call. Meters and resources are valid until
//! the host forgets them; keep their names and ids, never their numbers. `flush` is called after
//! all batches of a polling cycle, and its `now` is the only clock. Errors other than those of
//! `Call` end the instance; their names are logged.

const std = @import("std");
const Allocator = std.mem.Allocator;
const Dictionary = @import("dictionary.zig").Dictionary;

/// A further fact, as a pair of name and value.
pub const Fact = struct { []const u8, []const u8 };

/// What a component reports about itself, whatever its options are.
pub const Description = struct {
    name: []const u8,
    version: []const u8,
    summary: []const u8,
    /// JSON Schema (2020-12) of the options; empty to accept any.
    options_schema: []const u8 = "",
    /// Version of the format that `save` writes; 0 without state.
    state_version: u32 = 0,
    facts: []const Fact = &.{},
};

/// What a configured component requires: all meters and no metadata by default.
pub const Settings = struct {
    /// Globs of meter names; rows of other meters bypass the component.
    meters: []const []const u8 = &.{},
    /// Paths into the metadata.
    metadata: []const []const u8 = &.{},
    facts: []const Fact = &.{},
};

/// One call from the host: its memory, the meters and resources of the instance, and the reason of
/// a failure.
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

    /// The state cannot be saved or restored.
    pub fn wrongState(self: *Call, comptime format: []const u8, args: anytype) error{ WrongState, OutOfMemory } {
        self.reason = std.fmt.allocPrint(self.arena, format, args) catch |fault| return fault;
        return error.WrongState;
    }
};
