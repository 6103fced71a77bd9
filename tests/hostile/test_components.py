"""Whatever bytes come, they are loaded or refused."""

import random
from collections.abc import Iterator
from contextlib import suppress

import pytest
from tests.conftest import guest_path

from limes import BadComponent, GuestTrap, LimesError, LimitExceeded, Runtime, UnsupportedContract

SEED = 20_240_601
TRAPS = """(component
    (core module $m
        (memory (export "memory") 1)
        (func $"inner" (result i32) unreachable)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
        (func (export "run") (param i32 i32) (result i32) (call $"inner")))
    (core instance $i (instantiate $m))
    (func $run (param "args" string) (result string)
        (canon lift (core func $i "run") (memory $i "memory") (realloc (func $i "realloc"))))
    (instance $run (export "run" (func $run)))
    (export "component:run/run" (instance $run)))"""
GUESTS = ["wat_echo", "table_bomb", "http_hello"]
MUTATIONS = 200
TRUNCATIONS = 60


def _mutations(data: bytes, seed: int) -> Iterator[bytes]:
    """The same damaged copies each time: bits flipped, bytes changed, parts cut out, doubled, cut off."""
    draw = random.Random(seed)
    for number in range(MUTATIONS):
        copy = bytearray(data)
        start = draw.randrange(len(copy))
        end = min(len(copy), start + draw.randrange(1, 64))
        match number % 5:
            case 0:
                copy[start] ^= 1 << draw.randrange(8)
            case 1:
                copy[start:end] = draw.randbytes(end - start)
            case 2:
                del copy[start:end]
            case 3:
                copy[start:start] = copy[start:end]
            case _:
                for _ in range(8):
                    copy[draw.randrange(len(copy))] = draw.choice((0, 1, 0x7F, 0x80, 0xFF))
        yield bytes(copy)
    for _ in range(TRUNCATIONS):
        yield data[: draw.randrange(len(data))]


@pytest.mark.parametrize("name", GUESTS)
def test_a_damaged_component_is_loaded_or_refused(name: str) -> None:
    runtime = Runtime(jit=True)
    data = guest_path(name).read_bytes()
    loaded = refused = 0
    for damaged in _mutations(data, SEED):
        try:
            function = runtime.load(damaged, timeout="100ms")
        except (BadComponent, UnsupportedContract) as error:
            assert str(error)
            refused += 1
            continue
        loaded += 1
        with suppress(LimesError):
            function.http() if function.contract == "http02" else function.run("x")
    assert loaded + refused == MUTATIONS + TRUNCATIONS
    assert refused > TRUNCATIONS / 2
    assert runtime.load(guest_path("hello")).run("still").output == "Hello, still!"


@pytest.mark.parametrize("size", [1, 4, 7, 8, 9, 100, 10_000])
def test_random_bytes_are_refused(runtime: Runtime, size: int) -> None:
    draw = random.Random(SEED)
    for head in (b"", b"\0asm", b"\0asm\x0d\0\1\0", b"\0asm\1\0\0\0", b"(component ", b"(module "):
        with pytest.raises((BadComponent, UnsupportedContract)):
            runtime.load(head + draw.randbytes(size))


def test_text_of_many_brackets_is_refused(runtime: Runtime) -> None:
    with pytest.raises(BadComponent):
        runtime.load(b"(component " + b"(" * 200_000)


def test_a_name_that_stands_for_more_than_it_says_is_shown_in_part(runtime: Runtime) -> None:
    # A C++ template of a hundred templates of a hundred templates, each of which is named once.
    name = f"_Z1f1AIiES_I{'S0_' * 100}ES_I{'S1_' * 100}ES_I{'S2_' * 100}E"
    with pytest.raises(GuestTrap) as failed:
        runtime.load(TRAPS.replace("inner", name).encode()).run()
    backtrace = failed.value.context["backtrace"]
    assert "!_Z1f1A" in backtrace
    assert len(backtrace) < 2000


def test_instances_of_instances_are_counted(runtime: Runtime) -> None:
    inner = "(core module $m) (core instance (instantiate $m))"
    for _ in range(4):
        inner = f"(component $c {inner}) " + "(instance (instantiate $c))" * 500
    with pytest.raises(BadComponent, match="instances"):
        runtime.load(TRAPS.replace("(component", f"(component {inner}", 1).encode())


def test_handles_of_its_own_types_count_as_well(runtime: Runtime) -> None:
    makes = TRAPS.replace("(component", "(component (type $own (resource (rep i32)))", 1)
    makes = makes.replace(
        "(core module $m",
        '(core func $new (canon resource.new $own)) (core module $m (import "" "new" (func $new (param i32) (result i32)))',
        1,
    )
    makes = makes.replace("unreachable", "(loop (drop (call $new (i32.const 1))) (br 0)) unreachable")
    makes = makes.replace(
        "(instantiate $m)", '(instantiate $m (with "" (instance (export "new" (func $new)))))'
    )
    with pytest.raises(LimitExceeded, match="handles"):
        runtime.load(makes.encode(), handles=20).run()
