;; table_bomb: grows a table until it may not; returns the number of elements it got, or traps if it got them all.
(component
  (core module $code
    (memory (export "memory") 1)
    (table $table 1 funcref)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    ;; The answer is the size in decimal, written backwards from address 64.
    (func $decimal (param $number i32) (result i32)
      (local $at i32)
      (local.set $at (i32.const 64))
      (loop $next
        (local.set $at (i32.sub (local.get $at) (i32.const 1)))
        (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10))))
        (local.set $number (i32.div_u (local.get $number) (i32.const 10)))
        (br_if $next (local.get $number)))
      (local.get $at))
    (func (export "run") (param i32 i32) (result i32)
      (local $at i32)
      (block $refused
        (loop $more
          (br_if $refused (i32.eq (i32.const -1) (table.grow $table (ref.null func) (i32.const 10000))))
          (br_if $more (i32.lt_u (table.size $table) (i32.const 100000000))))
        (unreachable))
      (local.set $at (call $decimal (table.size $table)))
      (i32.store (i32.const 16) (local.get $at))
      (i32.store (i32.const 20) (i32.sub (i32.const 64) (local.get $at)))
      (i32.const 16)))
  (core instance $instance (instantiate $code))
  (alias core export $instance "memory" (core memory $memory))
  (alias core export $instance "realloc" (core func $realloc))
  (func $run (param "args" string) (result string)
    (canon lift (core func $instance "run") (memory $memory) (realloc $realloc)))
  (instance $interface (export "run" (func $run)))
  (export "component:run/run" (instance $interface)))
