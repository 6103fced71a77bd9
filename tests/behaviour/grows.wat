;; Given nothing, answers with its memory's size in pages. Given a letter, lets its memory grow by a page and fills all of it first. Given two,
;; reads past its memory's end.
(component
  (core module $code
    (memory (export "memory") PAGES)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    (func (export "run") (param $args i32) (param $length i32) (result i32)
      (if (i32.eq (local.get $length) (i32.const 2))
        (then (drop (i32.load8_u (i32.mul (memory.size) (i32.const 65536))))))
      (if (i32.eq (local.get $length) (i32.const 1))
        (then
          (drop (memory.grow (i32.const 1)))
          (memory.fill (i32.const 0) (i32.const 1) (i32.mul (memory.size) (i32.const 65536)))))
      (i32.store8 (i32.const 32) (i32.add (i32.const 48) (memory.size)))
      (i32.store (i32.const 16) (i32.const 32))
      (i32.store (i32.const 20) (i32.const 1))
      (i32.const 16)))
  (core instance $instance (instantiate $code))
  (alias core export $instance "memory" (core memory $memory))
  (alias core export $instance "realloc" (core func $realloc))
  (func $run (param "args" string) (result string)
    (canon lift (core func $instance "run") (memory $memory) (realloc $realloc)))
  (instance $interface (export "run" (func $run)))
  (export "component:run/run" (instance $interface)))
