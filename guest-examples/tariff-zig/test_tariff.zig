//! Tests of tariff: the shared fixtures, a simple model, and damaged states. In this folder:
//!
//!     zig test --dep nephometer -Mroot=test_tariff.zig -Mnephometer=../nephometer-zig/nephometer.zig

const std = @import("std");
const nephometer = @import("nephometer");
const Tariff = @import("tariff.zig").Tariff;
const hour = @import("tariff.zig").hour;
const Allocator = std.mem.Allocator;
const Value = std.json.Value;
const helpers = nephometer.testing;
const json = nephometer.json;
const testing = std.testing;

const shared = "../tariff/";

/// The memory of a test, freed at its end.
const Bench = struct {
    host: helpers.Host,

    fn init() Bench {
        return .{ .host = .init(testing.allocator) };
    }

    fn deinit(self: *Bench) void {
        self.host.deinit();
    }

    fn memory(self: *Bench) Allocator {
        return self.host.arena.allocator();
    }

    fn tariff(self: *Bench, options: Value) !Tariff {
        var errors: std.ArrayList(nephometer.OptionError) = .empty;
        return self.tariffOr(options, &errors);
    }

    fn tariffOr(self: *Bench, options: Value, errors: *std.ArrayList(nephometer.OptionError)) !Tariff {
        const reader: nephometer.OptionReader = try .init(self.memory(), options, errors);
        return Tariff.init(testing.allocator, &reader);
    }

    fn parsed(self: *Bench, text: []const u8) !Value {
        return json.parse(self.memory(), text);
    }

    /// Transforms a batch.
    fn transformed(self: *Bench, one: *Tariff, samples: []const Value) ![]const helpers.Sample {
        var now = self.host.call();
        const input = try self.host.batch(samples);
        return self.host.samples(try one.transform(&now, &input), &input);
    }

    fn flushed(self: *Bench, one: *Tariff, time: u64) ![]const helpers.Sample {
        var now = self.host.call();
        return self.host.flushed(try one.flush(&now, time));
    }

    /// Replaces the instance by one that is restored from its state, and returns the state.
    fn replaced(self: *Bench, one: *Tariff, options: Value) ![]const u8 {
        var now = self.host.call();
        const state = try one.save(&now);
        self.host.restart();
        var other = try self.tariff(options);
        errdefer other.deinit();
        try other.restore(&now, 1, state);
        one.deinit();
        one.* = other;
        return state;
    }
};

test "fixtures" {
    const io = testing.io;
    var folder = try std.Io.Dir.cwd().openDir(io, shared ++ "fixtures", .{ .iterate = true });
    defer folder.close(io);
    var files = folder.iterate();
    var count: usize = 0;
    while (try files.next(io)) |file| {
        if (!std.mem.endsWith(u8, file.name, ".json")) continue;
        count += 1;
        var bench: Bench = .init();
        defer bench.deinit();
        const text = try folder.readFileAlloc(io, file.name, bench.memory(), .limited(1 << 20));
        errdefer std.debug.print("in fixture {s}\n", .{file.name});
        try runFixture(&bench, try bench.parsed(text));
    }
    try testing.expect(count > 4);
}

fn runFixture(bench: *Bench, fixture: Value) !void {
    const options = fixture.object.get("options").?;
    if (fixture.object.get("errors")) |expected| {
        var errors: std.ArrayList(nephometer.OptionError) = .empty;
        try testing.expectError(error.WrongOptions, bench.tariffOr(options, &errors));
        try testing.expectEqual(expected.array.items.len, errors.items.len);
        for (expected.array.items, errors.items) |one, found| {
            try testing.expectEqualStrings(one.array.items[0].string, found.pointer);
            try testing.expectEqualStrings(one.array.items[1].string, found.reason);
        }
        return;
    }
    var one = try bench.tariff(options);
    defer one.deinit();
    helpers.rememberLog(bench.memory());
    for (fixture.object.get("steps").?.array.items) |step| {
        if (step.object.get("state")) |expected| {
            const state = try bench.replaced(&one, options);
            try expectAlike(try bench.parsed(state), expected);
        } else if (step.object.get("batch")) |samples| {
            try expectSamples(try bench.transformed(&one, samples.array.items), step.object.get("out").?);
        } else {
            const time = try helpers.nanoseconds(step.object.get("flush").?.string);
            try expectSamples(try bench.flushed(&one, time), step.object.get("out").?);
        }
        const lines = helpers.takenLog();
        const expected = if (step.object.get("log")) |log| log.array.items else &.{};
        try testing.expectEqual(expected.len, lines.len);
        for (expected, lines) |line, found| try testing.expectEqualStrings(line.string, found);
    }
}

fn expectSamples(found: []const helpers.Sample, expected: Value) !void {
    try testing.expectEqual(expected.array.items.len, found.len);
    for (found, expected.array.items) |sample, wanted| {
        for (wanted.object.keys(), wanted.object.values()) |key, value| {
            if (std.mem.eql(u8, key, "timestamp")) {
                try testing.expectEqual(try helpers.nanoseconds(value.string), sample.time);
            } else try expectAlike(sample.get(key).?, value);
        }
        if (wanted.object.get("source") == null) try testing.expectEqualStrings("openstack", sample.source);
    }
}

/// Equal within the tolerance of numbers.
fn expectAlike(found: Value, expected: Value) anyerror!void {
    if (json.number(expected)) |number| {
        const other = json.number(found) orelse return error.TestUnexpectedResult;
        return testing.expectApproxEqAbs(number, other, 4e-16 * @abs(number));
    }
    try testing.expectEqual(std.meta.activeTag(expected), std.meta.activeTag(found));
    switch (expected) {
        .array => |items| {
            try testing.expectEqual(items.items.len, found.array.items.len);
            for (items.items, found.array.items) |one, other| try expectAlike(other, one);
        },
        .object => |members| {
            try testing.expectEqual(members.count(), found.object.count());
            for (members.keys(), members.values()) |key, one| {
                try expectAlike(found.object.get(key) orelse return error.TestUnexpectedResult, one);
            }
        },
        else => try testing.expect(json.eql(expected, found)),
    }
}

test "totals equal exact arithmetic" {
    // Prices and volumes are whole numbers of small units, so that the model can count with
    // integers: a price in millionths, times a volume in nanoseconds.
    var bench: Bench = .init();
    defer bench.deinit();
    const memory = bench.memory();
    var prng: std.Random.DefaultPrng = .init(1);
    const chance = prng.random();
    const projects = [_][]const u8{ "alpha", "beta", "gamma" };
    var millionths: [projects.len][24]u64 = undefined;
    var text: std.ArrayList(u8) = .empty;
    for (projects, &millionths, 0..) |project, *day, number| {
        try text.print(memory, "{s}\"{s}\": [", .{ if (number > 0) ", " else "", project });
        for (day, 0..) |*price, from| {
            price.* = chance.uintLessThan(u64, std.math.pow(u64, 10, chance.intRangeAtMost(u64, 1, 7)));
            const band = "{s}{{\"from\": {d}, \"to\": {d}, \"price\": {d}e-6}}";
            try text.print(memory, band, .{ if (from > 0) ", " else "", from, from + 1, price.* });
        }
        try text.appendSlice(memory, "]");
    }
    const format = "{{\"currency\": \"EUR\", \"prices\": {{{s}}}}}";
    const options = try bench.parsed(try std.fmt.allocPrint(memory, format, .{text.items}));

    var one = try bench.tariff(options);
    defer one.deinit();
    var exact: [projects.len]i128 = @splat(0);
    for (0..200) |cycle| {
        if (cycle % 20 == 7) _ = try bench.replaced(&one, options);
        var samples: [50]Value = undefined;
        for (&samples) |*sample| {
            const project = chance.uintLessThan(usize, projects.len);
            const at = chance.uintLessThan(usize, 24);
            // Doubles hold whole numbers below 10 ** 15 exactly.
            const volume = chance.uintLessThan(u64, std.math.pow(u64, 10, chance.intRangeAtMost(u64, 1, 15)));
            exact[project] += @as(i128, volume) * millionths[project][at];
            sample.* = try cpu(&bench, projects[project], volume, at, chance.uintLessThan(u32, 60));
        }
        const found = try bench.transformed(&one, &samples);
        try testing.expectEqual(samples.len, found.len);
        for (found, 0..) |sample, row| try testing.expectEqual(row, sample.origin.?);
    }
    const totals = try bench.flushed(&one, 1_000_000_000_000_000_000);
    try testing.expectEqual(projects.len, totals.len);
    for (totals, projects, exact) |sample, project, sum| {
        try testing.expectEqualStrings(project, sample.project_id.?);
        const model = @as(f128, @floatFromInt(sum)) / (@as(f128, hour) * 1_000_000);
        try testing.expect(@abs(sample.volume - model) < 1e-9);
        try testing.expectEqual(null, sample.origin);
        try testing.expectEqual(1_000_000_000_000_000_000, sample.time);
    }
}

fn cpu(bench: *Bench, project: []const u8, volume: u64, at: usize, minute: u32) !Value {
    const format =
        \\{{"name": "cpu", "unit": "ns", "type": "delta", "resource_id": "of-{s}", "project_id": "{s}",
        \\"volume": {d}, "timestamp": "2026-03-01T{d:0>2}:{d:0>2}:00Z"}}
    ;
    const text = try std.fmt.allocPrint(bench.memory(), format, .{ project, project, volume, at, minute });
    return bench.parsed(text);
}

test "states of others are refused" {
    var bench: Bench = .init();
    defer bench.deinit();
    const prices = "\"prices\": {\"alpha\": [{\"from\": 0, \"to\": 24, \"price\": 1}]}}";
    var one = try bench.tariff(try bench.parsed("{\"currency\": \"EUR\", " ++ prices));
    defer one.deinit();
    _ = try bench.transformed(&one, &.{try cpu(&bench, "alpha", hour, 10, 0)});
    var francs = try bench.tariff(try bench.parsed("{\"currency\": \"CHF\", " ++ prices));
    defer francs.deinit();
    var call = bench.host.call();
    const of_francs = try francs.save(&call);
    const Case = struct { u32, []const u8, []const u8 };
    const cases = [_]Case{
        .{ 2, "{}", "state of version 2; this component reads 1" },
        .{ 1, of_francs, "the totals are in CHF, the options specify EUR" },
    };
    for (cases) |case| {
        try testing.expectError(error.WrongState, one.restore(&call, case[0], case[1]));
        try testing.expectEqualStrings(case[2], call.reason);
    }
    const start = "{\"currency\": \"EUR\", \"totals\": ";
    const damaged = [_][]const u8{
        "\xff",
        "",
        "[]",
        "3",
        "{\"totals\": [3]}",
        "{\"currency\": \"EUR\"}",
        "{\"currency\": 3, \"totals\": []}",
        start ++ "{}}",
        start ++ "[3]}",
        start ++ "[[\"alpha\", \"openstack\"]]}",
        start ++ "[[\"alpha\", 3, 1, 0]]}",
        start ++ "[[\"alpha\", \"openstack\", \"much\", 0]]}",
        start ++ "[[\"alpha\", \"openstack\", 1, 1e999]]}",
        start ++ "[[\"alpha\", \"openstack\", 1, 0]",
    };
    for (damaged) |state| {
        errdefer std.debug.print("state {s}\n", .{state});
        try testing.expectError(error.WrongState, one.restore(&call, 1, state));
        try testing.expectEqualStrings("the state is damaged", call.reason);
    }
    // What it had is untouched, and whole numbers beyond 64 bits are numbers, as another language
    // may write them.
    try testing.expectEqual(1, (try bench.flushed(&one, 1))[0].volume);
    try one.restore(&call, 1, start ++ "[[\"alpha\", \"openstack\", 100000000000000000000, 0.5]]}");
    const saved = "{\"currency\":\"EUR\",\"totals\":[[\"alpha\",\"openstack\",1e20,0.5]]}";
    try testing.expectEqualStrings(saved, try one.save(&call));
}

test "projects without prices keep their totals" {
    var bench: Bench = .init();
    defer bench.deinit();
    const day = "[{\"from\": 0, \"to\": 24, \"price\": 1}]";
    const start = "{\"currency\": \"EUR\", \"prices\": {\"beta\": " ++ day;
    var one = try bench.tariff(try bench.parsed(start ++ ", \"alpha\": " ++ day ++ "}}"));
    defer one.deinit();
    _ = try bench.transformed(&one, &.{try cpu(&bench, "alpha", hour, 10, 0)});
    _ = try bench.replaced(&one, try bench.parsed(start ++ "}}"));
    const totals = try bench.flushed(&one, 1);
    try testing.expectEqual(1, totals.len);
    try testing.expectEqual(1, totals[0].volume);
}

test "the transformer keeps no references to arguments" {
    var bench: Bench = .init();
    defer bench.deinit();
    const options = "{\"currency\": \"EUR\", \"prices\": {\"alpha\": [{\"from\": 0, \"to\": 24, \"price\": 1}]}}";
    var passing: Bench = .init();
    var one = try passing.tariff(try passing.parsed(options));
    defer one.deinit();
    passing.deinit();
    for (0..2) |_| {
        passing = .init();
        defer passing.deinit();
        _ = try passing.transformed(&one, &.{try cpu(&passing, "alpha", hour, 10, 0)});
        _ = try passing.replaced(&one, try passing.parsed(options));
    }
    passing = .init();
    _ = try passing.transformed(&one, &.{try cpu(&passing, "alpha", hour, 10, 0)});
    passing.deinit();
    var call = bench.host.call();
    const saved = "{\"currency\":\"EUR\",\"totals\":[[\"alpha\",\"openstack\",3,0]]}";
    try testing.expectEqualStrings(saved, try one.save(&call));
    // The same without an earlier restore.
    var other = try bench.tariff(try bench.parsed(options));
    defer other.deinit();
    passing = .init();
    _ = try passing.transformed(&other, &.{try cpu(&passing, "alpha", hour, 10, 0)});
    passing.deinit();
    const totals = try bench.flushed(&other, 1);
    try testing.expectEqualStrings("alpha", totals[0].project_id.?);
    try testing.expectEqualStrings("openstack", totals[0].source);
}

test "the schema is the shared one" {
    const io = testing.io;
    const name = shared ++ "options.schema.json";
    const schema = try std.Io.Dir.cwd().readFileAlloc(io, name, testing.allocator, .limited(1 << 20));
    defer testing.allocator.free(schema);
    try testing.expectEqualStrings(schema, Tariff.description.options_schema);
}
