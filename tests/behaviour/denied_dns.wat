;; Looks up "localhost", and traps whatever comes of it.
(component
  (import "wasi:sockets/network@0.2.0" (instance $net
    (export "network" (type $network (sub resource)))
    (type $codes (enum "unknown" "access-denied" "not-supported" "invalid-argument" "out-of-memory" "timeout"
      "concurrency-conflict" "not-in-progress" "would-block" "invalid-state" "new-socket-limit" "address-not-bindable"
      "address-in-use" "remote-unreachable" "connection-refused" "connection-reset" "connection-aborted"
      "datagram-too-large" "name-unresolvable" "temporary-resolver-failure" "permanent-resolver-failure"))
    (export "error-code" (type $error (eq $codes)))))
  (alias export $net "network" (type $network))
  (alias export $net "error-code" (type $error))
  (import "wasi:sockets/instance-network@0.2.0" (instance $host
    (alias outer 1 $network (type $n)) (export "network" (type $own (eq $n)))
    (export "instance-network" (func (result (own $own))))))
  (import "wasi:sockets/ip-name-lookup@0.2.0" (instance $dns
    (alias outer 1 $network (type $n)) (export "network" (type $of (eq $n)))
    (alias outer 1 $error (type $e)) (export "error-code" (type $code (eq $e)))
    (export "resolve-address-stream" (type $stream (sub resource)))
    (export "resolve-addresses"
      (func (param "network" (borrow $of)) (param "name" string) (result (result (own $stream) (error $code)))))))
  (core module $libc
    (memory (export "memory") 1)
    (data (i32.const 16) "localhost")
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
  (core instance $libc (instantiate $libc))
  (core func $open (canon lower (func $host "instance-network")))
  (core func $resolve (canon lower (func $dns "resolve-addresses") (memory $libc "memory")))
  (core module $code
    (import "host" "open" (func $open (result i32)))
    (import "host" "resolve" (func $resolve (param i32 i32 i32 i32)))
    (func (export "run") (param i32 i32) (result i32)
      (call $resolve (call $open) (i32.const 16) (i32.const 9) (i32.const 0))
      unreachable))
  (core instance $instance (instantiate $code
    (with "host" (instance (export "open" (func $open)) (export "resolve" (func $resolve))))))
  (func $run (param "args" string) (result string)
    (canon lift (core func $instance "run") (memory $libc "memory") (realloc (func $libc "realloc"))))
  (instance $interface (export "run" (func $run)))
  (export "component:run/run" (instance $interface)))
