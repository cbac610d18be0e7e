//! What the component is built of: the root file of `zig build-exe`.

const nephometer = @import("nephometer");
const Tariff = @import("tariff.zig").Tariff;

pub const panic = nephometer.panic;

comptime {
    nephometer.exportStateful(Tariff, @import("bindings"));
}
