;; recurse: calls itself until the stack is gone; by the engine's stack alone, without using its memory.
(component
  (core module $code
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    (func $deeper (param $depth i32) (result i32)
      (i32.add (local.get $depth) (call $deeper (i32.add (local.get $depth) (i32.const 1)))))
    (func (export "run") (param i32 i32) (result i32) (call $deeper (i32.const 0))))
  (core instance $instance (instantiate $code))
  (alias core export $instance "memory" (core memory $memory))
  (alias core export $instance "realloc" (core func $realloc))
  (func $run (param "args" string) (result string)
    (canon lift (core func $instance "run") (memory $memory) (realloc $realloc)))
  (instance $interface (export "run" (func $run)))
  (export "component:run/run" (instance $interface)))
