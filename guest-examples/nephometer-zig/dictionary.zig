//! The meters and resources that numbers stand for: the host's, and the transformer's own.
//!
//! The host sends an entry once and reuses its number after it was forgotten. Its numbers are
//! small, so they are array indexes. Own entries are numbered by content and sent to the host once,
//! with the first answer after they were created. A dropped answer sends nothing: its new entries
//! are sent with the next one.

const std = @import("std");
const Allocator = std.mem.Allocator;
const Meter = @import("batch.zig").Meter;
const Resource = @import("batch.zig").Resource;
const Row = @import("batch.zig").Row;

/// The first of the transformer's own numbers.
pub const first_own: u32 = 0x80000000;

/// The entries of one instance.
pub const Dictionary = struct {
    meters: Entries(Meter),
    resources: Entries(Resource),
    own: Own,

    pub fn init(gpa: Allocator) Dictionary {
        return .{ .meters = .{ .gpa = gpa }, .resources = .{ .gpa = gpa }, .own = .init(gpa) };
    }

    pub fn deinit(self: *Dictionary) void {
        self.meters.clear();
        self.resources.clear();
        self.own.arena.deinit();
    }

    /// Removes all entries, for a new instance.
    pub fn clear(self: *Dictionary) void {
        self.meters.clear();
        self.resources.clear();
        self.own.clear();
    }
};

// Shared by all dictionaries, so that serials are unique.
var last_serial: u64 = 0;

/// Entries of the host.
fn Entries(comptime T: type) type {
    return struct {
        gpa: Allocator,
        by_number: std.ArrayList(Entry) = .empty,

        const Self = @This();

        pub const Entry = struct {
            value: T = undefined,
            /// Unique; 0 if the number is unused.
            serial: u64 = 0,
            /// The memory of all texts of the value.
            memory: []const u8 = "",
        };

        /// The entry of a number that the host uses.
        pub fn get(self: *const Self, number: u32) *const Entry {
            const entry = &self.by_number.items[number];
            std.debug.assert(entry.serial != 0);
            return entry;
        }

        /// Adds a copy.
        pub fn add(self: *Self, number: u32, value: T) Allocator.Error!void {
            if (number >= self.by_number.items.len) {
                const more = number - self.by_number.items.len + 1;
                try self.by_number.appendNTimes(self.gpa, .{}, more);
            }
            last_serial += 1;
            var entry: Entry = .{ .value = value, .serial = last_serial };
            entry.memory = try copyTexts(T, self.gpa, &entry.value);
            self.by_number.items[number] = entry;
        }

        pub fn forget(self: *Self, number: u32) void {
            const entry = &self.by_number.items[number];
            self.gpa.free(entry.memory);
            entry.* = .{};
        }

        fn clear(self: *Self) void {
            for (self.by_number.items) |entry| self.gpa.free(entry.memory);
            self.by_number.clearAndFree(self.gpa);
        }
    };
}

/// The length of all texts of an entry.
fn textLength(value: anytype) usize {
    var length: usize = 0;
    inline for (comptime std.meta.fieldNames(@TypeOf(value))) |name| {
        const field = @field(value, name);
        switch (@TypeOf(field)) {
            []const u8 => length += field.len,
            ?[]const u8 => length += if (field) |text| text.len else 0,
            else => {},
        }
    }
    return length;
}

/// Copies all texts of an entry to memory of its own, which it returns.
pub fn copyTexts(comptime T: type, allocator: Allocator, value: *T) Allocator.Error![]const u8 {
    const memory = try allocator.alloc(u8, textLength(value.*));
    var rest = memory;
    inline for (comptime std.meta.fieldNames(T)) |name| {
        const field = &@field(value, name);
        switch (@TypeOf(field.*)) {
            []const u8 => field.* = moved(&rest, field.*),
            ?[]const u8 => if (field.*) |text| {
                field.* = moved(&rest, text);
            },
            else => {},
        }
    }
    return memory;
}

fn moved(rest: *[]u8, text: []const u8) []const u8 {
    const copy = rest.*[0..text.len];
    @memcpy(copy, text);
    rest.* = rest.*[text.len..];
    return copy;
}

/// The transformer's own meters and resources.
pub const Own = struct {
    /// Of all entries.
    arena: std.heap.ArenaAllocator,
    meters: Numbers(Meter) = .{},
    resources: Numbers(Resource) = .{},
    text_length: usize = 0,

    // Numbering starts again beyond these limits, well below those of the contract: 10,000 meters,
    // 50,000 resources, 64 MiB.
    const max_meters = 8_000;
    const max_resources = 25_000;
    const max_text = 16 << 20;

    fn init(gpa: Allocator) Own {
        return .{ .arena = .init(gpa) };
    }

    /// Call it before each call of the transformer. If there are too many entries, numbering starts
    /// again, and the host replaces its entries.
    pub fn begin(self: *Own) void {
        const too_many = self.meters.count() > max_meters or self.resources.count() > max_resources;
        if (too_many or self.text_length > max_text) self.clear();
    }

    fn clear(self: *Own) void {
        _ = self.arena.reset(.free_all);
        self.meters = .{};
        self.resources = .{};
        self.text_length = 0;
    }

    pub fn meter(self: *Own, wanted: Meter) Allocator.Error!u32 {
        return self.meters.number(self, wanted);
    }

    pub fn resource(self: *Own, wanted: Resource) Allocator.Error!u32 {
        return self.resources.number(self, wanted);
    }
};

/// Own entries of one kind by content, in the order of their numbers.
fn Numbers(comptime T: type) type {
    return struct {
        entries: std.array_hash_map.Custom(T, void, Content, true) = .empty,
        /// The number of entries that the host has.
        sent: usize = 0,

        const Self = @This();

        fn count(self: *const Self) usize {
            return self.entries.count();
        }

        fn number(self: *Self, own: *Own, wanted: T) Allocator.Error!u32 {
            if (self.entries.getIndex(wanted)) |index| return first_own + @as(u32, @intCast(index));
            const memory = own.arena.allocator();
            var copy = wanted;
            own.text_length += (try copyTexts(T, memory, &copy)).len;
            try self.entries.putNoClobber(memory, copy, {});
            return first_own + @as(u32, @intCast(self.entries.count() - 1));
        }

        /// Takes the entries that the host does not have yet, and the number of the first. They
        /// then count as sent, so call this only for an answer that the host gets.
        pub fn send(self: *Self) struct { u32, []const T } {
            const first = self.sent;
            self.sent = self.entries.count();
            return .{ first_own + @as(u32, @intCast(first)), self.entries.keys()[first..] };
        }
    };
}

/// Hashes all texts; equality compares the other fields, too.
const Content = struct {
    pub fn hash(_: Content, one: anytype) u32 {
        var hasher: std.hash.Wyhash = .init(0);
        inline for (comptime std.meta.fieldNames(@TypeOf(one))) |name| {
            const field = @field(one, name);
            switch (@TypeOf(field)) {
                []const u8 => hasher.update(field),
                ?[]const u8 => hasher.update(field orelse ""),
                else => {},
            }
        }
        return @truncate(hasher.final());
    }

    pub fn eql(_: Content, one: anytype, other: @TypeOf(one), _: usize) bool {
        return one.eql(other);
    }
};

/// Keeps one value per meter or resource, so that it is computed once per entry instead of once per
/// row.
///
///     const day = try self.days.resource(row);
///     if (day.* == null) day.* = self.dayOf(row.resource);
pub fn Cache(comptime T: type) type {
    return struct {
        gpa: Allocator,
        by_number: std.ArrayList(Item) = .empty,

        const Self = @This();
        const Item = struct { serial: u64 = 0, value: ?T = null };

        pub fn init(gpa: Allocator) Self {
            return .{ .gpa = gpa };
        }

        pub fn deinit(self: *Self) void {
            self.by_number.deinit(self.gpa);
        }

        /// The value for the meter of a row: null at first, and again when the number stands for
        /// another meter. The pointer is valid until the next lookup.
        pub fn meter(self: *Self, row: Row) Allocator.Error!*?T {
            return self.item(row.meter_number, row.meter_serial);
        }

        /// The value for the resource of a row, likewise.
        pub fn resource(self: *Self, row: Row) Allocator.Error!*?T {
            return self.item(row.resource_number, row.resource_serial);
        }

        fn item(self: *Self, number: u32, serial: u64) Allocator.Error!*?T {
            const items = self.by_number.items;
            if (number < items.len and items[number].serial == serial) return &items[number].value;
            return self.renewed(number, serial);
        }

        fn renewed(self: *Self, number: u32, serial: u64) Allocator.Error!*?T {
            if (number >= self.by_number.items.len) {
                try self.by_number.appendNTimes(self.gpa, .{}, number - self.by_number.items.len + 1);
            }
            self.by_number.items[number] = .{ .serial = serial };
            return &self.by_number.items[number].value;
        }

        /// Drops all values.
        pub fn clear(self: *Self) void {
            self.by_number.clearRetainingCapacity();
        }
    };
}
