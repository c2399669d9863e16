;; What a fragment does not define itself is taken from here, item by item: see `tests/tests/it/hostile_pack/assemble.rs`.
;; Static data of every guest: its description at 128, and at 256 the answer of a `handle` that did nothing.
;;! memory
(memory $memory 2)
;;! describe
(func $describe (result i32) i32.const 128)
;;! handle
(func $handle (param i32) (result i32) i32.const 256)
;;! realloc
(global $next (mut i32) (i32.const 8192))
(func $realloc (param i32 i32 i32 i32) (result i32)
  (local $at i32)
  (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
  (global.set $next (i32.add (local.get $at) (local.get 3)))
  (local.get $at))
;;! always
(data (i32.const 16) "hostile")
(data (i32.const 32) "1.0.0")
(data (i32.const 48) "hostile.x")
(data (i32.const 64) "\50\00\00\00\01\00\00\00")
(data (i32.const 80) "\30\00\00\00\09\00\00\00")
(data (i32.const 128) "\10\00\00\00\07\00\00\00\20\00\00\00\05\00\00\00\10\00\00\00\07\00\00\00\40\00\00\00\01\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
(data (i32.const 256) "\00\00\00\00\10\00\00\00\07\00\00\00\00\00\00\00\00\00\00\00")
(export "memory" (memory $memory))
(export "cabi_realloc" (func $realloc))
(export "opsward:policy/handler@0.1.0#describe" (func $describe))
(export "opsward:policy/handler@0.1.0#handle" (func $handle))
