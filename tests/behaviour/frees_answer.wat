;; Answers "well", and overwrites its answer when the host is done with it, as a language that frees its strings does.
(component
  (core module $code
    (memory (export "memory") 1)
    (data (i32.const 32) "well")
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    (func (export "run") (param i32 i32) (result i32)
      (i32.store (i32.const 16) (i32.const 32))
      (i32.store (i32.const 20) (i32.const 4))
      (i32.const 16))
    (func (export "done") (param i32) (i32.store (i32.const 32) (i32.const -1))))
  (core instance $instance (instantiate $code))
  (alias core export $instance "memory" (core memory $memory))
  (alias core export $instance "realloc" (core func $realloc))
  (alias core export $instance "done" (core func $done))
  (func $run (param "args" string) (result string)
    (canon lift (core func $instance "run") (memory $memory) (realloc $realloc) (post-return $done)))
  (instance $interface (export "run" (func $run)))
  (export "component:run/run" (instance $interface)))
