"""What a call wrote is gone with it, wherever the kernel has put it meanwhile."""

import ctypes
import threading
from pathlib import Path

import pytest

from limes import Runtime

MADV_PAGEOUT = 21

# Answers with what a byte far from its others was, and sets it; computes for a while when it was given something.
GUEST = """
(component
  (core module $m
    (memory (export "memory") {pages})
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    (func (export "run") (param i32 i32) (result i32) (local $left i64)
      (i32.store8 (i32.const 64) (i32.add (i32.const 48) (i32.load8_u (i32.const 60000))))
      (i32.store8 (i32.const 60000) (i32.const 1))
      (if (local.get 1) (then
        (local.set $left (i64.const 600000000))
        (loop $wait
          (br_if $wait (i64.ne (local.tee $left (i64.sub (local.get $left) (i64.const 1))) (i64.const 0))))))
      (i32.store (i32.const 0) (i32.const 64))
      (i32.store (i32.const 4) (i32.const 1))
      (i32.const 0)))
  (core instance $m (instantiate $m))
  (func $run (param "args" string) (result string)
    (canon lift (core func $m "run") (memory $m "memory") (realloc (func $m "realloc"))))
  (instance $i (export "run" (func $run)))
  (export "component:run/run" (instance $i)))
"""


def page_out() -> None:
    """Sends everything of this process that has no file to swap."""
    libc = ctypes.CDLL(None, use_errno=True)
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, access, _offset, _device, inode, *_path = line.split()
        if access == "rw-p" and inode == "0":
            start, end = (int(address, 16) for address in addresses.split("-"))
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), MADV_PAGEOUT)


@pytest.mark.skipif(
    len(Path("/proc/swaps").read_text().splitlines()) < 2, reason="no swap is on (see `swapon --show`)"
)
@pytest.mark.parametrize("pages", [1, 17, 200], ids=["one page", "as Rust has", "large"])
def test_memory_that_was_swapped_out_is_cleared(runtime: Runtime, pages: int) -> None:
    function = runtime.load(GUEST.format(pages=pages).encode())
    assert function.run("").output == "0"
    for _ in range(3):
        call = threading.Thread(target=function.run, args=("wait",))
        call.start()
        while call.is_alive():
            page_out()
        assert function.run("").output == "0", "what the last call wrote"
