;; Guests whose text is UTF-16, as that of some toolchains is. The frame's description is no text to them: each has its own.
;;! utf16-honest | describe itself and answer in UTF-16 | done
(data (i32.const 3072) "\30\0c\00\00\07\00\00\00\40\0c\00\00\05\00\00\00\30\0c\00\00\07\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
(data (i32.const 3120) "h\00o\00s\00t\00i\00l\00e\00\00\001\00.\000\00.\000\00")
(func $describe (result i32) i32.const 3072)
;;! utf16-half-a-pair | answer with the first half of a surrogate pair | trap
(data (i32.const 3072) "\30\0c\00\00\07\00\00\00\40\0c\00\00\05\00\00\00\30\0c\00\00\07\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
(data (i32.const 3120) "h\00o\00s\00t\00i\00l\00e\00\00\001\00.\000\00.\000\00")
(func $describe (result i32) i32.const 3072)
(func $handle (param i32) (result i32) (i32.store (i32.const 16) (i32.const 0xd800d800)) i32.const 256)
;;! utf16-other-half-first | answer with the halves of a pair in the wrong order | trap
(data (i32.const 3072) "\30\0c\00\00\07\00\00\00\40\0c\00\00\05\00\00\00\30\0c\00\00\07\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
(data (i32.const 3120) "h\00o\00s\00t\00i\00l\00e\00\00\001\00.\000\00.\000\00")
(func $describe (result i32) i32.const 3072)
(func $handle (param i32) (result i32) (i32.store (i32.const 16) (i32.const 0xd83ddc00)) i32.const 256)
;;! utf16-misaligned | answer with text at an odd address | trap
(data (i32.const 3072) "\30\0c\00\00\07\00\00\00\40\0c\00\00\05\00\00\00\30\0c\00\00\07\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
(data (i32.const 3120) "h\00o\00s\00t\00i\00l\00e\00\00\001\00.\000\00.\000\00")
(func $describe (result i32) i32.const 3072)
(func $handle (param i32) (result i32) (i32.store (i32.const 260) (i32.const 17)) i32.const 256)
;;! utf16-crosses-the-end | answer with text whose units, not bytes, end outside the memory | trap
(data (i32.const 3072) "\30\0c\00\00\07\00\00\00\40\0c\00\00\05\00\00\00\30\0c\00\00\07\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
(data (i32.const 3120) "h\00o\00s\00t\00i\00l\00e\00\00\001\00.\000\00.\000\00")
(func $describe (result i32) i32.const 3072)
(func $handle (param i32) (result i32) (i32.store (i32.const 260) (i32.const 131060)) i32.const 256)
;;! utf16-wraps | answer with more units than there can be bytes | trap out of bounds
(data (i32.const 3072) "\30\0c\00\00\07\00\00\00\40\0c\00\00\05\00\00\00\30\0c\00\00\07\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
(data (i32.const 3120) "h\00o\00s\00t\00i\00l\00e\00\00\001\00.\000\00.\000\00")
(func $describe (result i32) i32.const 3072)
(func $handle (param i32) (result i32) (i32.store (i32.const 264) (i32.const 0x80000001)) i32.const 256)
;;! utf16-log-half-a-pair | log half a pair | trap
(import "opsward:policy/log@0.1.0" "write" (func $log (param i32 i32 i32)))
(data (i32.const 3072) "\30\0c\00\00\07\00\00\00\40\0c\00\00\05\00\00\00\30\0c\00\00\07\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
(data (i32.const 3120) "h\00o\00s\00t\00i\00l\00e\00\00\001\00.\000\00.\000\00")
(func $describe (result i32) i32.const 3072)
(func $handle (param i32) (result i32) (i32.store (i32.const 16) (i32.const 0xd800))
  (call $log (i32.const 1) (i32.const 16) (i32.const 1)) i32.const 256)
;;! utf16-huge-log-line | log 4 million units at once | size
(import "opsward:policy/log@0.1.0" "write" (func $log (param i32 i32 i32)))
(memory $memory 256)
(data (i32.const 3072) "\30\0c\00\00\07\00\00\00\40\0c\00\00\05\00\00\00\30\0c\00\00\07\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
(data (i32.const 3120) "h\00o\00s\00t\00i\00l\00e\00\00\001\00.\000\00.\000\00")
(func $describe (result i32) i32.const 3072)
(func $handle (param i32) (result i32) (call $log (i32.const 1) (i32.const 65536) (i32.const 4194304)) i32.const 256)
