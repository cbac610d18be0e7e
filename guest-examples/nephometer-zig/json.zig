//! Functions on JSON values that std.json does not have.

const std = @import("std");
const Allocator = std.mem.Allocator;
const Value = std.json.Value;

/// Parses JSON, in memory of the arena. The last one of repeated keys counts.
pub fn parse(arena: Allocator, text: []const u8) std.json.ParseError(std.json.Scanner)!Value {
    return std.json.parseFromSliceLeaky(Value, arena, text, .{ .duplicate_field_behavior = .use_last });
}

/// A number of any size; null if the value is not one.
pub fn number(value: Value) ?f64 {
    return switch (value) {
        .integer => |whole| @floatFromInt(whole),
        .float => |float| float,
        .number_string => |text| std.fmt.parseFloat(f64, text) catch null,
        else => null,
    };
}

/// The kind of a value, for error messages.
pub fn kind(value: Value) []const u8 {
    return switch (value) {
        .null => "null",
        .bool => "a boolean",
        .integer, .float, .number_string => "a number",
        .string => "a string",
        .array => "a list",
        .object => "a mapping",
    };
}

/// Whether two values are equal; the order of keys does not matter.
pub fn eql(one: Value, other: Value) bool {
    if (number(one)) |left| return if (number(other)) |right| left == right else false;
    if (std.meta.activeTag(one) != std.meta.activeTag(other)) return false;
    switch (one) {
        .null => return true,
        .bool => |left| return left == other.bool,
        .string => |left| return std.mem.eql(u8, left, other.string),
        .array => |left| {
            if (left.items.len != other.array.items.len) return false;
            for (left.items, other.array.items) |a, b| if (!eql(a, b)) return false;
            return true;
        },
        .object => |left| {
            if (left.count() != other.object.count()) return false;
            for (left.keys(), left.values()) |key, a| {
                if (!eql(a, other.object.get(key) orelse return false)) return false;
            }
            return true;
        },
        .integer, .float, .number_string => unreachable,
    }
}

/// Formats a number for `{f}`: without an exponent unless it is very large or small.
pub fn short(value: f64) Short {
    return .{ .value = value };
}

pub const Short = struct {
    value: f64,

    pub fn format(self: Short, writer: *std.Io.Writer) std.Io.Writer.Error!void {
        const size = @abs(self.value);
        if (size == 0 or (size >= 1e-5 and size < 1e16)) return writer.print("{d}", .{self.value});
        return writer.print("{e}", .{self.value});
    }

    pub fn jsonStringify(self: Short, stringify: anytype) !void {
        try stringify.print("{f}", .{self});
    }
};
