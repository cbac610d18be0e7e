const std = @import("std");
const nephometer = @import("nephometer");
const Scaler = @import("transformer.zig").Scaler;
const testing = std.testing;

fn configured(host: *nephometer.testing.Host, options: []const u8) !Scaler {
    const arena = host.arena.allocator();
    var errors: std.ArrayList(nephometer.OptionError) = .empty;
    const value = try nephometer.json.parse(arena, options);
    const reader: nephometer.OptionReader = try .init(arena, value, &errors);
    return Scaler.init(arena, &reader);
}

test "volumes are scaled" {
    var host: nephometer.testing.Host = .init(testing.allocator);
    defer host.deinit();
    var one = try configured(&host, "{\"factor\": 2.5}");
    const samples = try nephometer.json.parse(host.arena.allocator(),
        \\[{"name": "memory.usage", "type": "gauge", "unit": "MB", "volume": 4, "resource_id": "r",
        \\  "timestamp": "2026-03-01T10:00:00"}]
    );
    const batch = try host.batch(samples.array.items);
    var call = host.call();
    const out = try host.samples(try one.transform(&call, &batch), &batch);
    try testing.expectEqual(1, out.len);
    try testing.expectEqual(10, out[0].volume);
}

test "the count survives" {
    var host: nephometer.testing.Host = .init(testing.allocator);
    defer host.deinit();
    var one = try configured(&host, "{}");
    var other = try configured(&host, "{}");
    one.rows = 3;
    var call = host.call();
    try other.restore(&call, 1, try one.save(&call));
    try testing.expectEqual(3, other.rows);
}

test "a factor of zero is refused" {
    var host: nephometer.testing.Host = .init(testing.allocator);
    defer host.deinit();
    try testing.expectError(error.WrongOptions, configured(&host, "{\"factor\": 0}"));
}
