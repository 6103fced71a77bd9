"""A damaged, foreign or swapped cache entry is made again and never run."""

import os
import random
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import guest_path

from limes import Runtime

SEED = 7
FLIPS = 25
GUESTS = ["hello", "wat_echo", "run_echo"]
ANSWERS = {"hello": "Hello, x!", "wat_echo": "x", "run_echo": "x"}
NOT_ENTRIES = {"key", "lock"}


class Cache:
    """A cache with the entries of some guests, which a test damages."""

    def __init__(self, path: Path) -> None:
        self.path = path
        Runtime(path)
        self.entry: dict[str, Path] = {}
        for name in GUESTS:
            before = set(self.files())
            assert self.ask(name) == "miss"
            (self.entry[name],) = set(self.files()) - before
            assert self.ask(name) == "hit"

    def files(self) -> Iterator[Path]:
        return (path for path in self.path.iterdir() if path.name not in NOT_ENTRIES)

    def ask(self, name: str) -> str:
        """Whether the cache answered, the function's own answer being right."""
        function = Runtime(self.path).load(guest_path(name))
        assert function.run("x").output == ANSWERS[name]
        return function.timing.cache

    def put(self, name: str, data: bytes) -> None:
        """Another file in the place of an entry: what runs keeps the one it has mapped."""
        other = self.path.parent / "other"
        other.write_bytes(data)
        other.chmod(0o600)
        other.replace(self.entry[name])


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def _is_made_again(cache: Cache, name: str) -> bool:
    return [cache.ask(name), cache.ask(name)] == ["miss", "hit"]


@pytest.mark.parametrize("name", GUESTS)
def test_an_entry_with_a_flipped_bit_is_made_again(cache: Cache, name: str) -> None:
    draw = random.Random(SEED)
    for _ in range(FLIPS):
        data = bytearray(cache.entry[name].read_bytes())
        position = draw.randrange(len(data) * 8)
        data[position // 8] ^= 1 << position % 8
        cache.put(name, bytes(data))
        assert _is_made_again(cache, name), f"bit {position} of {len(data) * 8}"


@pytest.mark.parametrize("name", GUESTS)
def test_an_entry_of_another_length_is_made_again(cache: Cache, name: str) -> None:
    whole = cache.entry[name].read_bytes()
    draw = random.Random(SEED)
    lengths = [0, 1, 95, 96, len(whole) // 2, len(whole) - 1, *(draw.randrange(len(whole)) for _ in range(5))]
    for data in (*(whole[:length] for length in lengths), whole + b"\0", whole + whole):
        cache.put(name, data)
        assert _is_made_again(cache, name), f"{len(data)} of {len(whole)} bytes"


def test_entries_that_changed_places_are_made_again(cache: Cache) -> None:
    data = {name: cache.entry[name].read_bytes() for name in GUESTS}
    for name, other in zip(GUESTS, GUESTS[1:] + GUESTS[:1], strict=True):
        cache.put(name, data[other])
    for name in GUESTS:
        assert _is_made_again(cache, name)


def test_an_entry_of_another_cache_is_made_again(cache: Cache, tmp_path: Path) -> None:
    foreign = Cache(tmp_path / "foreign")
    assert foreign.entry["hello"].name == cache.entry["hello"].name
    cache.put("hello", foreign.entry["hello"].read_bytes())
    assert _is_made_again(cache, "hello")


def test_without_its_key_every_entry_is_made_again(cache: Cache) -> None:
    (cache.path / "key").unlink()
    for name in GUESTS:
        assert _is_made_again(cache, name)


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_the_cache_is_closed_to_others_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        cache = Cache(tmp_path / "new" / "cache")
    finally:
        os.umask(before)
    assert stat.S_IMODE(cache.path.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in cache.path.iterdir()}
    assert set(modes.values()) == {0o600}, modes


def test_a_cache_that_was_open_to_others_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    path.mkdir(mode=0o777)
    path.chmod(0o777)
    Runtime(path).load(guest_path("wat_echo"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


LOADS = """
import random, sys
from pathlib import Path
from limes import Runtime

cache, seed, *guests = sys.argv[1:]
draw = random.Random(int(seed))
for turn in range(15):
    runtime = Runtime(cache)
    for guest in draw.sample(guests, len(guests)):
        assert runtime.load(Path(guest)).run("x").output.endswith(("x", "x!")), guest
    if draw.random() < 0.3:
        runtime.engine.cache_clear()
"""


def test_processes_share_one_cache(tmp_path: Path) -> None:
    """Each fills it and empties it while the others read from it."""
    guests = [str(guest_path(name)) for name in GUESTS]
    command = [sys.executable, "-c", LOADS, str(tmp_path / "cache")]
    racers = [
        subprocess.Popen([*command, str(seed), *guests], stderr=subprocess.PIPE, text=True)
        for seed in range(4)
    ]
    for racer in racers:
        _, errors = racer.communicate(timeout=60)
        assert racer.returncode == 0, errors
        assert "discarding" not in errors
    entries = [path for path in (tmp_path / "cache").iterdir() if path.name not in NOT_ENTRIES]
    assert Runtime(tmp_path / "cache").engine.cache_verify() == (len(entries), 0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for one entry and not for two."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(disk)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a file system of its own size cannot be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_on_a_full_disk_functions_run_and_nothing_is_half_written(small_disk: Path) -> None:
    cache = small_disk / "cache"
    runtime = Runtime(cache)
    for _ in range(2):
        for name in GUESTS:
            assert runtime.load(guest_path(name)).run("x").output == ANSWERS[name]
    files = [path for path in cache.iterdir() if path.name not in NOT_ENTRIES]
    assert len(files) < len(GUESTS), "the disk was never full"
    assert runtime.engine.cache_verify() == (len(files), 0)
    # With room again, the cache keeps what it could not.
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    answers = [Runtime(cache).load(guest_path(name)).timing.cache for name in GUESTS for _ in range(2)]
    assert answers[1::2] == ["hit"] * len(GUESTS)
