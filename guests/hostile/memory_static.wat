;; memory_static: asks for 1 GiB before its first instruction runs.
(component
  (core module $code
    (memory (export "memory") 16384)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    (func (export "run") (param i32 i32) (result i32) (i32.const 16)))
  (core instance $instance (instantiate $code))
  (alias core export $instance "memory" (core memory $memory))
  (alias core export $instance "realloc" (core func $realloc))
  (func $run (param "args" string) (result string)
    (canon lift (core func $instance "run") (memory $memory) (realloc $realloc)))
  (instance $interface (export "run" (func $run)))
  (export "component:run/run" (instance $interface)))
