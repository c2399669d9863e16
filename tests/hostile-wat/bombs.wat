;; Resource bombs. The line above each guest: its name, what it tries, how it must end (`any`: in any bounded way).
;;! good | nothing: the measure of the others | done
;;! loop-in-handle | compute for ever | cpu-budget
(func $handle (param i32) (result i32) (loop $l (br $l)) unreachable)
;;! loop-in-realloc | compute for ever while the host hands over the event | cpu-budget
(func $realloc (param i32 i32 i32 i32) (result i32) (loop $l (br $l)) unreachable)
;;! loop-in-start | compute for ever before any export is called | refused more than 500 ms
(func $start (loop $l (br $l)))
(start $start)
;;! loop-in-describe | compute for ever while it is loaded | refused more than 500 ms
(func $describe (result i32) (loop $l (br $l)) unreachable)
;;! loop-in-post-return | compute for ever after its answer | cpu-budget
(func $post (param i32) (loop $l (br $l)))
;;! long-bulk-fills | hide from the interrupts in bulk operations | cpu-budget
(memory $memory 512)
(func $handle (param i32) (result i32)
  (loop $l (memory.fill (i32.const 65536) (i32.const 1) (i32.const 33000000)) (br $l)) unreachable)
;;! grow-by-pages | take memory page by page and trap when refused | memory
(func $handle (param i32) (result i32)
  (loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable)
;;! grow-at-once | ask for all 4 GiB at once and trap when refused | memory
(func $handle (param i32) (result i32)
  (if (i32.eq (memory.grow (i32.const 65000)) (i32.const -1)) (then unreachable)) i32.const 256)
;;! grow-and-shrug | ask for all 4 GiB, and live with the refusal | done
(func $handle (param i32) (result i32) (drop (memory.grow (i32.const 65000))) i32.const 256)
;;! grow-in-start | take memory before any export is called | refused memory
(func $start (loop $l (br_if $l (i32.ne (memory.grow (i32.const 64)) (i32.const -1)))) unreachable)
(start $start)
;;! huge-initial-memory | declare 4 GiB of initial memory | refused memory
(memory $memory 65536)
;;! initial-memory-over-the-limit | declare one page more than is allowed | refused memory
(memory $memory 1025)
;;! two-memories | declare a second memory of its own | refused memories
(memory $memory 2) (memory $other 16)
;;! many-memories | declare more memories than a place in the pool has | refused
(memory $memory 2) (memory $a 1) (memory $b 1) (memory $c 1) (memory $d 1) (memory $e 1) (memory $f 1) (memory $g 1) (memory $h 1)
;;! data-beyond-memory | place a data segment outside the memory | refused out of bounds
(data (i32.const 131072) "x")
;;! data-at-the-top | place a data segment at the last address | refused out of bounds
(data (i32.const -1) "xy")
;;! huge-table | declare a table of the largest size | refused
(table 4294967295 funcref)
;;! table-over-the-limit | declare one element more than a guest may have | refused
(table 100001 funcref)
;;! grow-a-table | take table elements until refused, and trap | memory
(table $t 1 funcref)
(func $handle (param i32) (result i32)
  (loop $l (br_if $l (i32.ne (table.grow $t (ref.null func) (i32.const 4096)) (i32.const -1)))) unreachable)
;;! many-tables | declare more tables than a module may have | refused
(table 1 funcref) (table 1 funcref) (table 1 funcref) (table 1 funcref) (table 1 funcref) (table 1 funcref)
(table 1 funcref) (table 1 funcref) (table 1 funcref) (table 1 funcref) (table 1 funcref) (table 1 funcref)
(table 1 funcref) (table 1 funcref) (table 1 funcref) (table 1 funcref) (table 1 funcref) (table 1 funcref)
(table 1 funcref) (table 1 funcref) (table 1 funcref) (table 1 funcref) (table 1 funcref) (table 1 funcref)
;;! deep-recursion | use up the machine stack | stack
(func $down (param i64) (result i64) (i64.add (call $down (i64.add (local.get 0) (i64.const 1))) (i64.const 1)))
(func $handle (param i32) (result i32) (i32.wrap_i64 (call $down (i64.const 0))))
;;! deep-mutual-recursion | use up the machine stack through a table | stack
(type $t (func (param i32) (result i32)))
(table 1 funcref) (elem (i32.const 0) func $handle)
(func $handle (param i32) (result i32) (i32.add (call_indirect (type $t) (i32.const 1) (i32.const 0)) (i32.const 1)))
;;! deep-recursion-in-realloc | use up the machine stack while the host hands over the event | stack
(func $realloc (param i32 i32 i32 i32) (result i32)
  (i32.add (call $realloc (local.get 0) (local.get 1) (local.get 2) (local.get 3)) (i32.const 1)))
;;! recursion-in-start | use up the machine stack before any export is called | refused recursion too deep
(func $start (call $start) (drop (memory.size)))
(start $start)
;;! huge-summary | answer with 60 MB of text | size
(memory $memory 960)
(func $handle (param i32) (result i32) (i32.store (i32.const 264) (i32.const 60000000)) i32.const 256)
;;! huge-name | describe itself with 30 MB | refused over the limit
(memory $memory 960)
(func $describe (result i32) (i32.store (i32.const 132) (i32.const 30000000)) i32.const 128)
;;! huge-permissions | ask for a million permissions that lie in the same place | refused
(memory $memory 960)
(func $describe (result i32)
  (i32.store (i32.const 160) (i32.const 65536)) (i32.store (i32.const 164) (i32.const 1000000)) i32.const 128)
;;! amplified-triggers | propose 2,000 triggers that all point at one megabyte | refused over the limit
(memory $memory 64)
(func $describe (result i32) (local $i i32)
  (i32.store (i32.const 1024) (i32.const 65536)) (i32.store (i32.const 1028) (i32.const 1000))
  (loop $l
    (i32.store (i32.add (i32.const 65536) (i32.mul (local.get $i) (i32.const 8))) (i32.const 131072))
    (i32.store (i32.add (i32.const 65540) (i32.mul (local.get $i) (i32.const 8))) (i32.const 1048576))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if $l (i32.lt_u (local.get $i) (i32.const 1000))))
  (i32.store (i32.const 152) (i32.const 1024)) (i32.store (i32.const 156) (i32.const 1)) i32.const 128)
;;! huge-log-line | log 8 MiB at once | size
(import "opsward:policy/log@0.1.0" "write" (func $log (param i32 i32 i32)))
(memory $memory 256)
(func $handle (param i32) (result i32) (call $log (i32.const 1) (i32.const 0) (i32.const 8388608)) i32.const 256)
;;! log-flood | log for ever | cpu-budget
(import "opsward:policy/log@0.1.0" "write" (func $log (param i32 i32 i32)))
(func $handle (param i32) (result i32)
  (loop $l (call $log (i32.const 1) (i32.const 16) (i32.const 7)) (br $l)) unreachable)
;;! log-flood-of-nothing | log empty lines, 100,000 of them: a slow machine has no time for all | any
(import "opsward:policy/log@0.1.0" "write" (func $log (param i32 i32 i32)))
(func $handle (param i32) (result i32) (local $i i32)
  (loop $l (call $log (i32.const 0) (i32.const 0) (i32.const 0))
    (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $l (i32.lt_u (local.get $i) (i32.const 100000))))
  i32.const 256)
;;! state-flood | write keys for ever | call-budget
(import "opsward:policy/state@0.1.0" "set" (func $set (param i32 i32 i32 i32 i32)))
(func $handle (param i32) (result i32)
  (loop $l (i32.store (i32.const 2048) (i32.and (i32.add (i32.load (i32.const 2048)) (i32.const 1)) (i32.const 127)))
    (call $set (i32.const 2048) (i32.const 1) (i32.const 16) (i32.const 7) (i32.const 4096)) (br $l)) unreachable)
;;! state-value-over-transfer | write one value of 8 MiB | size
(import "opsward:policy/state@0.1.0" "set" (func $set (param i32 i32 i32 i32 i32)))
(memory $memory 256)
(func $handle (param i32) (result i32)
  (call $set (i32.const 16) (i32.const 7) (i32.const 0) (i32.const 8388608) (i32.const 4096)) i32.const 256)
;;! call-flood | ask the cloud for ever | call-budget
(import "opsward:policy/cloud@0.1.0" "call" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
(func $handle (param i32) (result i32)
  (loop $l (global.set $next (i32.const 8192))
    (call $call (i32.const 16) (i32.const 7) (i32.const 16) (i32.const 7) (i32.const 0) (i32.const 0)
      (i32.const 16) (i32.const 7) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 4096)) (br $l)) unreachable)
;;! call-flood-out-of-memory | ask the cloud for ever and never free an answer | trap realloc
(import "opsward:policy/context@0.1.0" "config" (func $config (param i32)))
(func $handle (param i32) (result i32) (loop $l (call $config (i32.const 4096)) (br $l)) unreachable)
;;! call-all-of-501 | put more requests into one call than are taken | size
(import "opsward:policy/cloud@0.1.0" "call-all" (func $all (param i32 i32 i32 i32)))
(func $handle (param i32) (result i32)
  (call $all (i32.const 16384) (i32.const 501) (i32.const 1) (i32.const 4096)) i32.const 256)
;;! call-all-of-a-million | put a list of a million requests into one call | size
(import "opsward:policy/cloud@0.1.0" "call-all" (func $all (param i32 i32 i32 i32)))
(memory $memory 960)
(func $handle (param i32) (result i32)
  (call $all (i32.const 65536) (i32.const 1000000) (i32.const 1) (i32.const 4096)) i32.const 256)
;;! clock-flood | ask for the time for ever: no call that is counted | cpu-budget
(import "opsward:policy/clock@0.1.0" "now" (func $now (result i64)))
(func $handle (param i32) (result i32) (loop $l (drop (call $now)) (br $l)) unreachable)
;;! sleep-for-ever | sleep for 584 million years | size
(import "opsward:policy/clock@0.1.0" "sleep" (func $sleep (param i64)))
(func $handle (param i32) (result i32) (call $sleep (i64.const -1)) i32.const 256)
;;! call-in-describe | ask the cloud while it is loaded | refused must not call the host
(import "opsward:policy/clock@0.1.0" "sleep" (func $sleep (param i64)))
(func $describe (result i32) (call $sleep (i64.const 1)) i32.const 128)
