//! What the helpers promise. In this folder:
//!
//!     zig test test_nephometer.zig

const std = @import("std");
const nephometer = @import("nephometer.zig");
const AnswerBuilder = nephometer.AnswerBuilder;
const Batch = nephometer.Batch;
const Host = helpers.Host;
const helpers = nephometer.testing;
const json = nephometer.json;
const testing = std.testing;

const sample =
    \\{"name": "cpu", "type": "cumulative", "unit": "ns", "volume": 3, "resource_id": "r", "project_id": "p",
    \\"timestamp": "2026-03-01T10:00:00Z", "resource_metadata": {"flavor": {"vcpus": 2}, "host": "a"}}
;

test "times with fractions and offsets" {
    const cases = .{
        .{ "1970-01-01T00:00:00Z", 0 },
        .{ "2000-02-29T00:00:00Z", 951_782_400_000_000_000 },
        .{ "2000-03-01T00:00:00.25", 951_868_800_250_000_000 },
        .{ "2026-03-01T11:30:00.000000001+01:30", 1_772_359_200_000_000_001 },
        .{ "2026-03-01T09:00:00-01:00", 1_772_359_200_000_000_000 },
    };
    inline for (cases) |case| try testing.expectEqual(case[1], try helpers.nanoseconds(case[0]));
}

/// A batch of one sample with this volume, as JSON, of the resource with this id.
fn oneRow(host: *Host, volume: []const u8, id: []const u8) !Batch {
    const arena = host.arena.allocator();
    var value = try json.parse(arena, sample);
    try value.object.put(arena, "volume", try json.parse(arena, volume));
    try value.object.put(arena, "resource_id", .{ .string = id });
    return host.batch(&.{value});
}

test "equal entries have one number, and rows have their entries" {
    var host: Host = .init(testing.allocator);
    defer host.deinit();
    const one = try json.parse(host.arena.allocator(), sample);
    const batch = try host.batch(&.{ one, one });
    var rows = batch.rows();
    const first = rows.next().?;
    const row = rows.next().?;
    try testing.expectEqual(1, row.number);
    try testing.expectEqual(first.meter_number, row.meter_number);
    try testing.expectEqual(first.resource_number, row.resource_number);
    try testing.expectEqual(null, row.monotonic);
    try testing.expectEqualStrings("cpu", row.meter.name);
    const metadata = try row.resource.metadata(host.arena.allocator());
    try testing.expectEqual(2, metadata.get("flavor").?.object.get("vcpus").?.integer);
    try testing.expectEqual(null, rows.next());
}

const util: nephometer.Meter = .{ .name = "cpu_util", .unit = "%", .type = .gauge };
const cloud: nephometer.Resource = .{ .id = "cloud", .source = "openstack" };

test "own entries are numbered by their content" {
    var host: Host = .init(testing.allocator);
    defer host.deinit();
    const memory = host.arena.allocator();
    const batch = try oneRow(&host, "3", "r");
    var rows = batch.rows();
    const row = rows.next().?;
    var call = host.call();
    var answer: AnswerBuilder = try .init(&call, &batch);
    // Never a number of the host.
    try testing.expectEqual(0x80000000, try answer.meter(row.meter.*));
    try testing.expectEqual(0x80000001, try answer.meter(util));
    try testing.expectEqual(0x80000001, try answer.meter(util));
    try testing.expectEqual(0x80000002, try answer.meter(.{ .name = "cpu_util", .unit = "", .type = .gauge }));
    try testing.expectEqual(0x80000003, try answer.meter(.{ .name = "cpu_util", .unit = "", .type = .delta }));
    var owned = row.resource.*;
    owned.user_id = "";
    const other = try owned.withMetadata(memory, .{ .flavor = .{ .vcpus = 4 } });
    try testing.expectEqual(0x80000000, try answer.resource(row.resource.*));
    try testing.expectEqual(0x80000001, try answer.resource(owned));
    try testing.expectEqual(0x80000002, try answer.resource(other));
    try testing.expectEqual(0x80000002, try answer.resource(other));
}

/// Rows in this order: k keeps the first row of the batch, K the second, d derives from the first,
/// c is created.
fn rowsOf(call: *nephometer.Call, batch: *const Batch, wanted: []const u8) !AnswerBuilder {
    var rows = batch.rows();
    const both = [2]nephometer.Row{ rows.next().?, rows.next().? };
    var answer: AnswerBuilder = try .init(call, batch);
    for (wanted) |one| switch (one) {
        'd' => try answer.derive(both[0], try answer.meter(util), 3.5),
        'c' => try answer.create(try answer.meter(util), try answer.resource(cloud), 9, 4.5),
        else => try answer.keep(both[if (one == 'K') 1 else 0]),
    };
    return answer;
}

test "only rows in order are derived" {
    var host: Host = .init(testing.allocator);
    defer host.deinit();
    const one = try json.parse(host.arena.allocator(), sample);
    const Case = struct { []const u8, std.meta.Tag(nephometer.Outcome) };
    const cases = [_]Case{
        .{ "", .derive },
        .{ "kddK", .derive },
        .{ "Kd", .replace },
        .{ "kKdKdddddddddd", .replace },
        .{ "c", .replace },
        .{ "kdKc", .replace },
    };
    for (cases) |case| {
        errdefer std.debug.print("rows {s}\n", .{case[0]});
        const batch = try host.batch(&.{ one, one });
        var call = host.call();
        const answer = try rowsOf(&call, &batch, case[0]);
        const outcome = answer.outcome();
        try testing.expectEqual(case[1], std.meta.activeTag(outcome));
        const samples = try host.samples(outcome, &batch);
        try testing.expectEqual(case[0].len, samples.len);
        for (case[0], samples) |wanted, found| {
            const created = wanted == 'c';
            const kept = wanted == 'k' or wanted == 'K';
            try testing.expectEqualStrings(if (kept) "cpu" else "cpu_util", found.name);
            try testing.expectEqualStrings(if (created) "cloud" else "r", found.resource_id);
            try testing.expectEqual(if (created) 9 else batch.time[0], found.time);
            try testing.expectEqual(@as(f64, if (created) 4.5 else if (kept) 3 else 3.5), found.volume);
            const origin: ?u32 = if (created) null else if (wanted == 'K') 1 else 0;
            try testing.expectEqual(origin, found.origin);
        }
    }
    const batch = try host.batch(&.{ one, one });
    try testing.expectEqual(1, (try host.samples(.{ .keep = &.{1} }, &batch)).len);
    try testing.expectEqual(2, (try host.samples(.unchanged, &batch)).len);
}

test "own entries are sent once, and those of a dropped answer with the next" {
    var host: Host = .init(testing.allocator);
    defer host.deinit();
    const one = try json.parse(host.arena.allocator(), sample);
    const batch = try host.batch(&.{ one, one });
    const own = &host.dictionary.own;
    var call = host.call();
    // The transformer refuses the batch, after it has begun an answer.
    _ = try rowsOf(&call, &batch, "c");
    call = host.call();
    const derived = try rowsOf(&call, &batch, "d");
    _ = try host.samples(derived.outcome(), &batch);
    try testing.expectEqual(.{ 1, 0 }, .{ own.meters.sent, own.resources.sent });
    call = host.call();
    const created = try rowsOf(&call, &batch, "c");
    _ = try host.samples(created.outcome(), &batch);
    try testing.expectEqual(.{ 1, 1 }, .{ own.meters.sent, own.resources.sent });
    call = host.call();
    var answer: AnswerBuilder = try .init(&call, null);
    try answer.create(try answer.meter(util), try answer.resource(cloud), 9, 1);
    const total: nephometer.Meter = .{ .name = "total", .unit = "", .type = .cumulative };
    try answer.create(try answer.meter(total), try answer.resource(cloud), 9, 2);
    const samples = try host.flushed(answer.finish());
    try testing.expectEqualStrings("cpu_util", samples[0].name);
    try testing.expectEqualStrings("total", samples[1].name);
    try testing.expectEqual(.{ 2, 1 }, .{ own.meters.sent, own.resources.sent });
}

test "too many and too large own entries are replaced" {
    var host: Host = .init(testing.allocator);
    defer host.deinit();
    const batch = try oneRow(&host, "3", "r");
    var rows = batch.rows();
    const row = rows.next().?;
    var name: [16]u8 = undefined;
    for (0..20) |round| {
        var call = host.call();
        var answer: AnswerBuilder = try .init(&call, &batch);
        for (0..1000) |number| {
            const text = try std.fmt.bufPrint(&name, "m{d}", .{round * 1000 + number});
            const meter = try answer.meter(.{ .name = text, .unit = "", .type = .gauge });
            // Numbers start again after 9,000, the first thousand beyond the limit.
            try testing.expectEqual(0x80000000 + round % 9 * 1000 + number, meter);
            try answer.derive(row, meter, 1);
        }
        const samples = try host.samples(answer.outcome(), &batch);
        try testing.expectEqualStrings(try std.fmt.bufPrint(&name, "m{d}", .{round * 1000 + 999}), samples[999].name);
    }
    host.restart();
    const again = try oneRow(&host, "3", "r");
    const space: [256 << 10]u8 = @splat(' ');
    // An answer has 25 MiB, more than is kept.
    for (0..4) |round| {
        var call = host.call();
        var answer: AnswerBuilder = try .init(&call, &again);
        for (0..100) |number| {
            const id = try std.fmt.bufPrint(&name, "r{d}", .{round * 100 + number});
            const resource = try answer.resource(.{ .id = id, .source = "", .metadata_text = &space });
            try testing.expectEqual(0x80000000 + number, resource);
        }
    }
}

test "rows have exact integers" {
    var host: Host = .init(testing.allocator);
    defer host.deinit();
    const Case = struct { []const u8, ?i64 };
    const cases = [_]Case{
        .{ "3", 3 },
        .{ "-0.0", 0 },
        .{ "-9007199254740991", -9007199254740991 },
        .{ "9007199254740993", 9007199254740993 },
        .{ "-9223372036854775808", std.math.minInt(i64) },
        .{ "9223372036854775808", null },
        .{ "9007199254740992", 9007199254740992 },
        .{ "0.5", null },
        .{ "1e300", null },
    };
    for (cases) |case| {
        errdefer std.debug.print("volume {s}\n", .{case[0]});
        const batch = try oneRow(&host, case[0], "r");
        var rows = batch.rows();
        try testing.expectEqual(case[1], rows.next().?.integer());
    }
}

test "answers have exact integers" {
    var host: Host = .init(testing.allocator);
    defer host.deinit();
    const batch = try oneRow(&host, "9007199254740993", "r");
    var rows = batch.rows();
    const row = rows.next().?;
    var call = host.call();
    var answer: AnswerBuilder = try .init(&call, &batch);
    const meter = try answer.meter(util);
    try answer.keep(row);
    try answer.deriveInteger(row, meter, row.integer().? + 2);
    try answer.deriveInteger(row, meter, 5);
    try answer.createInteger(meter, row.resource_number, 9, std.math.minInt(i64));
    const outcome = answer.outcome();
    // Only where an `f64` does not do.
    try testing.expectEqual(2, outcome.replace.exact.len);
    const samples = try host.samples(outcome, &batch);
    const expected = [_]?i64{ 9007199254740993, 9007199254740995, null, std.math.minInt(i64) };
    for (expected, samples) |value, found| try testing.expectEqual(value, found.exact);
    try testing.expectEqual(5, samples[2].volume);
}

test "a cache detects another entry under a number" {
    var host: Host = .init(testing.allocator);
    defer host.deinit();
    var cache: nephometer.Cache(u32) = .init(testing.allocator);
    defer cache.deinit();
    const counted = struct {
        fn next(counts: *nephometer.Cache(u32), batch: Batch) !u32 {
            var rows = batch.rows();
            const count = try counts.resource(rows.next().?);
            count.* = (count.* orelse 0) + 1;
            return count.*.?;
        }
    }.next;
    try testing.expectEqual(1, try counted(&cache, try oneRow(&host, "1", "a")));
    try testing.expectEqual(1, try counted(&cache, try oneRow(&host, "1", "b")));
    try testing.expectEqual(2, try counted(&cache, try oneRow(&host, "1", "a")));
    var last = try oneRow(&host, "1", "a");
    last.removed = &.{"a"};
    _ = try host.samples(.unchanged, &last);
    const next = try oneRow(&host, "1", "c");
    try testing.expectEqual(last.resource[0], next.resource[0]);
    try testing.expectEqual(1, try counted(&cache, next));
    try testing.expectEqual(1, try counted(&cache, try oneRow(&host, "1", "a")));
    try testing.expectEqual(2, try counted(&cache, try oneRow(&host, "1", "b")));
    cache.clear();
    try testing.expectEqual(1, try counted(&cache, try oneRow(&host, "1", "b")));
}

test "every error has the pointer of its key" {
    var arena: std.heap.ArenaAllocator = .init(testing.allocator);
    defer arena.deinit();
    helpers.rememberLog(arena.allocator());
    const text = "{\"a/b\": {\"x\": 1}, \"c\": [3], \"d\": \"text\", \"e\": true, \"f\": null}";
    var errors: std.ArrayList(nephometer.OptionError) = .empty;
    const reader: nephometer.OptionReader = try .init(arena.allocator(), try json.parse(arena.allocator(), text), &errors);
    try testing.expectEqual(4, (try reader.keys()).len);
    try testing.expectEqual(null, try (try reader.object("a/b")).text("x"));
    try testing.expectEqual(null, try (try reader.object("c")).text("y"));
    _ = try reader.objects("c");
    try testing.expectEqual(null, try reader.number("d"));
    try testing.expectEqual(null, try reader.number("e"));
    try testing.expectEqual(null, try reader.number("f"));
    try reader.refuse(.{ "c", 0, "x~" }, "no {d}", .{3});
    try reader.warnOfUnknown(&.{ "a/b", "c", "d", "f" });
    try testing.expectError(error.WrongOptions, reader.check());
    const expected = [_][2][]const u8{
        .{ "/a~1b/x", "is a number; expected a string" },
        .{ "/c", "is a list; expected a mapping of keys to values" },
        .{ "/c/0", "is a number; expected a mapping of keys to values" },
        .{ "/d", "is a string; expected a number" },
        .{ "/e", "is a boolean; expected a number" },
        .{ "/c/0/x~0", "no 3" },
    };
    try testing.expectEqual(expected.len, errors.items.len);
    for (expected, errors.items) |one, found| {
        try testing.expectEqualStrings(one[0], found.pointer);
        try testing.expectEqualStrings(one[1], found.reason);
    }
    const lines = helpers.takenLog();
    try testing.expectEqual(1, lines.len);
    try testing.expectEqualStrings("warn: unknown option /e is ignored", lines[0]);
}

test "a complaint is one line" {
    var host: Host = .init(testing.allocator);
    defer host.deinit();
    const arena = &host.arena;
    helpers.rememberLog(arena.allocator());
    var complaint: nephometer.Complaint = .init(arena.allocator(), .warn, "dropping");
    complaint.write();
    const one = try json.parse(arena.allocator(), sample);
    const batch = try host.batch(&.{ one, one, one });
    var rows = batch.rows();
    while (rows.next()) |row| try complaint.add(row, "too {s}", .{"late"});
    complaint.write();
    const lines = helpers.takenLog();
    try testing.expectEqual(1, lines.len);
    try testing.expectEqualStrings("warn: dropping: cpu of r: too late, and 2 more", lines[0]);
}

test "a long line ends between characters" {
    var arena: std.heap.ArenaAllocator = .init(testing.allocator);
    defer arena.deinit();
    helpers.rememberLog(arena.allocator());
    const long: [2000][2]u8 = @splat("ä".*);
    nephometer.log.info("x{s}", .{@as([]const u8, @ptrCast(&long))});
    const lines = helpers.takenLog();
    try testing.expect(std.unicode.utf8ValidateSlice(lines[0]));
    try testing.expect(lines[0].len > 2000);
}

test "numbers are formatted without needless exponents" {
    const cases = .{ .{ 0, "0" }, .{ -1, "-1" }, .{ 0.25, "0.25" }, .{ 1e-20, "1e-20" }, .{ -1.5e300, "-1.5e300" } };
    inline for (cases) |case| try testing.expectFmt(case[1], "{f}", .{json.short(case[0])});
}
