const std = @import("std");
const Allocator = std.mem.Allocator;
const Row = @import("batch.zig").Row;
const log = @import("log.zig");

/// One log line for all rows of a batch with the same problem.
pub const Complaint = struct {
    arena: Allocator,
    level: log.Level,
    /// What happens to the rows, such as `dropping late samples`.
    what: []const u8,
    rows: usize = 0,
    first: []const u8 = "",

    pub fn init(arena: Allocator, level: log.Level, what: []const u8) Complaint {
        return .{ .arena = arena, .level = level, .what = what };
    }

    /// Counts a row. The first one is named in the line, with the reason.
    pub fn add(self: *Complaint, row: Row, comptime format: []const u8, args: anytype) Allocator.Error!void {
        if (self.rows == 0) {
            const about = "{s} of {s}" ++ (if (format.len > 0) ": " ++ format else "");
            self.first = try std.fmt.allocPrint(self.arena, about, .{ row.meter.name, row.resource.id } ++ args);
        }
        self.rows += 1;
    }

    /// Writes the line, unless there are no rows.
    pub fn write(self: *const Complaint) void {
        switch (self.rows) {
            0 => {},
            1 => log.print(self.level, "{s}: {s}", .{ self.what, self.first }),
            else => log.print(self.level, "{s}: {s}, and {d} more", .{ self.what, self.first, self.rows - 1 }),
        }
    }
};
