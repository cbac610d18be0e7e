//! Totals of costs, and their saved form.

const std = @import("std");
const nephometer = @import("nephometer");
const Allocator = std.mem.Allocator;
const json = nephometer.json;

/// A compensated sum (Neumaier): `rest` holds the rounding errors, so small costs are not lost.
pub const Total = struct {
    /// The source of the first sample.
    source: []const u8,
    sum: f64 = 0,
    rest: f64 = 0,

    /// Adds a cost, which is not negative.
    pub fn add(self: *Total, cost: f64) void {
        const sum = self.sum + cost;
        const large = @max(self.sum, cost);
        const small = @min(self.sum, cost);
        self.rest += (large - sum) + small;
        self.sum = sum;
    }

    pub fn value(self: Total) f64 {
        return self.sum + self.rest;
    }
};

/// The totals by project, with memory of their own.
pub const Totals = struct {
    arena: std.heap.ArenaAllocator,
    projects: std.array_hash_map.String(Total) = .empty,

    pub fn init(gpa: Allocator) Totals {
        return .{ .arena = .init(gpa) };
    }

    pub fn deinit(self: *Totals) void {
        self.arena.deinit();
    }

    /// The index of the total of a project; a new one starts at 0.
    pub fn place(self: *Totals, project: []const u8, source: []const u8) Allocator.Error!usize {
        if (self.projects.getIndex(project)) |known| return known;
        try self.put(project, .{ .source = source });
        return self.projects.count() - 1;
    }

    /// The total at an index.
    pub fn at(self: *Totals, known: usize) *Total {
        return &self.projects.values()[known];
    }

    fn put(self: *Totals, project: []const u8, total: Total) Allocator.Error!void {
        const memory = self.arena.allocator();
        const entry = try self.projects.getOrPutValue(memory, try memory.dupe(u8, project), total);
        entry.value_ptr.* = total;
        entry.value_ptr.source = try memory.dupe(u8, total.source);
    }

    pub const Entry = struct { project: []const u8, total: Total };

    /// In the order of the projects.
    pub fn sorted(self: *const Totals, arena: Allocator) Allocator.Error![]const Entry {
        const entries = try arena.alloc(Entry, self.projects.count());
        for (entries, self.projects.keys(), self.projects.values()) |*entry, project, total| {
            entry.* = .{ .project = project, .total = total };
        }
        std.mem.sortUnstable(Entry, entries, {}, before);
        return entries;
    }

    fn before(_: void, one: Entry, other: Entry) bool {
        return std.mem.lessThan(u8, one.project, other.project);
    }

    const Saved = struct { []const u8, []const u8, json.Short, json.Short };

    /// The state, in the format of all languages: project, source, sum and rest.
    pub fn save(self: *const Totals, arena: Allocator, currency: []const u8) Allocator.Error![]const u8 {
        const entries = try self.sorted(arena);
        const totals = try arena.alloc(Saved, entries.len);
        for (totals, entries) |*saved, entry| {
            const total = entry.total;
            saved.* = .{ entry.project, total.source, json.short(total.sum), json.short(total.rest) };
        }
        return std.json.Stringify.valueAlloc(arena, .{ .currency = currency, .totals = totals }, .{});
    }
};

/// The content of a saved state.
pub const State = struct {
    currency: []const u8,
    totals: Totals,

    /// Parses a state in memory of the arena. The totals get memory of their own.
    pub fn read(gpa: Allocator, arena: Allocator, text: []const u8) error{ Damaged, OutOfMemory }!State {
        const state = json.parse(arena, text) catch |fault| return switch (fault) {
            error.OutOfMemory => error.OutOfMemory,
            else => error.Damaged,
        };
        if (state != .object) return error.Damaged;
        const currency = state.object.get("currency") orelse return error.Damaged;
        const saved = state.object.get("totals") orelse return error.Damaged;
        if (currency != .string or saved != .array) return error.Damaged;
        var totals: Totals = .init(gpa);
        errdefer totals.deinit();
        for (saved.array.items) |one| {
            if (one != .array or one.array.items.len != 4) return error.Damaged;
            const project, const source, const sum, const rest = one.array.items[0..4].*;
            if (project != .string or source != .string) return error.Damaged;
            const total: Total = .{ .source = source.string, .sum = try finite(sum), .rest = try finite(rest) };
            try totals.put(project.string, total);
        }
        return .{ .currency = currency.string, .totals = totals };
    }

    fn finite(value: std.json.Value) error{Damaged}!f64 {
        const number = json.number(value) orelse return error.Damaged;
        return if (std.math.isFinite(number)) number else error.Damaged;
    }
};
