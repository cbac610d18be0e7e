//! Builds answers: the rows that replace those of the input.

const std = @import("std");
const Allocator = std.mem.Allocator;
const Batch = @import("batch.zig").Batch;
const Call = @import("transformer.zig").Call;
const ExactInteger = @import("batch.zig").ExactInteger;
const Meter = @import("batch.zig").Meter;
const Resource = @import("batch.zig").Resource;
const Row = @import("batch.zig").Row;
const exact_limit = @import("batch.zig").exact_limit;
const no_origin = @import("batch.zig").no_origin;

/// Any rows, as columns with one entry per row. The host gets new meters and resources with them.
pub const Answer = struct {
    origin: []const u32 = &.{},
    meter: []const u32 = &.{},
    resource: []const u32 = &.{},
    time: []const u64 = &.{},
    volume: []const f64 = &.{},
    exact: []const ExactInteger = &.{},
};

/// Rows with the resources and times of their origins, which are equal or ascend.
pub const Derived = struct {
    origin: []const u32 = &.{},
    meter: []const u32 = &.{},
    volume: []const f64 = &.{},
    exact: []const ExactInteger = &.{},
};

/// What replaces a batch.
pub const Outcome = union(enum) {
    /// All rows, as they are.
    unchanged,
    /// These rows, as they are: row numbers, ascending. All others are dropped.
    keep: []const u32,
    /// These rows, computed from rows of the input.
    derive: Derived,
    /// These rows.
    replace: Answer,
};

/// Builds an answer, row by row; without a batch the answer to a flush.
///
/// The transformer's own meters and resources are numbered by content: the same content has the
/// same number, and the host gets the entry once. A number is valid until the call ends. While all
/// rows are computed from input rows, in order, there are no columns for resource and time: the
/// host takes them from the origins.
pub const AnswerBuilder = struct {
    call: *Call,
    batch: ?*const Batch,
    rows: std.MultiArrayList(Line) = .empty,
    /// Null as long as the rows can be derived.
    places: ?std.MultiArrayList(Place),
    exact: std.ArrayList(ExactInteger) = .empty,

    const Line = struct { origin: u32, meter: u32, volume: f64 };
    const Place = struct { resource: u32, time: u64 };

    pub fn init(call: *Call, batch: ?*const Batch) Allocator.Error!AnswerBuilder {
        var builder: AnswerBuilder = .{ .call = call, .batch = batch, .places = if (batch == null) .empty else null };
        if (batch) |given| try builder.rows.ensureTotalCapacity(call.arena, given.volume.len);
        return builder;
    }

    /// The number of a meter of the transformer's own. A new one is copied.
    pub fn meter(self: *AnswerBuilder, wanted: Meter) Allocator.Error!u32 {
        return self.call.dictionary.own.meter(wanted);
    }

    /// The number of a resource of the transformer's own. A new one is copied.
    pub fn resource(self: *AnswerBuilder, wanted: Resource) Allocator.Error!u32 {
        return self.call.dictionary.own.resource(wanted);
    }

    /// Adds a row of the input unchanged.
    pub fn keep(self: *AnswerBuilder, row: Row) Allocator.Error!void {
        try self.derive(row, row.meter_number, row.volume);
    }

    /// Adds a row computed from an input row: same resource and time, another meter or value.
    pub fn derive(self: *AnswerBuilder, row: Row, to: u32, volume: f64) Allocator.Error!void {
        const origins = self.rows.items(.origin);
        if (self.places == null and origins.len > 0 and row.number < origins[origins.len - 1]) try self.place();
        try self.add(
            .{ .origin = row.number, .meter = to, .volume = volume },
            .{ .resource = row.resource_number, .time = row.time },
        );
    }

    /// The same with an exact integer.
    pub fn deriveInteger(self: *AnswerBuilder, row: Row, to: u32, value: i64) Allocator.Error!void {
        try self.derive(row, to, @floatFromInt(value));
        try self.addExact(value);
    }

    /// Adds a row that is not computed from an input row.
    pub fn create(self: *AnswerBuilder, of: u32, about: u32, time: u64, volume: f64) Allocator.Error!void {
        if (self.places == null) try self.place();
        try self.add(.{ .origin = no_origin, .meter = of, .volume = volume }, .{ .resource = about, .time = time });
    }

    /// The same with an exact integer.
    pub fn createInteger(self: *AnswerBuilder, of: u32, about: u32, time: u64, value: i64) Allocator.Error!void {
        try self.create(of, about, time, @floatFromInt(value));
        try self.addExact(value);
    }

    fn add(self: *AnswerBuilder, line: Line, at: Place) Allocator.Error!void {
        try self.rows.append(self.call.arena, line);
        if (self.places) |*places| try places.append(self.call.arena, at);
    }

    /// Adds the columns for resource and time, and fills them from the origins of the rows so far.
    fn place(self: *AnswerBuilder) Allocator.Error!void {
        var places: std.MultiArrayList(Place) = .empty;
        try places.ensureTotalCapacity(self.call.arena, self.rows.capacity);
        for (self.rows.items(.origin)) |origin| {
            places.appendAssumeCapacity(.{
                .resource = self.batch.?.resource[origin],
                .time = self.batch.?.time[origin],
            });
        }
        self.places = places;
    }

    /// Stores the exact value of the last row, if an `f64` cannot hold it.
    fn addExact(self: *AnswerBuilder, value: i64) Allocator.Error!void {
        if (value > -exact_limit and value < exact_limit) return;
        try self.exact.append(self.call.arena, .{ .row = @intCast(self.rows.len - 1), .value = value });
    }

    /// Finishes the answer to a batch.
    pub fn outcome(self: *const AnswerBuilder) Outcome {
        if (self.places != null) return .{ .replace = self.finish() };
        const rows = self.rows.slice();
        return .{ .derive = .{
            .origin = rows.items(.origin),
            .meter = rows.items(.meter),
            .volume = rows.items(.volume),
            .exact = self.exact.items,
        } };
    }

    /// Finishes the answer to a flush.
    pub fn finish(self: *const AnswerBuilder) Answer {
        const rows = self.rows.slice();
        const places = self.places.?.slice();
        return .{
            .origin = rows.items(.origin),
            .meter = rows.items(.meter),
            .resource = places.items(.resource),
            .time = places.items(.time),
            .volume = rows.items(.volume),
            .exact = self.exact.items,
        };
    }
};
