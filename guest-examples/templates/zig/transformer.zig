//! `{{name}}`: multiplies every volume by the option `factor`. It counts rows and emits the count at
//! the end of each polling cycle. The count is the state, which survives reloads.

const std = @import("std");
const nephometer = @import("nephometer");
const Call = nephometer.Call;

pub const Scaler = struct {
    factor: f64,
    rows: u64 = 0,

    pub const description: nephometer.Description = .{
        .name = "{{name}}",
        .version = "0.1.0",
        .summary = "scales volumes",
        .options_schema = @embedFile("options.schema.json"),
        .state_version = 1,
    };

    pub fn init(_: std.mem.Allocator, options: *const nephometer.OptionReader) !Scaler {
        const factor = try options.number("factor") orelse 1;
        if (factor == 0) try options.refuse(.{"factor"}, "is 0, which would make all volumes 0", .{});
        try options.check();
        return .{ .factor = factor };
    }

    pub fn deinit(_: *Scaler) void {}

    /// All meters; `.{ .meters = &.{...} }` may name some.
    pub fn settings(_: *const Scaler) nephometer.Settings {
        return .{};
    }

    pub fn transform(self: *Scaler, call: *Call, batch: *const nephometer.Batch) !nephometer.Outcome {
        var answer: nephometer.AnswerBuilder = try .init(call, batch);
        var rows = batch.rows();
        while (rows.next()) |row| {
            try answer.derive(row, row.meter_number, row.volume * self.factor);
            self.rows += 1;
        }
        return answer.outcome();
    }

    pub fn flush(self: *Scaler, call: *Call, now: u64) !?nephometer.Answer {
        var answer: nephometer.AnswerBuilder = try .init(call, null);
        const meter = try answer.meter(.{ .name = "{{name}}.rows", .unit = "row", .type = .cumulative });
        const resource = try answer.resource(.{ .id = "{{name}}", .source = "openstack" });
        try answer.create(meter, resource, now, @floatFromInt(self.rows));
        return answer.finish();
    }

    const State = struct { rows: u64 };

    pub fn save(self: *const Scaler, call: *Call) ![]const u8 {
        return std.fmt.allocPrint(call.arena, "{{\"rows\": {d}}}", .{self.rows});
    }

    pub fn restore(self: *Scaler, call: *Call, version: u32, text: []const u8) !void {
        if (version != 1) return call.wrongState("state of version {d}; this component reads 1", .{version});
        const state = std.json.parseFromSliceLeaky(State, call.arena, text, .{}) catch
            return call.wrongState("the state is damaged", .{});
        self.rows = state.rows;
    }
};
