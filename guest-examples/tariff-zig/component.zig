//! The root file of the component.

const nephometer = @import("nephometer");
const Tariff = @import("tariff.zig").Tariff;

pub const panic = nephometer.panic;

comptime {
    nephometer.exportStateful(Tariff, @import("bindings"));
}
