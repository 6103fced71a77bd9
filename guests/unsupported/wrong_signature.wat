;; wrong_signature: exports `component:run/run`, but its `run` takes a number and returns one.
(component
  (core module $code (func (export "run") (param i32) (result i32) (local.get 0)))
  (core instance $instance (instantiate $code))
  (func $run (param "args" u32) (result u32) (canon lift (core func $instance "run")))
  (instance $interface (export "run" (func $run)))
  (export "component:run/run" (instance $interface)))
