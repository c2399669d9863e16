;; Lies about the canonical ABI, and traps.
;;! result-discriminant | answer neither ok nor error | trap
(func $handle (param i32) (result i32) (i32.store8 (i32.const 256) (i32.const 2)) i32.const 256)
;;! result-discriminant-255 | answer with the largest discriminant | trap
(func $handle (param i32) (result i32) (i32.store8 (i32.const 256) (i32.const 255)) i32.const 256)
;;! honest-failure | fail as a policy may | failed hostile
(func $handle (param i32) (result i32)
  (i32.store8 (i32.const 256) (i32.const 1))
  (i32.store (i32.const 268) (i32.const 16)) (i32.store (i32.const 272) (i32.const 7))
  (i64.store (i32.const 276) (i64.const 0)) (i32.store (i32.const 284) (i32.const 0)) i32.const 256)
;;! truth-beyond-one | answer a bool that is neither true nor false | failed hostile
(func $handle (param i32) (result i32)
  (i32.store8 (i32.const 256) (i32.const 1))
  (i32.store (i32.const 268) (i32.const 16)) (i32.store (i32.const 272) (i32.const 7))
  (i64.store (i32.const 276) (i64.const 255)) (i32.store (i32.const 284) (i32.const 0)) i32.const 256)
;;! enum-argument | pass a log level that does not exist | trap
(import "opsward:policy/log@0.1.0" "write" (func $log (param i32 i32 i32)))
(func $handle (param i32) (result i32) (call $log (i32.const 4) (i32.const 16) (i32.const 7)) i32.const 256)
;;! enum-argument-negative | pass a log level below zero | trap
(import "opsward:policy/log@0.1.0" "write" (func $log (param i32 i32 i32)))
(func $handle (param i32) (result i32) (call $log (i32.const -1) (i32.const 16) (i32.const 7)) i32.const 256)
;;! option-argument | pass an option that is neither none nor some | trap
(import "opsward:policy/cloud@0.1.0" "call" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
(func $handle (param i32) (result i32)
  (call $call (i32.const 16) (i32.const 7) (i32.const 16) (i32.const 7) (i32.const 0) (i32.const 0)
      (i32.const 16) (i32.const 7) (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 4096)) i32.const 256)
;;! summary-not-utf8 | answer with bytes that are no text | trap
(func $handle (param i32) (result i32) (i32.store (i32.const 16) (i32.const -1)) i32.const 256)
;;! name-not-utf8 | describe itself with bytes that are no text | refused utf-8
(func $describe (result i32) (i32.store (i32.const 16) (i32.const -1)) i32.const 128)
;;! log-not-utf8 | log bytes that are no text | trap
(import "opsward:policy/log@0.1.0" "write" (func $log (param i32 i32 i32)))
(func $handle (param i32) (result i32) (i32.store (i32.const 16) (i32.const 0xc0c0c0c0))
  (call $log (i32.const 1) (i32.const 16) (i32.const 7)) i32.const 256)
;;! summary-out-of-range | answer with text that lies outside the memory | trap
(func $handle (param i32) (result i32) (i32.store (i32.const 260) (i32.const 0x7fffffff)) i32.const 256)
;;! summary-crosses-the-end | answer with text that ends one byte outside the memory | trap
(func $handle (param i32) (result i32) (i32.store (i32.const 260) (i32.const 131066)) i32.const 256)
;;! summary-wraps | answer with text whose end wraps around | trap
(func $handle (param i32) (result i32)
  (i32.store (i32.const 260) (i32.const -16)) (i32.store (i32.const 264) (i32.const 32)) i32.const 256)
;;! summary-length-all-ones | answer with text of the largest length | trap out of bounds
(func $handle (param i32) (result i32) (i32.store (i32.const 264) (i32.const -1)) i32.const 256)
;;! answer-out-of-range | point outside the memory | trap
(func $handle (param i32) (result i32) i32.const -8)
;;! answer-at-the-end | point so that the answer crosses the end of the memory | trap
(func $handle (param i32) (result i32) i32.const 131064)
;;! answer-misaligned | point to an odd address | trap
(func $handle (param i32) (result i32) i32.const 257)
;;! description-misaligned | describe itself at an odd address | refused align
(func $describe (result i32) i32.const 129)
;;! list-wraps | propose triggers whose size wraps around | refused
(func $describe (result i32) (i32.store (i32.const 156) (i32.const 0x20000001)) i32.const 128)
;;! list-misaligned | propose triggers at an odd address | refused align
(func $describe (result i32) (i32.store (i32.const 152) (i32.const 65)) i32.const 128)
;;! argument-out-of-range | log text that lies outside the memory | trap
(import "opsward:policy/log@0.1.0" "write" (func $log (param i32 i32 i32)))
(func $handle (param i32) (result i32) (call $log (i32.const 1) (i32.const -1) (i32.const 7)) i32.const 256)
;;! argument-wraps | log text whose end wraps around | trap out of bounds
(import "opsward:policy/log@0.1.0" "write" (func $log (param i32 i32 i32)))
(func $handle (param i32) (result i32) (call $log (i32.const 1) (i32.const 16) (i32.const -8)) i32.const 256)
;;! result-pointer-out-of-range | have the host write its answer outside the memory | trap
(import "opsward:policy/context@0.1.0" "config" (func $config (param i32)))
(func $handle (param i32) (result i32) (call $config (i32.const -4)) i32.const 256)
;;! result-pointer-misaligned | have the host write its answer to an odd address | trap
(import "opsward:policy/context@0.1.0" "config" (func $config (param i32)))
(func $handle (param i32) (result i32) (call $config (i32.const 4097)) i32.const 256)
;;! realloc-null | hand out address zero | done
(func $realloc (param i32 i32 i32 i32) (result i32) i32.const 0)
;;! realloc-out-of-range | hand out an address outside the memory | trap
(func $realloc (param i32 i32 i32 i32) (result i32) i32.const -8)
;;! realloc-at-the-end | hand out a place that crosses the end of the memory | trap
(func $realloc (param i32 i32 i32 i32) (result i32) i32.const 131064)
;;! realloc-misaligned | hand out an odd address | trap
(func $realloc (param i32 i32 i32 i32) (result i32) i32.const 8193)
;;! realloc-overlapping | hand out one place for everything | done
(func $realloc (param i32 i32 i32 i32) (result i32) i32.const 8192)
;;! realloc-over-the-description | have the event written over its own static data | trap discriminant
(func $realloc (param i32 i32 i32 i32) (result i32) i32.const 256)
;;! realloc-traps | trap while the host hands over the event | trap
(func $realloc (param i32 i32 i32 i32) (result i32) unreachable)
;;! realloc-grows | move the memory's end while the host writes into it | done
(func $realloc (param i32 i32 i32 i32) (result i32) (drop (memory.grow (i32.const 16))) i32.const 65536)
;;! realloc-calls-the-host | call an import while the host hands over the event | trap
(import "opsward:policy/log@0.1.0" "write" (func $log (param i32 i32 i32)))
(func $realloc (param i32 i32 i32 i32) (result i32) (call $log (i32.const 1) (i32.const 16) (i32.const 7)) i32.const 8192)
;;! realloc-runs-handle | run its own export while the host hands over the event | done
(func $realloc (param i32 i32 i32 i32) (result i32) (drop (call $handle (i32.const 0))) i32.const 8192)
;;! post-return-calls-the-host | call an import after its answer | trap
(import "opsward:policy/log@0.1.0" "write" (func $log (param i32 i32 i32)))
(func $post (param i32) (call $log (i32.const 1) (i32.const 16) (i32.const 7)))
;;! post-return-traps | trap after its answer | trap
(func $post (param i32) unreachable)
;;! start-calls-the-host | call an import before any export is called | refused
(import "opsward:policy/log@0.1.0" "write" (func $log (param i32 i32 i32)))
(func $start (call $log (i32.const 1) (i32.const 16) (i32.const 7)))
(start $start)
;;! divide-by-zero | divide by zero | trap
(func $handle (param i32) (result i32) (i32.div_u (i32.const 1) (i32.const 0)))
;;! integer-overflow | divide the smallest number by minus one | trap
(func $handle (param i32) (result i32) (i32.div_s (i32.const 0x80000000) (i32.const -1)))
;;! bad-conversion | turn what is no number into one | trap
(func $handle (param i32) (result i32) (i32.trunc_f64_s (f64.const nan)))
;;! null-call | call through an empty place of a table | trap
(table 1 funcref)
(func $handle (param i32) (result i32) (call_indirect (param) (result i32) (i32.const 0)))
;;! wrong-type-call | call through a table with another signature | trap
(table 1 funcref) (elem (i32.const 0) func $handle)
(func $handle (param i32) (result i32) (call_indirect (param) (result i32) (i32.const 0)))
;;! name-of-no-policy | describe itself with a name that is a path | refused lower-case letters
(func $describe (result i32) (i64.store (i32.const 16) (i64.const 0x2f2e2e2f2e2e2f2e)) i32.const 128)
;;! list-element-out-of-range | put a request into a list whose action lies outside the memory | trap
(import "opsward:policy/cloud@0.1.0" "call-all" (func $all (param i32 i32 i32 i32)))
(func $handle (param i32) (result i32)
  (i32.store (i32.const 16392) (i32.const 0x7fffffff)) (i32.store (i32.const 16396) (i32.const 4))
  (call $all (i32.const 16384) (i32.const 2) (i32.const 1) (i32.const 4096)) i32.const 256)
;;! list-element-not-utf8 | put a request into a list whose action is no text | trap
(import "opsward:policy/cloud@0.1.0" "call-all" (func $all (param i32 i32 i32 i32)))
(func $handle (param i32) (result i32)
  (i32.store (i32.const 1024) (i32.const -1)) (i32.store (i32.const 16392) (i32.const 1024)) (i32.store (i32.const 16396) (i32.const 4))
  (call $all (i32.const 16384) (i32.const 2) (i32.const 1) (i32.const 4096)) i32.const 256)
;;! list-element-option | put a request into a list whose key is neither there nor not | trap
(import "opsward:policy/cloud@0.1.0" "call-all" (func $all (param i32 i32 i32 i32)))
(func $handle (param i32) (result i32) (i32.store8 (i32.const 16416) (i32.const 2))
  (call $all (i32.const 16384) (i32.const 1) (i32.const 1) (i32.const 4096)) i32.const 256)
;;! list-argument-misaligned | put a list at an odd address | trap
(import "opsward:policy/cloud@0.1.0" "call-all" (func $all (param i32 i32 i32 i32)))
(func $handle (param i32) (result i32) (call $all (i32.const 16385) (i32.const 1) (i32.const 1) (i32.const 4096)) i32.const 256)
;;! list-argument-wraps | give a list whose size wraps around | trap
(import "opsward:policy/cloud@0.1.0" "call-all" (func $all (param i32 i32 i32 i32)))
(func $handle (param i32) (result i32)
  (call $all (i32.const 16384) (i32.const 0x20000000) (i32.const 1) (i32.const 4096)) i32.const 256)
;;! list-answers-out-of-range | have the host write the answers to a list outside the memory | trap
(import "opsward:policy/cloud@0.1.0" "call-all" (func $all (param i32 i32 i32 i32)))
(func $handle (param i32) (result i32) (call $all (i32.const 16384) (i32.const 1) (i32.const 1) (i32.const -4)) i32.const 256)
;;! list-amplified | put 400 requests into a list whose parameters are all one megabyte | size
(import "opsward:policy/cloud@0.1.0" "call-all" (func $all (param i32 i32 i32 i32)))
(memory $memory 64)
(func $handle (param i32) (result i32) (local $at i32)
  (local.set $at (i32.const 16384))
  (loop $l
    (i32.store (i32.add (local.get $at) (i32.const 24)) (i32.const 131072))
    (i32.store (i32.add (local.get $at) (i32.const 28)) (i32.const 1048576))
    (local.set $at (i32.add (local.get $at) (i32.const 44)))
    (br_if $l (i32.lt_u (local.get $at) (i32.const 34000))))
  (call $all (i32.const 16384) (i32.const 400) (i32.const 8) (i32.const 4096)) i32.const 256)
;;! list-of-nobody-at-once | have no request of a list be made at the same time as another, not even itself | done
(import "opsward:policy/cloud@0.1.0" "call-all" (func $all (param i32 i32 i32 i32)))
(func $handle (param i32) (result i32) (call $all (i32.const 16384) (i32.const 3) (i32.const 0) (i32.const 4096)) i32.const 256)
