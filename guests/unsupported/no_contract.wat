;; no_contract: a valid component that exports nothing that can be called: `foo:bar/baz`.
(component
  (core module $code (func (export "qux")))
  (core instance $instance (instantiate $code))
  (func $qux (canon lift (core func $instance "qux")))
  (instance $interface (export "qux" (func $qux)))
  (export "foo:bar/baz" (instance $interface)))
