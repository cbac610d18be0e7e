//! Batches from samples, and samples from outcomes, for tests without a host.
//!
//! Samples are JSON objects in the keys that `nephometer component run` reads and prints.

const std = @import("std");
const Allocator = std.mem.Allocator;
const Value = std.json.Value;
const Answer = @import("answer.zig").Answer;
const Outcome = @import("answer.zig").Outcome;
const Batch = @import("batch.zig").Batch;
const Meter = @import("batch.zig").Meter;
const MeterType = @import("batch.zig").MeterType;
const Resource = @import("batch.zig").Resource;
const no_origin = @import("batch.zig").no_origin;
const json = @import("json.zig");
const log = @import("log.zig");

/// One sample that came out.
pub const Sample = struct {
    name: []const u8,
    unit: []const u8,
    type: []const u8,
    resource_id: []const u8,
    source: []const u8,
    project_id: ?[]const u8,
    user_id: ?[]const u8,
    resource_metadata: Value,
    /// In nanoseconds.
    time: u64,
    volume: f64,
    /// The input row that it is or comes from.
    origin: ?u32,

    /// A member as JSON, for comparisons by key.
    pub fn get(self: Sample, key: []const u8) ?Value {
        inline for (comptime std.meta.fieldNames(Sample)) |name| {
            if (std.mem.eql(u8, name, key)) return valueOf(@field(self, name));
        }
        return null;
    }

    fn valueOf(member: anytype) Value {
        return switch (@TypeOf(member)) {
            Value => member,
            []const u8 => .{ .string = member },
            ?[]const u8 => if (member) |text| .{ .string = text } else .null,
            ?u32 => if (member) |number| .{ .integer = number } else .null,
            u64 => .{ .integer = @intCast(member) },
            f64 => .{ .float = member },
            else => comptime unreachable,
        };
    }
};

/// A batch with one row per sample.
pub fn batchOf(arena: Allocator, samples: []const Value) !Batch {
    var meters: std.ArrayList(Meter) = .empty;
    var resources: std.ArrayList(Resource) = .empty;
    const meter = try arena.alloc(u32, samples.len);
    const resource = try arena.alloc(u32, samples.len);
    const time = try arena.alloc(u64, samples.len);
    const monotonic = try arena.alloc(u64, samples.len);
    const volume = try arena.alloc(f64, samples.len);
    for (samples, 0..) |sample, row| {
        const kind = std.meta.stringToEnum(MeterType, textOf(sample, "type").?).?;
        const of: Meter = .{ .name = textOf(sample, "name").?, .unit = textOf(sample, "unit").?, .type = kind };
        var about: Resource = .{
            .id = textOf(sample, "resource_id").?,
            .source = textOf(sample, "source") orelse "openstack",
            .project_id = textOf(sample, "project_id"),
            .user_id = textOf(sample, "user_id"),
        };
        if (sample.object.get("resource_metadata")) |values| about = try about.withMetadata(arena, values);
        meter[row] = for (meters.items, 0..) |one, at| {
            if (one.eql(of)) break @intCast(at);
        } else try added(arena, &meters, of);
        resource[row] = for (resources.items, 0..) |one, at| {
            if (one.eql(arena, about)) break @intCast(at);
        } else try added(arena, &resources, about);
        time[row] = try nanoseconds(textOf(sample, "timestamp").?);
        monotonic[row] = 0;
        volume[row] = json.number(sample.object.get("volume").?).?;
    }
    return .{
        .meters = meters.items,
        .resources = resources.items,
        .meter = meter,
        .resource = resource,
        .time = time,
        .monotonic = monotonic,
        .volume = volume,
        .gone = &.{},
    };
}

fn added(arena: Allocator, entries: anytype, one: anytype) Allocator.Error!u32 {
    try entries.append(arena, one);
    return @intCast(entries.items.len - 1);
}

fn textOf(sample: Value, key: []const u8) ?[]const u8 {
    return switch (sample.object.get(key) orelse .null) {
        .string => |text| text,
        else => null,
    };
}

/// The samples that the outcome of a batch stands for.
pub fn samplesOf(arena: Allocator, outcome: Outcome, batch: *const Batch) ![]const Sample {
    var rows: std.ArrayList(u32) = .empty;
    switch (outcome) {
        .replace => |answer| return samplesOfAnswer(arena, answer, batch),
        .keep => |kept| try rows.appendSlice(arena, kept),
        .unchanged => for (0..batch.volume.len) |row| try rows.append(arena, @intCast(row)),
    }
    return samplesOfAnswer(arena, .{
        .origin = rows.items,
        .meter = try picked(u32, arena, batch.meter, rows.items),
        .resource = try picked(u32, arena, batch.resource, rows.items),
        .time = try picked(u64, arena, batch.time, rows.items),
        .volume = try picked(f64, arena, batch.volume, rows.items),
    }, batch);
}

fn picked(comptime T: type, arena: Allocator, column: []const T, rows: []const u32) Allocator.Error![]const T {
    const some = try arena.alloc(T, rows.len);
    for (some, rows) |*one, row| one.* = column[row];
    return some;
}

/// The samples that an answer stands for; null is none, as the answer to a flush.
pub fn samplesOfAnswer(arena: Allocator, given: ?Answer, batch: ?*const Batch) ![]const Sample {
    const answer = given orelse return &.{};
    const meters = try std.mem.concat(arena, Meter, &.{ if (batch) |one| one.meters else &.{}, answer.meters });
    const resources = try std.mem.concat(arena, Resource, &.{ if (batch) |one| one.resources else &.{}, answer.resources });
    const rows = answer.origin.len;
    for ([_]usize{ answer.meter.len, answer.resource.len, answer.time.len, answer.volume.len }) |length| {
        if (length != rows) return error.ColumnsOfUnequalLength;
    }
    const samples = try arena.alloc(Sample, rows);
    for (samples, 0..) |*sample, row| {
        const meter = meters[answer.meter[row]];
        const resource = resources[answer.resource[row]];
        sample.* = .{
            .name = meter.name,
            .unit = meter.unit,
            .type = @tagName(meter.type),
            .resource_id = resource.id,
            .source = resource.source,
            .project_id = resource.project_id,
            .user_id = resource.user_id,
            .resource_metadata = .{ .object = try resource.metadata(arena) },
            .time = answer.time[row],
            .volume = answer.volume[row],
            .origin = if (answer.origin[row] == no_origin) null else answer.origin[row],
        };
    }
    return samples;
}

/// Nanoseconds since the epoch of an ISO 8601 timestamp; UTC if it names no offset.
pub fn nanoseconds(timestamp: []const u8) !u64 {
    if (timestamp.len < 19) return error.NoTimestamp;
    const year = try std.fmt.parseInt(i64, timestamp[0..4], 10);
    const month = try std.fmt.parseInt(usize, timestamp[5..7], 10);
    const day = try std.fmt.parseInt(i64, timestamp[8..10], 10);
    if (month < 1 or month > 12) return error.NoTimestamp;
    // Leap days of all years before, and of this one from March on.
    const years = if (month > 2) year else year - 1;
    const leap_days = @divFloor(years, 4) - @divFloor(years, 100) + @divFloor(years, 400) - 477;
    const before = [_]i64{ 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334 };
    const days = (year - 1970) * 365 + leap_days + before[month - 1] + day - 1;
    var seconds = days * 86_400 + try ofDay(timestamp[11..16]) + try std.fmt.parseInt(i64, timestamp[17..19], 10);

    var at: usize = 19;
    var fraction: i64 = 0;
    if (at < timestamp.len and timestamp[at] == '.') {
        var unit: i64 = 100_000_000;
        at += 1;
        while (at < timestamp.len and std.ascii.isDigit(timestamp[at])) : (at += 1) {
            fraction += unit * (timestamp[at] - '0');
            unit = @divTrunc(unit, 10);
        }
    }
    const offset = timestamp[at..];
    if (offset.len == 6) {
        seconds -= try ofDay(offset[1..]) * @as(i64, if (offset[0] == '-') -1 else 1);
    } else if (offset.len > 0 and !std.mem.eql(u8, offset, "Z")) return error.NoTimestamp;
    return @intCast(seconds * std.time.ns_per_s + fraction);
}

/// Seconds of hours and minutes.
fn ofDay(text: []const u8) !i64 {
    return try std.fmt.parseInt(i64, text[0..2], 10) * 3600 + try std.fmt.parseInt(i64, text[3..5], 10) * 60;
}

var lines: std.ArrayList([]const u8) = .empty;
var lines_arena: Allocator = undefined;

/// From now on, lines of the log are kept in the arena.
pub fn rememberLog(arena: Allocator) void {
    lines = .empty;
    lines_arena = arena;
    log.sendTo(remember);
}

fn remember(level: log.Level, message: []const u8) void {
    const line = std.fmt.allocPrint(lines_arena, "{s}: {s}", .{ @tagName(level), message }) catch return;
    lines.append(lines_arena, line) catch return;
}

/// What has been logged since this was last asked, each line with its level: `warn: too late`.
pub fn takenLog() []const []const u8 {
    defer lines = .empty;
    return lines.items;
}
