;; Implements the WASI functions that a Go program imports, inside the component.
;;
;; Go compiles for WASI preview 1. A transformer has no files, no clock and no randomness, and must
;; not import them. None of these functions calls the host. Go's collector depends on that: it reads
;; the clock while the host passes arguments, when a component must not call out.
(module
  (import "env" "memory" (memory 0))

  ;; Of 64 bits on purpose: a global of 32 could be taken for a stack pointer.
  (global $now (mut i64) (i64.const 1000000000))
  (global $random (mut i64) (i64.const 0x9e3779b97f4a7c15))

  ;; No arguments, and no environment: two counts of 0.
  (func (export "args_sizes_get") (export "environ_sizes_get") (param $count i32) (param $bytes i32) (result i32)
    (i32.store (local.get $count) (i32.const 0))
    (i32.store (local.get $bytes) (i32.const 0))
    (i32.const 0))
  (func (export "args_get") (export "environ_get") (param i32 i32) (result i32)
    (i32.const 0))

  ;; The clock starts one second after the epoch, because Go interprets 0 as a broken clock. It only
  ;; advances when the program waits, by the time of the wait; so no wait takes time.
  (func (export "clock_time_get") (param $clock i32) (param $precision i64) (param $time i32) (result i32)
    (i64.store (local.get $time) (global.get $now))
    (i32.const 0))
  (func (export "clock_res_get") (param $clock i32) (param $resolution i32) (result i32)
    (i64.store (local.get $resolution) (i64.const 1))
    (i32.const 0))

  ;; The same bytes in every instance (xorshift), so that runs are reproducible.
  (func (export "random_get") (param $at i32) (param $length i32) (result i32)
    (local $end i32)
    (local.set $end (i32.add (local.get $at) (local.get $length)))
    (block $done
      (loop $next
        (br_if $done (i32.eq (local.get $at) (local.get $end)))
        (global.set $random (i64.xor (global.get $random) (i64.shl (global.get $random) (i64.const 13))))
        (global.set $random (i64.xor (global.get $random) (i64.shr_u (global.get $random) (i64.const 7))))
        (global.set $random (i64.xor (global.get $random) (i64.shl (global.get $random) (i64.const 17))))
        (i64.store8 (local.get $at) (i64.shr_u (global.get $random) (i64.const 32)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (i32.const 0))

  ;; Discards output, and reports all of it as written.
  (func (export "fd_write") (param $file i32) (param $parts i32) (param $count i32) (param $written i32) (result i32)
    (local $sum i32)
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $sum (i32.add (local.get $sum) (i32.load offset=4 (local.get $parts))))
        (local.set $parts (i32.add (local.get $parts) (i32.const 8)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
    (i32.store (local.get $written) (local.get $sum))
    (i32.const 0))

  ;; Waiting for a time returns at once and sets the clock to it. Go also calls this, with a time of 0,
  ;; whenever its collector starts. A subscription has 48 bytes, an event 32. There are no files to wait for.
  (func (export "poll_oneoff") (param $at i32) (param $event i32) (param $count i32) (param $events i32) (result i32)
    (local $time i64)
    (i32.store (local.get $events) (i32.const 0))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $count)))
        (if (i32.eqz (i32.load8_u offset=8 (local.get $at))) ;; a clock
          (then
            (local.set $time (i64.load offset=24 (local.get $at)))
            (if (i32.eqz (i32.load16_u offset=40 (local.get $at))) ;; from now on
              (then (local.set $time (i64.add (local.get $time) (global.get $now)))))
            (if (i64.gt_u (local.get $time) (global.get $now))
              (then (global.set $now (local.get $time))))
            (i64.store (local.get $event) (i64.load (local.get $at))) ;; whose event it is
            (i32.store offset=8 (local.get $event) (i32.const 0)) ;; no error, a clock
            (local.set $event (i32.add (local.get $event) (i32.const 32)))
            (i32.store (local.get $events) (i32.add (i32.load (local.get $events)) (i32.const 1)))))
        (local.set $at (i32.add (local.get $at) (i32.const 48)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next)))
    (i32.const 0))

  ;; There is only one thread.
  (func (export "sched_yield") (result i32)
    (i32.const 0))

  ;; A program that exits ends the instance, and the host reports it.
  (func (export "proc_exit") (param i32)
    unreachable)

  ;; Functions on files and sockets return 8 (bad file descriptor). Go requires this error at the end of
  ;; the list of preopened folders.
  (func (export "fd_close") (export "fd_datasync") (export "fd_sync") (param i32) (result i32)
    (i32.const 8))
  (func (export "fd_prestat_get") (export "fd_fdstat_get") (export "fd_fdstat_set_flags") (export "fd_filestat_get")
    (export "fd_renumber") (export "fd_tell") (export "sock_shutdown") (param i32 i32) (result i32)
    (i32.const 8))
  (func (export "fd_prestat_dir_name") (export "sock_accept") (param i32 i32 i32) (result i32)
    (i32.const 8))
  (func (export "fd_read") (param i32 i32 i32 i32) (result i32)
    (i32.const 8))
  (func (export "sock_send") (param i32 i32 i32 i32 i32) (result i32)
    (i32.const 8))
  (func (export "sock_recv") (param i32 i32 i32 i32 i32 i32) (result i32)
    (i32.const 8))
  (func (export "fd_filestat_set_size") (param i32 i64) (result i32)
    (i32.const 8))
  (func (export "fd_allocate") (export "fd_fdstat_set_rights") (param i32 i64 i64) (result i32)
    (i32.const 8))
  (func (export "fd_advise") (export "fd_filestat_set_times") (param i32 i64 i64 i32) (result i32)
    (i32.const 8))
  (func (export "fd_seek") (param i32 i64 i32 i32) (result i32)
    (i32.const 8))
  (func (export "fd_pread") (export "fd_pwrite") (export "fd_readdir") (param i32 i32 i32 i64 i32) (result i32)
    (i32.const 8))

  ;; All others return 52 (function not supported).
  (func (export "proc_raise") (param i32) (result i32)
    (i32.const 52))
  (func (export "path_create_directory") (export "path_remove_directory") (export "path_unlink_file")
    (param i32 i32 i32) (result i32)
    (i32.const 52))
  (func (export "path_filestat_get") (export "path_symlink") (param i32 i32 i32 i32 i32) (result i32)
    (i32.const 52))
  (func (export "path_readlink") (export "path_rename") (param i32 i32 i32 i32 i32 i32) (result i32)
    (i32.const 52))
  (func (export "path_link") (param i32 i32 i32 i32 i32 i32 i32) (result i32)
    (i32.const 52))
  (func (export "path_filestat_set_times") (param i32 i32 i32 i32 i64 i64 i32) (result i32)
    (i32.const 52))
  (func (export "path_open") (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)
    (i32.const 52))
)
