//! The component's own log. Without a host and without `testing.rememberLog`, lines go nowhere.

const std = @import("std");

/// How much a line matters, in the order of the contract.
pub const Level = enum { trace, debug, info, warn, @"error" };

pub const Sink = *const fn (level: Level, message: []const u8) void;

var sink: ?Sink = null;

/// Sends all lines somewhere; the export sends them to the host.
pub fn sendTo(where: Sink) void {
    sink = where;
}

/// Writes one line.
pub fn write(level: Level, message: []const u8) void {
    if (sink) |where| where(level, message);
}

/// Writes one line, formatted. The host cuts lines over 1 KiB.
pub fn print(level: Level, comptime format: []const u8, args: anytype) void {
    var buffer: [2048]u8 = undefined;
    var writer: std.Io.Writer = .fixed(&buffer);
    var end: usize = 0;
    if (writer.print(format, args)) {
        end = writer.end;
    } else |_| {
        // Not within a character: texts for the host are UTF-8.
        end = writer.end;
        while (end > 0 and !std.unicode.utf8ValidateSlice(buffer[0..end])) end -= 1;
    }
    write(level, buffer[0..end]);
}

/// Every detail, for the author.
pub fn trace(comptime format: []const u8, args: anytype) void {
    print(.trace, format, args);
}

/// For finding faults.
pub fn debug(comptime format: []const u8, args: anytype) void {
    print(.debug, format, args);
}

/// Worth knowing.
pub fn info(comptime format: []const u8, args: anytype) void {
    print(.info, format, args);
}

/// Something is not as it should be; work goes on.
pub fn warn(comptime format: []const u8, args: anytype) void {
    print(.warn, format, args);
}

/// Something failed.
pub fn err(comptime format: []const u8, args: anytype) void {
    print(.@"error", format, args);
}
