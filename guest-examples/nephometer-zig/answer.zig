//! Answers: the rows that take the place of the input's.

const std = @import("std");
const Allocator = std.mem.Allocator;
const Batch = @import("batch.zig").Batch;
const Meter = @import("batch.zig").Meter;
const Resource = @import("batch.zig").Resource;
const Row = @import("batch.zig").Row;
const no_origin = @import("batch.zig").no_origin;

/// New dictionary entries, numbered on from the input's, and columns with one entry per row.
pub const Answer = struct {
    meters: []const Meter = &.{},
    resources: []const Resource = &.{},
    origin: []const u32 = &.{},
    meter: []const u32 = &.{},
    resource: []const u32 = &.{},
    time: []const u64 = &.{},
    volume: []const f64 = &.{},
};

/// What becomes of a batch.
pub const Outcome = union(enum) {
    /// All rows pass as they are.
    unchanged,
    /// These rows pass as they are, the others are absorbed: row numbers, ascending.
    keep: []const u32,
    /// These rows take the place of the input's.
    replace: Answer,
};

/// Makes an answer, row by row; without a batch the answer to a flush.
///
/// New meters and resources are numbered by their content: asking for the same one again gives the
/// same number, and one that the input has already gives the input's. Everything is kept in the
/// arena; texts are not copied.
pub const AnswerBuilder = struct {
    arena: Allocator,
    meters: Entries(Meter),
    resources: Entries(Resource),
    rows: std.MultiArrayList(Line) = .empty,

    const Line = struct { origin: u32, meter: u32, resource: u32, time: u64, volume: f64 };

    pub fn init(arena: Allocator, batch: ?*const Batch) Allocator.Error!AnswerBuilder {
        var builder: AnswerBuilder = .{
            .arena = arena,
            .meters = .{ .given = if (batch) |given| given.meters else &.{} },
            .resources = .{ .given = if (batch) |given| given.resources else &.{} },
        };
        if (batch) |given| try builder.rows.ensureTotalCapacity(arena, given.volume.len);
        return builder;
    }

    /// The number of a meter.
    pub fn meter(self: *AnswerBuilder, wanted: Meter) Allocator.Error!u32 {
        return self.meters.number(self.arena, wanted);
    }

    /// The number of a resource.
    pub fn resource(self: *AnswerBuilder, wanted: Resource) Allocator.Error!u32 {
        return self.resources.number(self.arena, wanted);
    }

    /// Adds a row that passes as it is.
    pub fn keep(self: *AnswerBuilder, row: Row) Allocator.Error!void {
        try self.add(row.number, row.meter_index, row.resource_index, row.time, row.volume);
    }

    /// Adds a row made of another: same resource and time, another meter and value.
    pub fn derive(self: *AnswerBuilder, row: Row, to: u32, volume: f64) Allocator.Error!void {
        try self.add(row.number, to, row.resource_index, row.time, volume);
    }

    /// Adds a row that comes from no input row.
    pub fn create(self: *AnswerBuilder, of: u32, about: u32, time: u64, volume: f64) Allocator.Error!void {
        try self.add(no_origin, of, about, time, volume);
    }

    fn add(self: *AnswerBuilder, origin: u32, of: u32, about: u32, time: u64, volume: f64) Allocator.Error!void {
        const line: Line = .{ .origin = origin, .meter = of, .resource = about, .time = time, .volume = volume };
        try self.rows.append(self.arena, line);
    }

    /// The answer.
    pub fn finish(self: *const AnswerBuilder) Answer {
        const rows = self.rows.slice();
        return .{
            .meters = self.meters.new.items,
            .resources = self.resources.new.items,
            .origin = rows.items(.origin),
            .meter = rows.items(.meter),
            .resource = rows.items(.resource),
            .time = rows.items(.time),
            .volume = rows.items(.volume),
        };
    }
};

fn Entries(comptime T: type) type {
    return struct {
        given: []const T,
        new: std.ArrayList(T) = .empty,
        numbers: ?Numbers = null,

        const Self = @This();
        const Numbers = std.array_hash_map.Custom(T, u32, Content, true);

        fn number(self: *Self, arena: Allocator, wanted: T) Allocator.Error!u32 {
            const content: Content = .{ .arena = arena };
            if (self.numbers == null) {
                self.numbers = .empty;
                for (self.given, 0..) |one, at| {
                    const entry = try self.numbers.?.getOrPutContext(arena, one, content);
                    // The first of equal entries has the say.
                    if (!entry.found_existing) entry.value_ptr.* = @intCast(at);
                }
            }
            const entry = try self.numbers.?.getOrPutContext(arena, wanted, content);
            if (!entry.found_existing) {
                entry.value_ptr.* = @intCast(self.given.len + self.new.items.len);
                try self.new.append(arena, wanted);
            }
            return entry.value_ptr.*;
        }
    };
}

/// By what tells most of them apart; equality looks at the rest too.
const Content = struct {
    arena: Allocator,

    pub fn hash(_: Content, one: anytype) u32 {
        var hasher: std.hash.Wyhash = .init(0);
        if (@TypeOf(one) == Meter) {
            hasher.update(one.name);
        } else {
            hasher.update(one.id);
            hasher.update(one.project_id orelse "");
        }
        return @truncate(hasher.final());
    }

    pub fn eql(self: Content, one: anytype, other: @TypeOf(one), _: usize) bool {
        return if (@TypeOf(one) == Meter) one.eql(other) else one.eql(self.arena, other);
    }
};
