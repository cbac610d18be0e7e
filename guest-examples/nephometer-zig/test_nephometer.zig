//! What the helpers promise. In this folder:
//!
//!     zig test test_nephometer.zig

const std = @import("std");
const nephometer = @import("nephometer.zig");
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

test "a batch has one entry for what is the same, and rows look it up" {
    var arena: std.heap.ArenaAllocator = .init(testing.allocator);
    defer arena.deinit();
    const one = try json.parse(arena.allocator(), sample);
    const batch = try helpers.batchOf(arena.allocator(), &.{ one, one });
    try testing.expectEqual(.{ 1, 1 }, .{ batch.meters.len, batch.resources.len });
    var rows = batch.rows();
    _ = rows.next();
    const row = rows.next().?;
    try testing.expectEqual(1, row.number);
    try testing.expectEqual(null, row.monotonic);
    try testing.expectEqualStrings("cpu", row.meter.name);
    const metadata = try row.resource.metadata(arena.allocator());
    try testing.expectEqual(2, metadata.get("flavor").?.object.get("vcpus").?.integer);
    try testing.expectEqual(null, rows.next());
}

test "entries are numbered by their content" {
    var arena: std.heap.ArenaAllocator = .init(testing.allocator);
    defer arena.deinit();
    const memory = arena.allocator();
    const batch = try helpers.batchOf(memory, &.{try json.parse(memory, sample)});
    var answer: nephometer.AnswerBuilder = try .init(memory, &batch);
    const util: nephometer.Meter = .{ .name = "cpu_util", .unit = "%", .type = .gauge };
    try testing.expectEqual(0, try answer.meter(batch.meters[0]));
    try testing.expectEqual(1, try answer.meter(util));
    try testing.expectEqual(1, try answer.meter(util));
    try testing.expectEqual(2, try answer.meter(.{ .name = "cpu_util", .unit = "", .type = .gauge }));
    var same = batch.resources[0];
    same.metadata_text = "{\"host\": \"a\", \"flavor\": {\"vcpus\": 2.0}}";
    const other = try same.withMetadata(memory, .{ .flavor = .{ .vcpus = 4 } });
    try testing.expectEqual(0, try answer.resource(same));
    try testing.expectEqual(1, try answer.resource(other));
    try testing.expectEqual(1, try answer.resource(other));

    var rows = batch.rows();
    const row = rows.next().?;
    try answer.keep(row);
    try answer.derive(row, 1, 3.5);
    try answer.create(2, 1, 9, 4.5);
    const made = answer.finish();
    try testing.expectEqualSlices(u32, &.{ 0, 0, nephometer.no_origin }, made.origin);
    try testing.expectEqual(.{ 2, 1 }, .{ made.meters.len, made.resources.len });
    const samples = try helpers.samplesOf(memory, .{ .replace = made }, &batch);
    try testing.expectEqualStrings("cpu_util", samples[1].name);
    try testing.expectEqual(.{ 3, 3.5, 4.5 }, .{ samples[0].volume, samples[1].volume, samples[2].volume });
    try testing.expectEqual(null, samples[2].origin);
    try testing.expectEqual(1, (try helpers.samplesOf(memory, .{ .keep = &.{0} }, &batch)).len);

    var first: nephometer.AnswerBuilder = try .init(memory, null);
    try testing.expectEqual(0, try first.meter(util));
    try testing.expectEqual(0, try first.resource(.{ .id = "r", .source = "s" }));
}

test "every wrong key is named with its place" {
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
        .{ "/a~1b/x", "is a number; it has to be a text" },
        .{ "/c", "is a list; it has to be a mapping of keys to values" },
        .{ "/c/0", "is a number; it has to be a mapping of keys to values" },
        .{ "/d", "is a text; it has to be a number" },
        .{ "/e", "is true or false; it has to be a number" },
        .{ "/c/0/x~0", "no 3" },
    };
    try testing.expectEqual(expected.len, errors.items.len);
    for (expected, errors.items) |one, found| {
        try testing.expectEqualStrings(one[0], found.pointer);
        try testing.expectEqualStrings(one[1], found.reason);
    }
    const lines = helpers.takenLog();
    try testing.expectEqual(1, lines.len);
    try testing.expectEqualStrings("warn: option /e is not known here and has no effect", lines[0]);
}

test "there is one line of complaint" {
    var arena: std.heap.ArenaAllocator = .init(testing.allocator);
    defer arena.deinit();
    helpers.rememberLog(arena.allocator());
    var complaint: nephometer.Complaint = .init(arena.allocator(), .warn, "dropping");
    complaint.write();
    const one = try json.parse(arena.allocator(), sample);
    const batch = try helpers.batchOf(arena.allocator(), &.{ one, one, one });
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

test "numbers are written short" {
    const cases = .{ .{ 0, "0" }, .{ -1, "-1" }, .{ 0.25, "0.25" }, .{ 1e-20, "1e-20" }, .{ -1.5e300, "-1.5e300" } };
    inline for (cases) |case| try testing.expectFmt(case[1], "{f}", .{json.short(case[0])});
}
