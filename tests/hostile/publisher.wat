;; The core module of a publisher, with its work in place of BODY, what that needs in place of MORE and
;; its imports in place of IMPORTS. The description is at 1024, its settings (all meters) at 1088, its
;; answer (ok) at 1152, its name at 2048; from 4096 on memory is free for BODY, from 1 MiB for the host.
(module
  IMPORTS
  (memory (export "memory") 64)
  (global $heap (mut i32) (i32.const 1048576))
  ;; Calls of publish until now, this one among them.
  (global $calls (mut i32) (i32.const 0))
  (data (i32.const 1024)
    "\00\08\00\00\07\00\00\00" "\00\08\00\00\01\00\00\00" "\00\08\00\00\07\00\00\00"
    "\00\08\00\00\00\00\00\00" "\00\00\00\00" "\00\00\00\00\00\00\00\00")
  (data (i32.const 2048) "hostile")
  MORE
  ;; What the host hands over is not looked at: the last 3 MiB are used again and again.
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
    (if (i32.gt_u (i32.add (local.get $at) (local.get 3)) (i32.const 4194304))
      (then (local.set $at (i32.const 1048576))))
    (global.set $heap (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (func (export "nephometer:metering/component@0.2.0#describe") (result i32) (i32.const 1024))
  (func (export "nephometer:metering/component@0.2.0#configure") (param i32 i32) (result i32)
    (i32.const 1088))
  (func (export "nephometer:metering/publish@0.2.0#publish") (param i32) (result i32)
    (local $i i32) (local $n i32) (local $one i32)
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    BODY
    (i32.const 1152)))
