;; Inputs of the kind that security advisories of WebAssembly runtimes are about, in words of our own.
;;! table-fill-out-of-bounds | fill a table beyond its end | trap
(table $t 4 funcref)
(func $handle (param i32) (result i32) (table.fill $t (i32.const 2) (ref.null func) (i32.const -1)) i32.const 256)
;;! table-copy-out-of-bounds | copy within a table beyond its end | trap
(table $t 4 funcref)
(func $handle (param i32) (result i32) (table.copy $t $t (i32.const 0) (i32.const -2) (i32.const 4)) i32.const 256)
;;! table-init-after-drop | fill a table from a segment that was dropped | trap
(table $t 4 funcref) (elem $e func $handle)
(func $handle (param i32) (result i32) (elem.drop $e) (table.init $t $e (i32.const 0) (i32.const 0) (i32.const 1)) i32.const 256)
;;! memory-init-after-drop | read a segment that was dropped | trap
(data $d "hostile")
(func $handle (param i32) (result i32) (data.drop $d) (memory.init $d (i32.const 0) (i32.const 0) (i32.const 7)) i32.const 256)
;;! memory-copy-out-of-bounds | copy beyond the end of the memory | trap
(func $handle (param i32) (result i32) (memory.copy (i32.const 131070) (i32.const 0) (i32.const 16)) i32.const 256)
;;! load-at-the-largest-offset | read at address and offset that only together are out of bounds | trap
(func $handle (param i32) (result i32) (drop (i64.load offset=4294967295 (i32.const -1))) i32.const 256)
;;! store-just-below-zero | write at an address that wraps | stack
(func $handle (param i32) (result i32) (i64.store (i32.const -1) (i64.const 1)) i32.const 256)
;;! sign-extended-address | read at an address that a wrong sign extension would take below the memory | trap
(func $handle (param i32) (result i32)
  (drop (i32.load8_u (i32.add (i32.const 0x40000000) (i32.const 0x40000000)))) i32.const 256)
;;! shifted-address | read at a shifted address that a wrong fold would take beyond the guard | trap
(func $handle (param i32) (result i32)
  (drop (i64.load offset=16 (i32.shl (i32.const 0x0fffffff) (i32.const 3)))) i32.const 256)
;;! externref-table | keep references of the host's kind | refused gc types
(table $t 4 externref)
(func $handle (param i32) (result i32)
  (table.set $t (i32.const 0) (table.get $t (i32.const 1))) (drop (table.grow $t (ref.null extern) (i32.const 16))) i32.const 256)
;;! simd-splat-load | read a vector at the end of the memory | trap
(func $handle (param i32) (result i32) (drop (v128.load64_splat (i32.const 131068))) i32.const 256)
;;! simd-lanes | shuffle vectors of what is no number | done
(func $handle (param i32) (result i32)
  (drop (i8x16.shuffle 31 0 30 1 29 2 28 3 27 4 26 5 25 6 24 7
    (f64x2.sqrt (v128.const f64x2 -1 nan)) (i8x16.popcnt (v128.const i64x2 -1 0)))) i32.const 256)
;;! tail-call-chain | call for ever without a deeper stack | cpu-budget
(func $handle (param i32) (result i32) (return_call $handle (local.get 0)))
;;! shared-memory | declare a memory shared between threads | refused
(memory $memory 2 2 shared)
;;! memory64 | declare a memory with 64-bit addresses and all of them | refused
(memory $memory 2) (memory $other i64 0x1000000000000)
;;! exception | throw what nobody catches | refused exceptions
(tag $t)
(func $handle (param i32) (result i32) (throw $t))
;;! atomics-wait | wait for a word to change | refused threads
(func $handle (param i32) (result i32) (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1)) drop i32.const 256)
