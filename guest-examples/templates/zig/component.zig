//! What the component is built of: the root file of `zig build-exe`.

const nephometer = @import("nephometer");
const {{Name}} = @import("transformer.zig").{{Name}};

pub const panic = nephometer.panic;

comptime {
    nephometer.exportStateful({{Name}}, @import("bindings"));
}
