//! Batches: columns of numbers, with the meters and resources in the dictionary.

const std = @import("std");
const Allocator = std.mem.Allocator;
const Dictionary = @import("dictionary.zig").Dictionary;
const json = @import("json.zig");

/// The origin of a row that is not computed from an input row.
pub const no_origin: u32 = 0xffffffff;

/// Every integer up to this one is exact as an `f64`.
pub const exact_limit = 1 << 53;

/// How the values of a meter relate to each other over time, in the order of the contract.
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

/// A metered resource with its owner.
pub const Resource = struct {
    id: []const u8,
    source: []const u8,
    project_id: ?[]const u8 = null,
    user_id: ?[]const u8 = null,
    /// A JSON object as text.
    metadata_text: []const u8 = "{}",

    /// Parses the metadata, in memory of the arena. Parsing is expensive, so keep the result in a
    /// `Cache`.
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

    /// Whether all fields are equal; the metadata is compared as text.
    pub fn eql(self: Resource, other: Resource) bool {
        return std.mem.eql(u8, self.id, other.id) and std.mem.eql(u8, self.source, other.source) and
            same(self.project_id, other.project_id) and same(self.user_id, other.user_id) and
            std.mem.eql(u8, self.metadata_text, other.metadata_text);
    }
};

fn same(one: ?[]const u8, other: ?[]const u8) bool {
    if (one == null or other == null) return one == null and other == null;
    return std.mem.eql(u8, one.?, other.?);
}

/// The exact value of a row with an integer of 2^53 or more.
pub const ExactInteger = struct { row: u32, value: i64 };

/// Samples of one polling cycle. The columns meter, resource, time, monotonic and volume have one
/// entry per row.
pub const Batch = struct {
    dictionary: *const Dictionary,
    meter: []const u32,
    resource: []const u32,
    time: []const u64,
    monotonic: []const u64,
    volume: []const f64,
    /// By ascending row; usually empty.
    exact: []const ExactInteger = &.{},
    /// Ids of resources that were removed.
    removed: []const []const u8 = &.{},

    /// The rows, in order.
    pub fn rows(self: *const Batch) Rows {
        return .{ .batch = self };
    }
};

/// One row of a batch, with its meter and resource.
pub const Row = struct {
    /// The index in the batch: the origin of rows computed from this one.
    number: u32,
    /// Valid within one instance, and reused for another meter once it is forgotten.
    meter_number: u32,
    /// Likewise.
    resource_number: u32,
    meter: *const Meter,
    resource: *const Resource,
    /// The unique serial of the meter, which a `Cache` compares.
    meter_serial: u64,
    /// Likewise.
    resource_serial: u64,
    /// When the value was read, in nanoseconds since the epoch.
    time: u64,
    /// Nanoseconds of a clock that never goes back; null if unknown.
    monotonic: ?u64,
    /// The value, in the meter's unit.
    volume: f64,
    /// The exact value of an integer of 2^53 or more; see `integer`.
    exact: ?i64,

    /// The exact value, if it is a whole number.
    pub fn integer(self: Row) ?i64 {
        if (self.exact) |value| return value;
        if (!(@abs(self.volume) < exact_limit)) return null;
        const whole: i64 = @trunc(self.volume);
        return if (@as(f64, @floatFromInt(whole)) == self.volume) whole else null;
    }
};

pub const Rows = struct {
    batch: *const Batch,
    at: u32 = 0,
    exact_at: usize = 0,

    pub fn next(self: *Rows) ?Row {
        const batch = self.batch;
        const at = self.at;
        if (at >= batch.volume.len) return null;
        self.at += 1;
        const meter = batch.dictionary.meters.get(batch.meter[at]);
        const resource = batch.dictionary.resources.get(batch.resource[at]);
        return .{
            .number = at,
            .meter_number = batch.meter[at],
            .resource_number = batch.resource[at],
            .meter = &meter.value,
            .resource = &resource.value,
            .meter_serial = meter.serial,
            .resource_serial = resource.serial,
            .time = batch.time[at],
            .monotonic = if (batch.monotonic[at] == 0) null else batch.monotonic[at],
            .volume = batch.volume[at],
            .exact = self.exactOf(at),
        };
    }

    fn exactOf(self: *Rows, row: u32) ?i64 {
        const exact = self.batch.exact;
        if (self.exact_at == exact.len or exact[self.exact_at].row != row) return null;
        defer self.exact_at += 1;
        return exact[self.exact_at].value;
    }
};
