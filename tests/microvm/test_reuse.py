"""A machine that goes on to the next call as it is."""

from pathlib import Path

import pytest
from tests.conftest import guest_path

from limes import Runtime

REUSED = {"vmm": "builtin", "isolation": "reuse"}

KEEPS_A_HANDLE = """(component
    (import "wasi:filesystem/types@0.2.0" (instance $types
        (export "descriptor" (type $d (sub resource)))
        (export "[method]descriptor.is-same-object"
            (func (param "self" (borrow $d)) (param "other" (borrow $d)) (result bool)))))
    (alias export $types "descriptor" (type $descriptor))
    (import "wasi:filesystem/preopens@0.2.0" (instance $preopens
        (alias outer 1 $descriptor (type $outer))
        (export "descriptor" (type $d (eq $outer)))
        (export "get-directories" (func (result (list (tuple (own $d) string)))))))
    (core module $libc
        (memory (export "memory") 1)
        (global $next (mut i32) (i32.const 1024))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32)
            (global.get $next)
            (global.set $next (i32.and
                (i32.add (i32.add (global.get $next) (local.get 3)) (i32.const 15)) (i32.const -8)))))
    (core instance $libc (instantiate $libc))
    (core func $get (canon lower (func $preopens "get-directories")
        (memory $libc "memory") (realloc (func $libc "realloc"))))
    (core func $same (canon lower (func $types "[method]descriptor.is-same-object")))
    (core module $main
        (import "libc" "memory" (memory 1))
        (import "host" "get" (func $get (param i32)))
        (import "host" "same" (func $same (param i32 i32) (result i32)))
        (global $kept (mut i32) (i32.const -1))
        (data (i32.const 64) "same")
        (func (export "run") (param i32 i32) (result i32)
            (if (i32.eq (global.get $kept) (i32.const -1)) (then
                (call $get (i32.const 16))
                (global.set $kept (i32.load (i32.load (i32.const 16))))))
            (if (i32.eqz (call $same (global.get $kept) (global.get $kept))) (then (unreachable)))
            (i32.store (i32.const 32) (i32.const 64))
            (i32.store (i32.const 36) (i32.const 4))
            (i32.const 32)))
    (core instance $main (instantiate $main
        (with "libc" (instance $libc))
        (with "host" (instance (export "get" (func $get)) (export "same" (func $same))))))
    (func $run (param "args" string) (result string)
        (canon lift (core func $main "run") (memory $libc "memory") (realloc (func $libc "realloc"))))
    (instance $i (export "run" (func $run)))
    (export "component:run/run" (instance $i)))"""
"""Asks for its first directory when it is called first, and uses it at each call."""


def test_a_component_may_keep_what_it_opened(runtime: Runtime, builtin: str, tmp_path: Path) -> None:
    directory = {"host": tmp_path, "guest": "/data"}
    keeping = runtime.load(KEEPS_A_HANDLE.encode(), sandbox="microvm", microvm=REUSED, dirs=[directory])
    for _ in range(3):
        assert keeping.run().output == "same"


@pytest.mark.parametrize("body", [b"", b"x", b"x" * (300 << 10)])
def test_the_body_of_a_request_is_its_own(runtime: Runtime, builtin: str, body: bytes) -> None:
    handler = runtime.load(
        guest_path("http_echo"), sandbox="microvm", microvm=REUSED, request="1MiB", response="1MiB"
    )
    for _ in range(3):
        assert handler.http("POST", "/", (), body).body == body


def test_a_command_runs_once_in_its_machine(runtime: Runtime, builtin: str) -> None:
    cat = runtime.load(guest_path("cli_cat"), sandbox="microvm", microvm=REUSED)
    for number in range(3):
        assert cat.command(stdin=f"{number}").output == f"{number}".encode()
