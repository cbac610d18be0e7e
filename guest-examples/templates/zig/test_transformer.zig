const std = @import("std");
const nephometer = @import("nephometer");
const Scaler = @import("transformer.zig").Scaler;
const testing = std.testing;

fn made(arena: std.mem.Allocator, options: []const u8) !Scaler {
    var errors: std.ArrayList(nephometer.OptionError) = .empty;
    const value = try nephometer.json.parse(arena, options);
    const reader: nephometer.OptionReader = try .init(arena, value, &errors);
    return Scaler.init(arena, &reader);
}

test "volumes are scaled" {
    var arena: std.heap.ArenaAllocator = .init(testing.allocator);
    defer arena.deinit();
    var one = try made(arena.allocator(), "{\"factor\": 2.5}");
    const samples = try nephometer.json.parse(arena.allocator(),
        \\[{"name": "memory.usage", "type": "gauge", "unit": "MB", "volume": 4, "resource_id": "r",
        \\  "timestamp": "2026-03-01T10:00:00"}]
    );
    const batch = try nephometer.testing.batchOf(arena.allocator(), samples.array.items);
    var call: nephometer.Call = .{ .arena = arena.allocator() };
    const outcome = try one.transform(&call, &batch);
    const out = try nephometer.testing.samplesOf(arena.allocator(), outcome, &batch);
    try testing.expectEqual(1, out.len);
    try testing.expectEqual(10, out[0].volume);
}

test "the count survives" {
    var arena: std.heap.ArenaAllocator = .init(testing.allocator);
    defer arena.deinit();
    var one = try made(arena.allocator(), "{}");
    var other = try made(arena.allocator(), "{}");
    one.rows = 3;
    var call: nephometer.Call = .{ .arena = arena.allocator() };
    try other.restore(&call, 1, try one.save(&call));
    try testing.expectEqual(3, other.rows);
}

test "a factor of zero is refused" {
    var arena: std.heap.ArenaAllocator = .init(testing.allocator);
    defer arena.deinit();
    try testing.expectError(error.WrongOptions, made(arena.allocator(), "{\"factor\": 0}"));
}
