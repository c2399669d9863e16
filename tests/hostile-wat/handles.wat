;; Handles of the host's resources, through WASI 0.2: forged, dropped, of another kind, without end.
;;! handle-honest | ask for standard output, use it and give it back | done
(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
(import "wasi:io/streams@0.2.0" "[method]output-stream.check-write" (func $check (param i32 i32)))
(import "wasi:io/streams@0.2.0" "[resource-drop]output-stream" (func $drop (param i32)))
(func $handle (param i32) (result i32) (local $h i32)
  (local.set $h (call $stdout)) (call $check (local.get $h) (i32.const 4096)) (call $drop (local.get $h)) i32.const 256)
;;! handle-forged | use the first handle there would be, without having been given one | trap unknown handle
(import "wasi:io/streams@0.2.0" "[method]output-stream.check-write" (func $check (param i32 i32)))
(func $handle (param i32) (result i32) (call $check (i32.const 1) (i32.const 4096)) i32.const 256)
;;! handle-zero | use the handle that is never given | trap unknown handle
(import "wasi:io/streams@0.2.0" "[method]output-stream.check-write" (func $check (param i32 i32)))
(func $handle (param i32) (result i32) (call $check (i32.const 0) (i32.const 4096)) i32.const 256)
;;! handle-all-ones | use the largest handle | trap unknown handle
(import "wasi:io/streams@0.2.0" "[method]output-stream.check-write" (func $check (param i32 i32)))
(func $handle (param i32) (result i32) (call $check (i32.const -1) (i32.const 4096)) i32.const 256)
;;! handle-next | use the handle beside the one that was given | trap unknown handle
(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
(import "wasi:io/streams@0.2.0" "[method]output-stream.check-write" (func $check (param i32 i32)))
(func $handle (param i32) (result i32)
  (call $check (i32.add (call $stdout) (i32.const 1)) (i32.const 4096)) i32.const 256)
;;! handle-dropped | use a handle that was given back | trap unknown handle
(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
(import "wasi:io/streams@0.2.0" "[method]output-stream.check-write" (func $check (param i32 i32)))
(import "wasi:io/streams@0.2.0" "[resource-drop]output-stream" (func $drop (param i32)))
(func $handle (param i32) (result i32) (local $h i32)
  (local.set $h (call $stdout)) (call $drop (local.get $h)) (call $check (local.get $h) (i32.const 4096)) i32.const 256)
;;! handle-dropped-twice | give a handle back twice | trap unknown handle
(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
(import "wasi:io/streams@0.2.0" "[resource-drop]output-stream" (func $drop (param i32)))
(func $handle (param i32) (result i32) (local $h i32)
  (local.set $h (call $stdout)) (call $drop (local.get $h)) (call $drop (local.get $h)) i32.const 256)
;;! handle-never-given-back | give back a handle that was never given | trap unknown handle
(import "wasi:io/streams@0.2.0" "[resource-drop]output-stream" (func $drop (param i32)))
(func $handle (param i32) (result i32) (call $drop (i32.const 7)) i32.const 256)
;;! handle-of-another-kind | use a stream as something to wait for | trap handle index
(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
(import "wasi:io/poll@0.2.0" "[method]pollable.ready" (func $ready (param i32) (result i32)))
(func $handle (param i32) (result i32) (drop (call $ready (call $stdout))) i32.const 256)
;;! handle-read-as-an-error | have a stream tell what went wrong | trap handle index
(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
(import "wasi:io/error@0.2.0" "[method]error.to-debug-string" (func $tell (param i32 i32)))
(func $handle (param i32) (result i32) (call $tell (call $stdout) (i32.const 4096)) i32.const 256)
;;! handle-given-back-as-another-kind | give a stream back as something to wait for | trap handle index
(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
(import "wasi:io/poll@0.2.0" "[resource-drop]pollable" (func $drop (param i32)))
(func $handle (param i32) (result i32) (call $drop (call $stdout)) i32.const 256)
;;! handle-with-a-child | give a stream back while something of it is left | trap
(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
(import "wasi:io/streams@0.2.0" "[method]output-stream.subscribe" (func $subscribe (param i32) (result i32)))
(import "wasi:io/streams@0.2.0" "[resource-drop]output-stream" (func $drop (param i32)))
(func $handle (param i32) (result i32) (local $h i32)
  (local.set $h (call $stdout)) (drop (call $subscribe (local.get $h))) (call $drop (local.get $h)) i32.const 256)
;;! handle-flood | ask for standard output for ever | trap
(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
(func $handle (param i32) (result i32) (loop $l (drop (call $stdout)) (br $l)) unreachable)
;;! handle-child-flood | ask for things to wait for, for ever | trap
(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
(import "wasi:io/streams@0.2.0" "[method]output-stream.subscribe" (func $subscribe (param i32) (result i32)))
(func $handle (param i32) (result i32) (local $h i32)
  (local.set $h (call $stdout)) (loop $l (drop (call $subscribe (local.get $h))) (br $l)) unreachable)
;;! handles-forged-in-a-list | wait for a list of handles that were never given | trap unknown handle
(import "wasi:io/poll@0.2.0" "poll" (func $poll (param i32 i32 i32)))
(func $handle (param i32) (result i32) (call $poll (i32.const 256) (i32.const 16) (i32.const 4096)) i32.const 256)
;;! handles-by-the-million | wait for a list of a million handles | size
(import "wasi:io/poll@0.2.0" "poll" (func $poll (param i32 i32 i32)))
(memory $memory 960)
(func $handle (param i32) (result i32) (call $poll (i32.const 65536) (i32.const 1000000) (i32.const 4096)) i32.const 256)
;;! wait-through-wasi | ask for a time to wait for | trap clock.sleep
(import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $after (param i64) (result i32)))
(func $handle (param i32) (result i32) (drop (call $after (i64.const -1))) i32.const 256)
;;! random-without-end | ask for all the random bytes there are | size random bytes
(import "wasi:random/random@0.2.0" "get-random-bytes" (func $random (param i64 i32)))
(func $handle (param i32) (result i32) (call $random (i64.const -1) (i32.const 4096)) i32.const 256)
;;! exit-as-if-done | leave without an answer | trap
(import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))
(func $handle (param i32) (result i32) (call $exit (i32.const 0)) i32.const 256)
;;! exit-while-loaded | leave while it is loaded | refused
(import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))
(func $describe (result i32) (call $exit (i32.const 1)) i32.const 128)
;;! write-for-ever | write to standard output for ever | cpu-budget
(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
(import "wasi:io/streams@0.2.0" "[method]output-stream.write" (func $write (param i32 i32 i32 i32)))
(func $handle (param i32) (result i32) (local $h i32)
  (local.set $h (call $stdout))
  (loop $l (call $write (local.get $h) (i32.const 0) (i32.const 65536) (i32.const 4096)) (br $l)) unreachable)
;;! write-more-than-there-may-be | write 8 MiB to standard output at once | size
(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
(import "wasi:io/streams@0.2.0" "[method]output-stream.write" (func $write (param i32 i32 i32 i32)))
(memory $memory 256)
(func $handle (param i32) (result i32)
  (call $write (call $stdout) (i32.const 0) (i32.const 8388608) (i32.const 4096)) i32.const 256)
