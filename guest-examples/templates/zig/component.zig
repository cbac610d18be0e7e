//! The root file of the component.

const nephometer = @import("nephometer");
const Scaler = @import("transformer.zig").Scaler;

pub const panic = nephometer.panic;

comptime {
    nephometer.exportStateful(Scaler, @import("bindings"));
}
