//! What the component is built of: the root file of `zig build-exe`.

const nephometer = @import("nephometer");
const Scaler = @import("transformer.zig").Scaler;

pub const panic = nephometer.panic;

comptime {
    nephometer.exportStateful(Scaler, @import("bindings"));
}
