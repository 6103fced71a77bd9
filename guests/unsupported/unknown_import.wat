;; unknown_import: the run contract, with an import that no host has: `foo:bar/baz`.
(component
  (import "foo:bar/baz" (instance $baz (export "qux" (func))))
  (core func $qux (canon lower (func $baz "qux")))
  (core module $code
    (import "host" "qux" (func $qux))
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    (func (export "run") (param i32 i32) (result i32) (call $qux) (i32.const 16)))
  (core instance $instance (instantiate $code (with "host" (instance (export "qux" (func $qux))))))
  (alias core export $instance "memory" (core memory $memory))
  (alias core export $instance "realloc" (core func $realloc))
  (func $run (param "args" string) (result string)
    (canon lift (core func $instance "run") (memory $memory) (realloc $realloc)))
  (instance $interface (export "run" (func $run)))
  (export "component:run/run" (instance $interface)))
