//! Batches: columns of numbers over a dictionary of meters and resources.

const std = @import("std");
const Allocator = std.mem.Allocator;
const json = @import("json.zig");

/// The origin of a row that comes from no input row.
pub const no_origin: u32 = 0xffffffff;

/// What a meter's numbers mean over time, in the order of the contract.
pub const MeterType = enum { gauge, delta, cumulative };

/// What is measured.
pub const Meter = struct {
    name: []const u8,
    unit: []const u8,
    type: MeterType,

    pub fn eql(self: Meter, other: Meter) bool {
        return self.type == other.type and std.mem.eql(u8, self.name, other.name) and
            std.mem.eql(u8, self.unit, other.unit);
    }
};

/// A metered thing with its owner.
pub const Resource = struct {
    id: []const u8,
    source: []const u8,
    project_id: ?[]const u8 = null,
    user_id: ?[]const u8 = null,
    /// JSON text of an object.
    metadata_text: []const u8 = "{}",

    /// The metadata as values, in memory of the arena.
    pub fn metadata(self: Resource, arena: Allocator) !std.json.ObjectMap {
        return switch (try json.parse(arena, self.metadata_text)) {
            .object => |object| object,
            else => error.SyntaxError,
        };
    }

    /// The same resource with other metadata: anything that becomes a JSON object.
    pub fn withMetadata(self: Resource, arena: Allocator, values: anytype) Allocator.Error!Resource {
        var other = self;
        other.metadata_text = try std.json.Stringify.valueAlloc(arena, values, .{});
        return other;
    }

    /// Whether owner and metadata are the same, however the metadata is written. The arena is for reading it.
    pub fn eql(self: Resource, arena: Allocator, other: Resource) bool {
        const same_owner = std.mem.eql(u8, self.id, other.id) and std.mem.eql(u8, self.source, other.source) and
            same(self.project_id, other.project_id) and same(self.user_id, other.user_id);
        if (!same_owner) return false;
        if (std.mem.eql(u8, self.metadata_text, other.metadata_text)) return true;
        const one = json.parse(arena, self.metadata_text) catch return false;
        return json.eql(one, json.parse(arena, other.metadata_text) catch return false);
    }
};

fn same(one: ?[]const u8, other: ?[]const u8) bool {
    if (one == null or other == null) return one == null and other == null;
    return std.mem.eql(u8, one.?, other.?);
}

/// The samples of one tick. The columns meter, resource, time, monotonic and volume have one entry per row.
pub const Batch = struct {
    meters: []const Meter,
    resources: []const Resource,
    meter: []const u32,
    resource: []const u32,
    time: []const u64,
    monotonic: []const u64,
    volume: []const f64,
    gone: []const []const u8,

    /// The rows, in order.
    pub fn rows(self: *const Batch) Rows {
        return .{ .batch = self };
    }
};

/// One row of a batch, its dictionary entries looked up.
pub const Row = struct {
    /// Its number in the batch: the origin of what is made of it.
    number: u32,
    meter_index: u32,
    resource_index: u32,
    meter: *const Meter,
    resource: *const Resource,
    /// When the value was true, in nanoseconds since the epoch.
    time: u64,
    /// Nanoseconds of a clock that never goes back; null where it is not known.
    monotonic: ?u64,
    /// The value, in the meter's unit.
    volume: f64,
};

pub const Rows = struct {
    batch: *const Batch,
    at: u32 = 0,

    pub fn next(self: *Rows) ?Row {
        const batch = self.batch;
        const at = self.at;
        if (at >= batch.volume.len) return null;
        self.at += 1;
        return .{
            .number = at,
            .meter_index = batch.meter[at],
            .resource_index = batch.resource[at],
            .meter = &batch.meters[batch.meter[at]],
            .resource = &batch.resources[batch.resource[at]],
            .time = batch.time[at],
            .monotonic = if (batch.monotonic[at] == 0) null else batch.monotonic[at],
            .volume = batch.volume[at],
        };
    }
};
