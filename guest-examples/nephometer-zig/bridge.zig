//! The exported functions of the world, which call the transformer. Works in a component only.
//!
//! The C code of wit-bindgen calls one function per export of the world; this file defines them.
//! `c` is the result of `zig translate-c` for its header:
//!
//!     comptime {
//!         nephometer.exportStateful(MyTransformer, @import("bindings"));
//!     }

const std = @import("std");
const Allocator = std.mem.Allocator;
const Answer = @import("answer.zig").Answer;
const Outcome = @import("answer.zig").Outcome;
const Batch = @import("batch.zig").Batch;
const Call = @import("transformer.zig").Call;
const Derived = @import("answer.zig").Derived;
const Dictionary = @import("dictionary.zig").Dictionary;
const ExactInteger = @import("batch.zig").ExactInteger;
const Fact = @import("transformer.zig").Fact;
const Meter = @import("batch.zig").Meter;
const OptionError = @import("options.zig").OptionError;
const OptionReader = @import("options.zig").OptionReader;
const Resource = @import("batch.zig").Resource;
const json = @import("json.zig");
const log = @import("log.zig");

/// Logs a panic before it ends the instance.
pub const panic = std.debug.FullPanic(logPanic);

fn logPanic(message: []const u8, _: ?usize) noreturn {
    log.write(.@"error", message);
    @trap();
}

/// Exports a transformer with state.
pub fn exportStateful(comptime T: type, comptime c: type) void {
    exportStateless(T, c);
    const prefix = "exports_nephometer_metering_stateful_";
    @export(&Bridge(T, c).flush, .{ .name = prefix ++ "flush" });
    @export(&Bridge(T, c).save, .{ .name = prefix ++ "save" });
    @export(&Bridge(T, c).restore, .{ .name = prefix ++ "restore" });
}

/// Exports a transformer without state.
pub fn exportStateless(comptime T: type, comptime c: type) void {
    const prefix = "exports_nephometer_metering_";
    @export(&Bridge(T, c).describe, .{ .name = prefix ++ "component_describe" });
    @export(&Bridge(T, c).configure, .{ .name = prefix ++ "component_configure" });
    @export(&Bridge(T, c).learn, .{ .name = prefix ++ "dictionary_learn" });
    @export(&Bridge(T, c).transform, .{ .name = prefix ++ "transform_transform" });
}

fn Bridge(comptime T: type, comptime c: type) type {
    return struct {
        const gpa = std.heap.c_allocator;
        /// The memory that a call may keep for reuse by the next one.
        const kept_memory = 4 << 20;

        // One instance of a component serves one place in a pipeline: there is one transformer.
        var configured: ?T = null;
        var arena: std.heap.ArenaAllocator = .init(gpa);
        var dictionary: Dictionary = .init(gpa);

        const String = @FieldType(c.nephometer_metering_types_meter_t, "name");
        const CMeter = c.nephometer_metering_types_meter_t;
        const CResource = c.nephometer_metering_types_resource_t;
        const OptionalString = @FieldType(c.nephometer_metering_types_resource_t, "project_id");
        const Input = c.exports_nephometer_metering_transform_batch_t;
        const Refusal = c.exports_nephometer_metering_transform_refusal_t;
        const Facts = @FieldType(c.exports_nephometer_metering_component_description_t, "facts");

        fn begin() Call {
            log.sendTo(toHost);
            return .{ .arena = arena.allocator(), .dictionary = &dictionary };
        }

        fn end() void {
            _ = arena.reset(.{ .retain_with_limit = kept_memory });
        }

        fn toHost(level: log.Level, message: []const u8) void {
            var text: String = .{ .ptr = @constCast(message.ptr), .len = message.len };
            c.nephometer_metering_log_write(@intFromEnum(level), &text);
        }

        fn fail(fault: anyerror, comptime where: []const u8) noreturn {
            log.err("{s} in {s}", .{ @errorName(fault), where });
            @trap();
        }

        fn describe(ret: *c.exports_nephometer_metering_component_description_t) callconv(.c) void {
            const one = T.description;
            ret.* = .{
                .name = string(one.name),
                .version = string(one.version),
                .summary = string(one.summary),
                .options_schema = string(one.options_schema),
                .state_version = one.state_version,
                .facts = list(Facts, one.facts, pair),
            };
        }

        fn configure(
            options: *String,
            ret: *c.exports_nephometer_metering_component_settings_t,
            err: *c.exports_nephometer_metering_component_list_option_error_t,
        ) callconv(.c) bool {
            defer free(options.*);
            const call = begin();
            defer end();
            var errors: std.ArrayList(OptionError) = .empty;
            const transformer = make(call.arena, native(options.*), &errors) catch |fault| {
                if (fault != error.WrongOptions) fail(fault, "configure");
                err.* = list(@TypeOf(err.*), errors.items, optionError);
                return false;
            };
            if (configured) |*old| old.deinit();
            configured = transformer;
            dictionary.clear();
            const one = configured.?.settings();
            ret.* = .{
                .meters = list(@TypeOf(ret.meters), one.meters, string),
                .metadata = list(@TypeOf(ret.metadata), one.metadata, string),
                .texts = c.EXPORTS_NEPHOMETER_METERING_COMPONENT_TEXT_FORM_NONE,
                .facts = list(Facts, one.facts, pair),
            };
            return true;
        }

        fn make(scratch: Allocator, options: []const u8, errors: *std.ArrayList(OptionError)) anyerror!T {
            const reader: OptionReader = try .init(scratch, try json.parse(scratch, options), errors);
            return T.init(gpa, &reader);
        }

        fn learn(what: *c.exports_nephometer_metering_dictionary_changes_t) callconv(.c) void {
            defer c.exports_nephometer_metering_dictionary_changes_free(what);
            log.sendTo(toHost);
            for (native(what.forgotten_meters)) |number| dictionary.meters.forget(number);
            for (native(what.forgotten_resources)) |number| dictionary.resources.forget(number);
            for (native(what.meters)) |one| {
                dictionary.meters.add(one.number, nativeMeter(one.entry)) catch |fault| fail(fault, "learn");
            }
            for (native(what.resources)) |one| {
                dictionary.resources.add(one.number, nativeResource(one.entry)) catch |fault| fail(fault, "learn");
            }
        }

        fn transform(
            input: *Input,
            ret: *c.exports_nephometer_metering_transform_outcome_t,
            err: *Refusal,
        ) callconv(.c) bool {
            defer c.exports_nephometer_metering_transform_batch_free(input);
            var call = begin();
            defer end();
            const outcome = transformed(&call, input) catch |fault| return refused(err, &call, fault, "transform");
            switch (outcome) {
                .unchanged => ret.tag = c.EXPORTS_NEPHOMETER_METERING_TRANSFORM_OUTCOME_UNCHANGED,
                .keep => |rows| {
                    ret.tag = c.EXPORTS_NEPHOMETER_METERING_TRANSFORM_OUTCOME_KEEP;
                    ret.val.keep = column(@TypeOf(ret.val.keep), rows);
                },
                .derive => |rows| {
                    ret.tag = c.EXPORTS_NEPHOMETER_METERING_TRANSFORM_OUTCOME_DERIVE;
                    ret.val.derive = derived(rows);
                },
                .replace => |rows| {
                    ret.tag = c.EXPORTS_NEPHOMETER_METERING_TRANSFORM_OUTCOME_REPLACE;
                    ret.val.replace = answer(rows);
                },
            }
            return true;
        }

        fn transformed(call: *Call, input: *const Input) anyerror!Outcome {
            const batch = try nativeBatch(call.arena, input);
            dictionary.own.begin();
            return (try ready(call)).transform(call, &batch);
        }

        fn flush(now: u64, ret: *c.exports_nephometer_metering_stateful_option_answer_t, err: *Refusal) callconv(.c) bool {
            var call = begin();
            defer end();
            const rows = flushed(&call, now) catch |fault| return refused(err, &call, fault, "flush");
            ret.is_some = rows != null;
            if (rows) |some| ret.val = answer(some);
            return true;
        }

        fn flushed(call: *Call, now: u64) anyerror!?Answer {
            dictionary.own.begin();
            return (try ready(call)).flush(call, now);
        }

        fn save(ret: *c.stateful_transformer_list_u8_t, err: *String) callconv(.c) bool {
            var call = begin();
            defer end();
            const state = saved(&call) catch |fault| return wrongState(err, &call, fault, "save");
            ret.* = column(@TypeOf(ret.*), state);
            return true;
        }

        fn saved(call: *Call) anyerror![]const u8 {
            return (try ready(call)).save(call);
        }

        fn restore(version: u32, state: *c.stateful_transformer_list_u8_t, err: *String) callconv(.c) bool {
            defer free(state.*);
            var call = begin();
            defer end();
            restored(&call, version, native(state.*)) catch |fault| return wrongState(err, &call, fault, "restore");
            return true;
        }

        fn restored(call: *Call, version: u32, state: []const u8) anyerror!void {
            return (try ready(call)).restore(call, version, state);
        }

        fn ready(call: *Call) !*T {
            return if (configured) |*one| one else call.broken("called before it was configured", .{});
        }

        fn refused(err: *Refusal, call: *const Call, fault: anyerror, comptime where: []const u8) bool {
            switch (fault) {
                error.Rejected => err.* = .{
                    .tag = c.EXPORTS_NEPHOMETER_METERING_TRANSFORM_REFUSAL_REJECTED,
                    .val = .{ .rejected = string(call.reason) },
                },
                error.Broken => err.* = .{
                    .tag = c.EXPORTS_NEPHOMETER_METERING_TRANSFORM_REFUSAL_BROKEN,
                    .val = .{ .broken = string(call.reason) },
                },
                else => fail(fault, where),
            }
            return false;
        }

        fn wrongState(err: *String, call: *const Call, fault: anyerror, comptime where: []const u8) bool {
            if (fault != error.WrongState and fault != error.Broken) fail(fault, where);
            err.* = string(call.reason);
            return false;
        }

        // Arguments belong to the callee. Columns and texts are used in place.

        fn free(given: anytype) void {
            if (given.len > 0) std.c.free(given.ptr);
        }

        fn native(given: anytype) []const std.meta.Child(@TypeOf(given.ptr)) {
            return if (given.len == 0) &.{} else given.ptr[0..given.len];
        }

        fn nativeOptional(given: OptionalString) ?[]const u8 {
            return if (given.is_some) native(given.val) else null;
        }

        fn nativeMeter(given: CMeter) Meter {
            return .{ .name = native(given.name), .unit = native(given.unit), .type = @enumFromInt(given.type) };
        }

        fn nativeResource(given: CResource) Resource {
            return .{
                .id = native(given.id),
                .source = native(given.source),
                .project_id = nativeOptional(given.project_id),
                .user_id = nativeOptional(given.user_id),
                .metadata_text = native(given.metadata),
            };
        }

        fn nativeBatch(scratch: Allocator, given: *const Input) !Batch {
            const exact = try scratch.alloc(ExactInteger, given.exact.len);
            for (exact, native(given.exact)) |*to, one| to.* = .{ .row = one.row, .value = one.value };
            const removed = try scratch.alloc([]const u8, given.removed.len);
            for (removed, native(given.removed)) |*id, one| id.* = native(one);
            return .{
                .dictionary = &dictionary,
                .meter = native(given.meter),
                .resource = native(given.resource),
                .time = native(given.time),
                .monotonic = native(given.monotonic),
                .volume = native(given.volume),
                .exact = exact,
                .removed = removed,
            };
        }

        // Results are copied to memory that the generated code frees, except for empty lists.

        fn column(comptime L: type, items: anytype) L {
            if (items.len == 0) return .{ .ptr = null, .len = 0 };
            const copy = gpa.dupe(std.meta.Child(@TypeOf(items)), items) catch |fault| fail(fault, "an answer");
            return .{ .ptr = copy.ptr, .len = copy.len };
        }

        fn string(text: []const u8) String {
            return column(String, text);
        }

        fn optionalString(text: ?[]const u8) OptionalString {
            return .{ .is_some = text != null, .val = string(text orelse "") };
        }

        fn list(comptime L: type, items: anytype, comptime lowered: anytype) L {
            if (items.len == 0) return .{ .ptr = null, .len = 0 };
            const Item = std.meta.Child(@FieldType(L, "ptr"));
            const copy = gpa.alloc(Item, items.len) catch |fault| fail(fault, "an answer");
            for (copy, items) |*to, item| to.* = lowered(item);
            return .{ .ptr = copy.ptr, .len = copy.len };
        }

        fn pair(fact: Fact) std.meta.Child(@FieldType(Facts, "ptr")) {
            return .{ .f0 = string(fact[0]), .f1 = string(fact[1]) };
        }

        fn optionError(one: OptionError) c.exports_nephometer_metering_component_option_error_t {
            return .{ .pointer = string(one.pointer), .reason = string(one.reason) };
        }

        fn meterOut(one: Meter) CMeter {
            return .{ .name = string(one.name), .unit = string(one.unit), .type = @intFromEnum(one.type) };
        }

        fn resourceOut(one: Resource) CResource {
            return .{
                .id = string(one.id),
                .source = string(one.source),
                .project_id = optionalString(one.project_id),
                .user_id = optionalString(one.user_id),
                .metadata = string(one.metadata_text),
            };
        }

        fn exactOut(one: ExactInteger) c.nephometer_metering_types_exact_integer_t {
            return .{ .row = one.row, .value = one.value };
        }

        /// Takes the new entries of the transformer's own. They count as sent.
        fn sent(comptime L: type, numbers: anytype, comptime lowered: anytype) L {
            const first, const entries = numbers.send();
            if (entries.len == 0) return .{ .ptr = null, .len = 0 };
            const Item = std.meta.Child(@FieldType(L, "ptr"));
            const copy = gpa.alloc(Item, entries.len) catch |fault| fail(fault, "an answer");
            for (copy, entries, first..) |*to, entry, number| {
                to.* = .{ .number = @intCast(number), .entry = lowered(entry) };
            }
            return .{ .ptr = copy.ptr, .len = copy.len };
        }

        fn derived(rows: Derived) c.exports_nephometer_metering_transform_derived_t {
            const To = c.exports_nephometer_metering_transform_derived_t;
            return .{
                .meters = sent(@FieldType(To, "meters"), &dictionary.own.meters, meterOut),
                .origin = column(@FieldType(To, "origin"), rows.origin),
                .meter = column(@FieldType(To, "meter"), rows.meter),
                .volume = column(@FieldType(To, "volume"), rows.volume),
                .exact = list(@FieldType(To, "exact"), rows.exact, exactOut),
            };
        }

        fn answer(rows: Answer) c.exports_nephometer_metering_transform_answer_t {
            const To = c.exports_nephometer_metering_transform_answer_t;
            return .{
                .meters = sent(@FieldType(To, "meters"), &dictionary.own.meters, meterOut),
                .resources = sent(@FieldType(To, "resources"), &dictionary.own.resources, resourceOut),
                .origin = column(@FieldType(To, "origin"), rows.origin),
                .meter = column(@FieldType(To, "meter"), rows.meter),
                .resource = column(@FieldType(To, "resource"), rows.resource),
                .time = column(@FieldType(To, "time"), rows.time),
                .volume = column(@FieldType(To, "volume"), rows.volume),
                .exact = list(@FieldType(To, "exact"), rows.exact, exactOut),
            };
        }
    };
}
