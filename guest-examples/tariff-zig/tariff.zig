//! `tariff`: the cost of processor time, by project and hour of the day.
//!
//! Every `cpu` sample of type delta becomes a gauge `cost`, priced by its project and the UTC hour
//! of its time. A sample of a project without prices is dropped and logged; the host counts it as
//! absorbed. All other samples pass. Each flush emits a `cost.total` per project, the sum of all
//! its costs. The state is JSON, in the same format as in the other languages.

const std = @import("std");
const nephometer = @import("nephometer");
const prices = @import("prices.zig");
const total = @import("total.zig");
const Allocator = std.mem.Allocator;
const Answer = nephometer.Answer;
const AnswerBuilder = nephometer.AnswerBuilder;
const Batch = nephometer.Batch;
const Cache = nephometer.Cache;
const Call = nephometer.Call;
const Complaint = nephometer.Complaint;
const OptionReader = nephometer.OptionReader;
const Outcome = nephometer.Outcome;
const Row = nephometer.Row;
const short = nephometer.json.short;

const state_version = 1;
/// Nanoseconds.
pub const hour = 3_600_000_000_000;

/// The configured transformer with its totals by project.
pub const Tariff = struct {
    gpa: Allocator,
    /// The memory of the options.
    arena: std.heap.ArenaAllocator,
    currency: []const u8,
    prices: prices.Prices,
    totals: total.Totals,
    /// By resource.
    payers: Cache(Payer),
    /// By meter: whether it has a price.
    priced: Cache(bool),

    /// The prices and the total of a resource, looked up with its first row.
    const Payer = struct {
        /// Of its project; null without prices.
        day: ?*const [24]f64,
        /// The index of the project's total; null before the first cost.
        total: ?usize = null,
    };

    pub const description: nephometer.Description = .{
        .name = "tariff",
        .version = "0.1.0",
        .summary = "cost of processor time",
        .options_schema = @embedFile("options.schema.json"),
        .state_version = state_version,
    };

    pub fn init(gpa: Allocator, options: *const OptionReader) !Tariff {
        var arena: std.heap.ArenaAllocator = .init(gpa);
        errdefer arena.deinit();
        const currency = try arena.allocator().dupe(u8, try options.text("currency") orelse "");
        const known = try prices.read(arena.allocator(), &try options.object("prices"));
        try options.check();
        return .{
            .gpa = gpa,
            .arena = arena,
            .currency = currency,
            .prices = known,
            .totals = .init(gpa),
            .payers = .init(gpa),
            .priced = .init(gpa),
        };
    }

    pub fn deinit(self: *Tariff) void {
        self.payers.deinit();
        self.priced.deinit();
        self.totals.deinit();
        self.arena.deinit();
    }

    pub fn settings(_: *const Tariff) nephometer.Settings {
        return .{ .meters = &.{"cpu"} };
    }

    pub fn transform(self: *Tariff, call: *Call, batch: *const Batch) !Outcome {
        if (!try self.anyPriced(batch)) return .unchanged;
        var refused: Complaint = .init(call.arena, .warn, "dropping samples without a cost");
        var answer: AnswerBuilder = try .init(call, batch);
        const cost_meter = try answer.meter(.{ .name = "cost", .unit = self.currency, .type = .gauge });
        var rows = batch.rows();
        while (rows.next()) |row| {
            if (!try self.isPriced(row)) {
                try answer.keep(row);
                continue;
            }
            const project = row.resource.project_id orelse "";
            const payer = try self.payerOf(row, project);
            const day = payer.day orelse {
                if (project.len == 0) {
                    try refused.add(row, "no project", .{});
                } else try refused.add(row, "project \"{s}\" has no prices", .{project});
                continue;
            };
            const cost = row.volume / hour * day[@intCast(row.time / hour % 24)];
            // A cost that is not finite would invalidate the whole answer, and totals never
            // decrease.
            if (!(cost >= 0 and cost < std.math.inf(f64))) {
                try refused.add(row, "volume is {f}", .{short(row.volume)});
                continue;
            }
            if (payer.total == null) payer.total = try self.totals.place(project, row.resource.source);
            self.totals.at(payer.total.?).add(cost);
            try answer.derive(row, cost_meter, cost);
        }
        refused.write();
        return answer.outcome();
    }

    fn anyPriced(self: *Tariff, batch: *const Batch) !bool {
        var rows = batch.rows();
        while (rows.next()) |row| if (try self.isPriced(row)) return true;
        return false;
    }

    fn isPriced(self: *Tariff, row: Row) !bool {
        const priced = try self.priced.meter(row);
        if (priced.* == null) priced.* = row.meter.type == .delta and std.mem.eql(u8, row.meter.name, "cpu");
        return priced.*.?;
    }

    fn payerOf(self: *Tariff, row: Row, project: []const u8) !*Payer {
        const payer = try self.payers.resource(row);
        if (payer.* == null) payer.* = .{ .day = self.prices.getPtr(project) };
        return &payer.*.?;
    }

    pub fn flush(self: *Tariff, call: *Call, now: u64) !?Answer {
        const totals = try self.totals.sorted(call.arena);
        if (totals.len == 0) return null;
        var answer: AnswerBuilder = try .init(call, null);
        const meter = try answer.meter(.{ .name = "cost.total", .unit = self.currency, .type = .cumulative });
        for (totals) |one| {
            const project = one.project;
            const resource = try answer.resource(.{ .id = project, .source = one.total.source, .project_id = project });
            try answer.create(meter, resource, now, one.total.value());
        }
        return answer.finish();
    }

    pub fn save(self: *const Tariff, call: *Call) ![]const u8 {
        return self.totals.save(call.arena, self.currency);
    }

    pub fn restore(self: *Tariff, call: *Call, version: u32, text: []const u8) !void {
        if (version != state_version) {
            return call.wrongState("state of version {d}; this component reads {d}", .{ version, state_version });
        }
        var state = total.State.read(self.gpa, call.arena, text) catch |fault| switch (fault) {
            error.Damaged => return call.wrongState("the state is damaged", .{}),
            error.OutOfMemory => return fault,
        };
        errdefer state.totals.deinit();
        if (!std.mem.eql(u8, state.currency, self.currency)) {
            return call.wrongState("the totals are in {s}, the options specify {s}", .{ state.currency, self.currency });
        }
        self.totals.deinit();
        self.totals = state.totals;
        // Payers refer to the previous totals.
        self.payers.clear();
    }
};
