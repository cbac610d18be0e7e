//! The log of the component. Without a host and without `testing.rememberLog`, lines are discarded.

const std = @import("std");

/// The severity of a line, in the order of the contract.
pub const Level = enum { trace, debug, info, warn, @"error" };

pub const Sink = *const fn (level: Level, message: []const u8) void;

var sink: ?Sink = null;

/// Redirects all lines; the export sends them to the host.
pub fn sendTo(where: Sink) void {
    sink = where;
}

/// Writes one line.
pub fn write(level: Level, message: []const u8) void {
    if (sink) |where| where(level, message);
}

/// Formats and writes one line. The host cuts lines at 1 KiB.
pub fn print(level: Level, comptime format: []const u8, args: anytype) void {
    var buffer: [2048]u8 = undefined;
    var writer: std.Io.Writer = .fixed(&buffer);
    var end: usize = 0;
    if (writer.print(format, args)) {
        end = writer.end;
    } else |_| {
        // Not within a character, because texts for the host must be UTF-8.
        end = writer.end;
        while (end > 0 and !std.unicode.utf8ValidateSlice(buffer[0..end])) end -= 1;
    }
    write(level, buffer[0..end]);
}

/// Writes a detail, for authors.
pub fn trace(comptime format: []const u8, args: anytype) void {
    print(.trace, format, args);
}

/// Writes a line for finding faults.
pub fn debug(comptime format: []const u8, args: anytype) void {
    print(.debug, format, args);
}

/// Writes a line worth knowing.
pub fn info(comptime format: []const u8, args: anytype) void {
    print(.info, format, args);
}

/// Writes that something is unexpected, but the work goes on.
pub fn warn(comptime format: []const u8, args: anytype) void {
    print(.warn, format, args);
}

/// Writes that something failed.
pub fn err(comptime format: []const u8, args: anytype) void {
    print(.@"error", format, args);
}
