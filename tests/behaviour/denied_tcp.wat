;; Connects to 127.0.0.1:9, and traps whatever comes of it.
(component
  (import "wasi:sockets/network@0.2.0" (instance $net
    (export "network" (type $network (sub resource)))
    (type $codes (enum "unknown" "access-denied" "not-supported" "invalid-argument" "out-of-memory" "timeout"
      "concurrency-conflict" "not-in-progress" "would-block" "invalid-state" "new-socket-limit" "address-not-bindable"
      "address-in-use" "remote-unreachable" "connection-refused" "connection-reset" "connection-aborted"
      "datagram-too-large" "name-unresolvable" "temporary-resolver-failure" "permanent-resolver-failure"))
    (export "error-code" (type $error (eq $codes)))
    (type $families (enum "ipv4" "ipv6"))
    (export "ip-address-family" (type $family (eq $families)))
    (type $ipv4s (tuple u8 u8 u8 u8)) (export "ipv4-address" (type $ipv4 (eq $ipv4s)))
    (type $ipv6s (tuple u16 u16 u16 u16 u16 u16 u16 u16)) (export "ipv6-address" (type $ipv6 (eq $ipv6s)))
    (type $v4s (record (field "port" u16) (field "address" $ipv4)))
    (export "ipv4-socket-address" (type $v4 (eq $v4s)))
    (type $v6s (record (field "port" u16) (field "flow-info" u32) (field "address" $ipv6) (field "scope-id" u32)))
    (export "ipv6-socket-address" (type $v6 (eq $v6s)))
    (type $addresses (variant (case "ipv4" $v4) (case "ipv6" $v6)))
    (export "ip-socket-address" (type $address (eq $addresses)))))
  (alias export $net "network" (type $network))
  (alias export $net "error-code" (type $error))
  (alias export $net "ip-address-family" (type $family))
  (alias export $net "ip-socket-address" (type $address))
  (import "wasi:sockets/instance-network@0.2.0" (instance $host
    (alias outer 1 $network (type $n)) (export "network" (type $own (eq $n)))
    (export "instance-network" (func (result (own $own))))))
  (import "wasi:io/streams@0.2.0" (instance $io
    (export "input-stream" (type (sub resource))) (export "output-stream" (type (sub resource)))))
  (alias export $io "input-stream" (type $input))
  (alias export $io "output-stream" (type $output))
  (import "wasi:sockets/tcp@0.2.0" (instance $tcp
    (alias outer 1 $input (type $i)) (export "input-stream" (type $in (eq $i)))
    (alias outer 1 $output (type $o)) (export "output-stream" (type $out (eq $o)))
    (alias outer 1 $network (type $n)) (export "network" (type $of (eq $n)))
    (alias outer 1 $error (type $e)) (export "error-code" (type $code (eq $e)))
    (alias outer 1 $address (type $a)) (export "ip-socket-address" (type $to (eq $a)))
    (export "tcp-socket" (type $socket (sub resource)))
    (export "[method]tcp-socket.start-connect"
      (func (param "self" (borrow $socket)) (param "network" (borrow $of)) (param "remote-address" $to)
        (result (result (error $code)))))
    (export "[method]tcp-socket.finish-connect"
      (func (param "self" (borrow $socket)) (result (result (tuple (own $in) (own $out)) (error $code)))))))
  (alias export $tcp "tcp-socket" (type $socket))
  (import "wasi:sockets/tcp-create-socket@0.2.0" (instance $create
    (alias outer 1 $error (type $e)) (export "error-code" (type $code (eq $e)))
    (alias outer 1 $family (type $f)) (export "ip-address-family" (type $of (eq $f)))
    (alias outer 1 $socket (type $s)) (export "tcp-socket" (type $own (eq $s)))
    (export "create-tcp-socket"
      (func (param "address-family" $of) (result (result (own $own) (error $code)))))))
  (core module $libc
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
  (core instance $libc (instantiate $libc))
  (core func $open (canon lower (func $host "instance-network")))
  (core func $make (canon lower (func $create "create-tcp-socket") (memory $libc "memory")))
  (core func $connect
    (canon lower (func $tcp "[method]tcp-socket.start-connect") (memory $libc "memory")))
  (core func $finish
    (canon lower (func $tcp "[method]tcp-socket.finish-connect") (memory $libc "memory")))
  (core module $code
    (import "libc" "memory" (memory 1))
    (import "host" "open" (func $open (result i32)))
    (import "host" "make" (func $make (param i32 i32)))
    (import "host" "connect"
      (func $connect (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
    (import "host" "finish" (func $finish (param i32 i32)))
    (func (export "run") (param i32 i32) (result i32)
      (call $make (i32.const 0) (i32.const 0))
      (if (i32.load8_u (i32.const 0)) (then unreachable))  ;; no socket at all
      (call $connect (i32.load (i32.const 4)) (call $open) (i32.const 0)
        (i32.const 9) (i32.const 127) (i32.const 0) (i32.const 0) (i32.const 1)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 16))
      (loop $again  ;; while it would block, error code 8
        (call $finish (i32.load (i32.const 4)) (i32.const 32))
        (br_if $again (i32.and
          (i32.eq (i32.load8_u (i32.const 32)) (i32.const 1))
          (i32.eq (i32.load8_u (i32.const 36)) (i32.const 8)))))
      unreachable))
  (core instance $instance (instantiate $code
    (with "libc" (instance $libc))
    (with "host" (instance
      (export "open" (func $open)) (export "make" (func $make))
      (export "connect" (func $connect)) (export "finish" (func $finish))))))
  (func $run (param "args" string) (result string)
    (canon lift (core func $instance "run") (memory $libc "memory") (realloc (func $libc "realloc"))))
  (instance $interface (export "run" (func $run)))
  (export "component:run/run" (instance $interface)))
