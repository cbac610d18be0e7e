//! Converts bands of hours to a price for each hour of the day.

const std = @import("std");
const nephometer = @import("nephometer");
const Allocator = std.mem.Allocator;
const OptionReader = nephometer.OptionReader;

/// The prices of an hour of processor time, by project and hour of the day in UTC.
pub const Prices = std.array_hash_map.String([24]f64);

/// Reads the prices of all projects, in memory of the arena. Errors are added to the options.
pub fn read(arena: Allocator, options: *const OptionReader) Allocator.Error!Prices {
    var prices: Prices = .empty;
    for (try options.keys()) |project| {
        try prices.put(arena, try arena.dupe(u8, project), try ofADay(options, project));
    }
    return prices;
}

fn ofADay(options: *const OptionReader, project: []const u8) Allocator.Error![24]f64 {
    var prices: [24]?f64 = @splat(null);
    for (try options.objects(project)) |band| {
        const from = try band.number("from");
        const to = try band.number("to");
        const price = try band.number("price");
        if (from == null or to == null or price == null) continue;
        if (!(from.? < to.?)) {
            const reason = "is not after from ({f}); write a band over midnight as two";
            try band.refuse(.{"to"}, reason, .{nephometer.json.short(from.?)});
            continue;
        }
        for (hourOf(from.?)..hourOf(to.?)) |hour| {
            if (prices[hour] != null) {
                try band.refuse(.{"from"}, "hour {d} already has a price", .{hour});
                break;
            }
            prices[hour] = price;
        }
    }
    var day: [24]f64 = @splat(0);
    var missing: std.ArrayList(u8) = .empty;
    for (prices, &day, 0..) |price, *known, hour| {
        if (price) |one| {
            known.* = one;
        } else try missing.print(options.arena, "{s}{d}", .{ if (missing.items.len > 0) ", " else "", hour });
    }
    if (missing.items.len > 0) {
        try options.refuse(.{project}, "no price for hours {s}", .{missing.items});
    }
    return day;
}

/// The schema ensures an hour from 0 to 24.
fn hourOf(number: f64) usize {
    return @min(std.math.lossyCast(usize, number), 24);
}
