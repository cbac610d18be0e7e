//! Acts as the host in native tests: builds batches from samples, and samples from outcomes.
//!
//! Samples are JSON objects with the keys that `nephometer component run` reads and prints.

const std = @import("std");
const Allocator = std.mem.Allocator;
const Value = std.json.Value;
const Answer = @import("answer.zig").Answer;
const Derived = @import("answer.zig").Derived;
const Outcome = @import("answer.zig").Outcome;
const Batch = @import("batch.zig").Batch;
const Call = @import("transformer.zig").Call;
const Dictionary = @import("dictionary.zig").Dictionary;
const ExactInteger = @import("batch.zig").ExactInteger;
const Meter = @import("batch.zig").Meter;
const MeterType = @import("batch.zig").MeterType;
const Resource = @import("batch.zig").Resource;
const copyTexts = @import("dictionary.zig").copyTexts;
const exact_limit = @import("batch.zig").exact_limit;
const first_own = @import("dictionary.zig").first_own;
const no_origin = @import("batch.zig").no_origin;
const json = @import("json.zig");
const log = @import("log.zig");

/// One sample of an outcome.
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
    /// The exact value, if it is an integer of 2^53 or more.
    exact: ?i64,
    /// The input row that it is, or is computed from.
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
            ?u32, ?i64 => if (member) |number| .{ .integer = number } else .null,
            u64 => .{ .integer = @intCast(member) },
            f64 => .{ .float = member },
            else => comptime unreachable,
        };
    }
};

/// Acts as the host of one instance, and owns the memory of samples, batches and calls. It must not
/// be moved.
pub const Host = struct {
    arena: std.heap.ArenaAllocator,
    dictionary: Dictionary,
    meters: Side(Meter) = .{},
    resources: Side(Resource) = .{},

    pub fn init(gpa: Allocator) Host {
        return .{ .arena = .init(gpa), .dictionary = .init(gpa) };
    }

    pub fn deinit(self: *Host) void {
        self.dictionary.deinit();
        self.arena.deinit();
    }

    /// Begins a new instance. Earlier numbers and batches are invalid.
    pub fn restart(self: *Host) void {
        self.dictionary.clear();
        self.meters = .{ .shift = self.meters.shift + 11 };
        self.resources = .{ .shift = self.resources.shift + 11 };
    }

    pub fn call(self: *Host) Call {
        self.dictionary.own.begin();
        return .{ .arena = self.arena.allocator(), .dictionary = &self.dictionary };
    }

    /// A batch with one row per sample. New meters and resources get shuffled numbers.
    pub fn batch(self: *Host, rows: []const Value) !Batch {
        const arena = self.arena.allocator();
        const meter = try arena.alloc(u32, rows.len);
        const resource = try arena.alloc(u32, rows.len);
        const time = try arena.alloc(u64, rows.len);
        const monotonic = try arena.alloc(u64, rows.len);
        const volume = try arena.alloc(f64, rows.len);
        var exact: std.ArrayList(ExactInteger) = .empty;
        for (rows, 0..) |sample, row| {
            const kind = std.meta.stringToEnum(MeterType, textOf(sample, "type").?).?;
            const of: Meter = .{ .name = textOf(sample, "name").?, .unit = textOf(sample, "unit").?, .type = kind };
            var about: Resource = .{
                .id = textOf(sample, "resource_id").?,
                .source = textOf(sample, "source") orelse "openstack",
                .project_id = textOf(sample, "project_id"),
                .user_id = textOf(sample, "user_id"),
            };
            if (sample.object.get("resource_metadata")) |values| about = try about.withMetadata(arena, values);
            meter[row] = try self.meters.number(arena, &self.dictionary.meters, of);
            resource[row] = try self.resources.number(arena, &self.dictionary.resources, about);
            time[row] = try nanoseconds(textOf(sample, "timestamp").?);
            monotonic[row] = 0;
            const value = sample.object.get("volume").?;
            volume[row] = json.number(value).?;
            if (value == .integer and @abs(value.integer) >= exact_limit) {
                try exact.append(arena, .{ .row = @intCast(row), .value = value.integer });
            }
        }
        return .{
            .dictionary = &self.dictionary,
            .meter = meter,
            .resource = resource,
            .time = time,
            .monotonic = monotonic,
            .volume = volume,
            .exact = exact.items,
        };
    }

    /// The samples of the outcome of a batch. Forgets the resources that the batch reports as
    /// removed.
    pub fn samples(self: *Host, outcome: Outcome, given: *const Batch) ![]const Sample {
        const found = switch (outcome) {
            .unchanged => try self.kept(try self.counted(given.volume.len), given),
            .keep => |rows| try self.kept(rows, given),
            .derive => |rows| try self.derived(rows, given),
            .replace => |rows| try self.replaced(rows, given),
        };
        for (given.removed) |id| try self.forget(id);
        return found;
    }

    /// The samples of an answer to a flush; none if it is null.
    pub fn flushed(self: *Host, answer: ?Answer) ![]const Sample {
        return self.replaced(answer orelse return &.{}, null);
    }

    fn counted(self: *Host, rows: usize) Allocator.Error![]const u32 {
        const all = try self.arena.allocator().alloc(u32, rows);
        for (all, 0..) |*row, number| row.* = @intCast(number);
        return all;
    }

    fn picked(self: *Host, comptime T: type, column: []const T, rows: []const u32) ![]const T {
        const some = try self.arena.allocator().alloc(T, rows.len);
        for (some, rows) |*one, row| {
            if (row >= column.len) return error.NoSuchRow;
            one.* = column[row];
        }
        return some;
    }

    fn kept(self: *Host, rows: []const u32, given: *const Batch) ![]const Sample {
        return self.derivedOf(.{
            .origin = rows,
            .meter = try self.picked(u32, given.meter, rows),
            .volume = try self.picked(f64, given.volume, rows),
        }, given);
    }

    fn derived(self: *Host, rows: Derived, given: *const Batch) ![]const Sample {
        try self.meters.take(self.arena.allocator(), &self.dictionary.own.meters);
        return self.derivedOf(rows, given);
    }

    fn derivedOf(self: *Host, rows: Derived, given: *const Batch) ![]const Sample {
        if (!std.sort.isSorted(u32, rows.origin, {}, std.sort.asc(u32))) return error.OriginsDescend;
        return self.samplesOf(.{
            .origin = rows.origin,
            .meter = rows.meter,
            .resource = try self.picked(u32, given.resource, rows.origin),
            .time = try self.picked(u64, given.time, rows.origin),
            .volume = rows.volume,
            .exact = rows.exact,
        }, given);
    }

    fn replaced(self: *Host, answer: Answer, given: ?*const Batch) ![]const Sample {
        try self.meters.take(self.arena.allocator(), &self.dictionary.own.meters);
        try self.resources.take(self.arena.allocator(), &self.dictionary.own.resources);
        return self.samplesOf(answer, given);
    }

    fn samplesOf(self: *Host, answer: Answer, given: ?*const Batch) ![]const Sample {
        const arena = self.arena.allocator();
        const rows = answer.origin.len;
        for ([_]usize{ answer.meter.len, answer.resource.len, answer.time.len, answer.volume.len }) |length| {
            if (length != rows) return error.ColumnsOfUnequalLength;
        }
        const found = try arena.alloc(Sample, rows);
        for (found, 0..) |*sample, row| {
            const meter = self.meters.get(answer.meter[row]) orelse return error.UnknownMeter;
            const resource = self.resources.get(answer.resource[row]) orelse return error.UnknownResource;
            const origin = if (answer.origin[row] == no_origin) null else answer.origin[row];
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
                .exact = exactOf(answer.exact, @intCast(row)),
                .origin = origin,
            };
            // A row with the volume of its origin keeps its exact value.
            const of = origin orelse continue;
            if (of >= given.?.volume.len) return error.NoSuchRow;
            if (sample.exact == null and sample.volume == given.?.volume[of]) sample.exact = exactOf(given.?.exact, of);
        }
        for (answer.exact, 0..) |exact, at| {
            const ascends = at == 0 or exact.row > answer.exact[at - 1].row;
            if (!ascends or exact.row >= rows) return error.ExactValuesOutOfOrder;
            const nearest: f64 = @floatFromInt(exact.value);
            if (nearest != answer.volume[exact.row]) return error.ExactValueOfAnotherVolume;
        }
        return found;
    }

    fn forget(self: *Host, id: []const u8) Allocator.Error!void {
        for (self.resources.host.items, 0..) |*entry, number| {
            const resource = entry.* orelse continue;
            if (!std.mem.eql(u8, resource.id, id)) continue;
            entry.* = null;
            try self.resources.unused.append(self.arena.allocator(), @intCast(number));
            self.dictionary.resources.forget(@intCast(number));
        }
    }
};

fn exactOf(exact: []const ExactInteger, row: u32) ?i64 {
    for (exact) |one| if (one.row == row) return one.value;
    return null;
}

/// Entries of one kind, as the host has them.
fn Side(comptime T: type) type {
    return struct {
        host: std.ArrayList(?T) = .empty,
        own: std.ArrayList(T) = .empty,
        unused: std.ArrayList(u32) = .empty,
        count: u32 = 0,
        shift: u32 = 5,

        const Self = @This();

        fn number(self: *Self, arena: Allocator, learned: anytype, wanted: T) Allocator.Error!u32 {
            for (self.host.items, 0..) |entry, at| {
                if (entry != null and entry.?.eql(wanted)) return @intCast(at);
            }
            const new = self.unused.pop() orelse self.next();
            if (new >= self.host.items.len) try self.host.appendNTimes(arena, null, new - self.host.items.len + 1);
            self.host.items[new] = wanted;
            try learned.add(new, wanted);
            return new;
        }

        /// Shuffled in blocks of 64, and different for each instance.
        fn next(self: *Self) u32 {
            defer self.count += 1;
            return (self.count & ~@as(u32, 63)) | ((self.count *% 37 +% self.shift) & 63);
        }

        /// Receives the new entries of an answer.
        fn take(self: *Self, arena: Allocator, numbers: anytype) !void {
            const first, const entries = numbers.send();
            for (entries, first - first_own..) |entry, at| {
                if (at > self.own.items.len) return error.NumbersHaveAGap;
                if (at == self.own.items.len) try self.own.append(arena, undefined);
                self.own.items[at] = try copied(T, arena, entry);
            }
        }

        fn get(self: *const Self, at: u32) ?T {
            if (at < first_own) return if (at < self.host.items.len) self.host.items[at] else null;
            return if (at - first_own < self.own.items.len) self.own.items[at - first_own] else null;
        }
    };
}

fn copied(comptime T: type, arena: Allocator, entry: T) Allocator.Error!T {
    var copy = entry;
    _ = try copyTexts(T, arena, &copy);
    return copy;
}

fn textOf(sample: Value, key: []const u8) ?[]const u8 {
    return switch (sample.object.get(key) orelse .null) {
        .string => |text| text,
        else => null,
    };
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

/// Keeps all further lines of the log, in memory of the arena.
pub fn rememberLog(arena: Allocator) void {
    lines = .empty;
    lines_arena = arena;
    log.sendTo(remember);
}

fn remember(level: log.Level, message: []const u8) void {
    const line = std.fmt.allocPrint(lines_arena, "{s}: {s}", .{ @tagName(level), message }) catch return;
    lines.append(lines_arena, line) catch return;
}

/// Returns the lines logged since the last call, each with its level: `warn: too late`.
pub fn takenLog() []const []const u8 {
    defer lines = .empty;
    return lines.items;
}
