//! Reads options and collects errors.

const std = @import("std");
const Allocator = std.mem.Allocator;
const Value = std.json.Value;
const json = @import("json.zig");
const log = @import("log.zig");

/// One error in the options.
pub const OptionError = struct {
    /// A JSON Pointer; empty for the whole.
    pointer: []const u8,
    reason: []const u8,
};

/// One mapping of the options.
///
/// All readers of one set of options share a list of errors, so that `check` reports all of them at
/// once. A key that is absent or null is null; a key of another type than expected is an error, and
/// null. Texts belong to the arena: copy those that you keep.
pub const OptionReader = struct {
    arena: Allocator,
    errors: *std.ArrayList(OptionError),
    pointer: []const u8,
    map: std.json.ObjectMap,

    /// A reader of the whole options.
    pub fn init(arena: Allocator, options: Value, errors: *std.ArrayList(OptionError)) Allocator.Error!OptionReader {
        return at(arena, options, "", errors);
    }

    fn at(
        arena: Allocator,
        found: Value,
        pointer: []const u8,
        errors: *std.ArrayList(OptionError),
    ) Allocator.Error!OptionReader {
        const reader: OptionReader = .{
            .arena = arena,
            .errors = errors,
            .pointer = pointer,
            .map = if (found == .object) found.object else .empty,
        };
        if (found != .object and found != .null) {
            try reader.refuse(.{}, "is {s}; expected a mapping of keys to values", .{json.kind(found)});
        }
        return reader;
    }

    fn place(self: *const OptionReader, keys_down: anytype) Allocator.Error![]const u8 {
        var path: std.ArrayList(u8) = .empty;
        try path.appendSlice(self.arena, self.pointer);
        inline for (keys_down) |key| {
            try path.append(self.arena, '/');
            switch (@typeInfo(@TypeOf(key))) {
                .int, .comptime_int => try path.print(self.arena, "{d}", .{key}),
                else => for (@as([]const u8, key)) |byte| switch (byte) {
                    '~' => try path.appendSlice(self.arena, "~0"),
                    '/' => try path.appendSlice(self.arena, "~1"),
                    else => try path.append(self.arena, byte),
                },
            }
        }
        return path.items;
    }

    /// Adds an error for a key, or for a value below it:
    /// `refuse(.{ "bands", 3 }, "is empty", .{})`.
    pub fn refuse(
        self: *const OptionReader,
        keys_down: anytype,
        comptime format: []const u8,
        args: anytype,
    ) Allocator.Error!void {
        const reason = try std.fmt.allocPrint(self.arena, format, args);
        try self.errors.append(self.arena, .{ .pointer = try self.place(keys_down), .reason = reason });
    }

    /// Returns an error if there are any.
    pub fn check(self: *const OptionReader) error{WrongOptions}!void {
        if (self.errors.items.len > 0) return error.WrongOptions;
    }

    /// The keys that have a value, in the order of the options.
    pub fn keys(self: *const OptionReader) Allocator.Error![]const []const u8 {
        var known: std.ArrayList([]const u8) = .empty;
        for (self.map.keys(), self.map.values()) |key, found| {
            if (found != .null) try known.append(self.arena, key);
        }
        return known.items;
    }

    /// The value of a key as it is.
    pub fn value(self: *const OptionReader, key: []const u8) ?Value {
        const found = self.map.get(key) orelse return null;
        return if (found == .null) null else found;
    }

    /// The mapping under a key; an empty one if it is absent.
    pub fn object(self: *const OptionReader, key: []const u8) Allocator.Error!OptionReader {
        return at(self.arena, self.value(key) orelse .null, try self.place(.{key}), self.errors);
    }

    /// The list of mappings under a key; an empty one if it is absent.
    pub fn objects(self: *const OptionReader, key: []const u8) Allocator.Error![]const OptionReader {
        const found = try self.typed(key, "a list") orelse return &.{};
        const readers = try self.arena.alloc(OptionReader, found.array.items.len);
        for (readers, found.array.items, 0..) |*reader, item, index| {
            reader.* = try at(self.arena, item, try self.place(.{ key, index }), self.errors);
        }
        return readers;
    }

    /// The string under a key.
    pub fn text(self: *const OptionReader, key: []const u8) Allocator.Error!?[]const u8 {
        return if (try self.typed(key, "a string")) |found| found.string else null;
    }

    /// The number under a key; true and false are not numbers.
    pub fn number(self: *const OptionReader, key: []const u8) Allocator.Error!?f64 {
        return if (try self.typed(key, "a number")) |found| json.number(found) else null;
    }

    fn typed(self: *const OptionReader, key: []const u8, wanted: []const u8) Allocator.Error!?Value {
        const found = self.value(key) orelse return null;
        if (std.mem.eql(u8, json.kind(found), wanted)) return found;
        try self.refuse(.{key}, "is {s}; expected {s}", .{ json.kind(found), wanted });
        return null;
    }

    /// Logs a warning for each unknown key.
    pub fn warnOfUnknown(self: *const OptionReader, known: []const []const u8) Allocator.Error!void {
        for (self.map.keys()) |key| {
            for (known) |one| {
                if (std.mem.eql(u8, one, key)) break;
            } else log.warn("unknown option {s} is ignored", .{try self.place(.{key})});
        }
    }
};
