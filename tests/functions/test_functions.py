"""The functions Limes ships answer as references do that are not made from their code: NumPy and Pillow."""

import io
import json
import subprocess
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from limes import GuestTrap, Runtime

FUNCTIONS = Path(__file__).resolve().parents[2] / "functions"
ITERATIONS = 256
NAMES = ["noop", "mandelbrot", "mandelbrot-io", "image", "image-io"]


def built(name: str) -> Path:
    path = FUNCTIONS / "build" / name
    if not path.is_file():
        pytest.fail(f"{path} is not built; run `make functions`")
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "input.jpg").write_bytes(built("picture.jpg").read_bytes())
    return tmp_path


def call(runtime: Runtime, name: str, args: str = "", data: Path | None = None) -> dict[str, Any]:
    dirs = [] if data is None else [{"host": str(data), "guest": "/data", "writable": True}]
    return json.loads(runtime.load(built(f"{name}.wasm"), dirs=dirs).run(args).output)


def expected_counts() -> np.ndarray:
    """Iterations of every point, in 32-bit floats like the function's, by NumPy."""
    step = np.float32(3.0) / np.float32(800)
    x = np.arange(800, dtype=np.float32) * step - np.float32(2.0)
    y = np.arange(800, dtype=np.float32) * step - np.float32(1.5)
    x, y = np.broadcast_to(x, (800, 800)), np.broadcast_to(y[:, None], (800, 800))
    re, im = np.zeros_like(x), np.zeros_like(x)
    bounded = np.ones(x.shape, dtype=bool)
    counts = np.zeros(x.shape, dtype=np.int64)
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(ITERATIONS):
            re2, im2 = re * re, im * im
            bounded &= re2 + im2 <= np.float32(4.0)
            counts += bounded
            im = (re + re) * im + y
            re = re2 - im2 + x
    return counts


def expected_picture(jpeg: bytes) -> np.ndarray:
    """The picture as it has to become, decoded by Pillow and computed in 64-bit floats."""
    picture = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"), dtype=np.float64)
    offsets = np.arange(-9, 10)
    kernel = np.exp(-(offsets**2) / (2 * 3.0**2))
    kernel /= kernel.sum()
    for axis in (0, 1):
        width = [(9, 9) if axis == other else (0, 0) for other in range(3)]
        padded = np.pad(picture, width, mode="edge")
        length = picture.shape[axis]
        picture = sum(
            weight * padded.take(range(at, at + length), axis=axis) for at, weight in enumerate(kernel)
        )
    developed = np.clip((picture + 2 - 128) * 1.5 + 128, 0, 255)
    return developed @ np.array([0.299, 0.587, 0.114])


@pytest.mark.parametrize("args", ["", "world", "é 漢字 🦀", "x" * 100_000])
def test_noop_gives_its_arguments_back(runtime: Runtime, args: str) -> None:
    assert runtime.load(built("noop.wasm")).run(args).output == args


def test_mandelbrot_counts_what_numpy_counts(runtime: Runtime) -> None:
    counts = expected_counts()
    assert call(runtime, "mandelbrot") == {
        "width": 800,
        "height": 800,
        "iterations": ITERATIONS,
        "inside": int((counts == ITERATIONS).sum()),
        "total": int(counts.sum()),
    }


def test_mandelbrot_io_writes_the_count_of_every_point(runtime: Runtime, data: Path) -> None:
    answer = call(runtime, "mandelbrot-io", "set.png", data)
    picture = Image.open(io.BytesIO((data / "set.png").read_bytes()))
    assert (picture.mode, picture.size) == ("L", (800, 800))
    assert np.array_equal(np.asarray(picture), expected_counts() % ITERATIONS)
    assert answer == call(runtime, "mandelbrot")


def test_image_io_makes_the_picture_that_pillow_and_numpy_make(runtime: Runtime, data: Path) -> None:
    answer = call(runtime, "image-io", data=data)
    made = (data / "output.jpg").read_bytes()
    picture = Image.open(io.BytesIO(made))
    assert (picture.mode, picture.size) == ("L", (1024, 768))
    difference = np.abs(
        np.asarray(picture, dtype=np.float64) - expected_picture(built("picture.jpg").read_bytes())
    )
    # Decoders round differently, and the result was compressed at quality 75.
    assert difference.mean() < 1.0
    assert np.quantile(difference, 0.999) < 6.0
    assert answer == {"width": 1024, "height": 768, "bytes": len(made), "crc32": f"{zlib.crc32(made):08x}"}


def test_image_makes_of_the_picture_inside_what_image_io_makes_of_the_file(
    runtime: Runtime, data: Path
) -> None:
    assert call(runtime, "image") == call(runtime, "image-io", data=data)


def test_image_io_says_what_is_wrong_with_its_files(runtime: Runtime, data: Path) -> None:
    (data / "input.jpg").write_bytes(b"no picture")
    with pytest.raises(GuestTrap):
        call(runtime, "image-io", data=data)
    with pytest.raises(GuestTrap):
        call(runtime, "image-io", "missing.jpg output.jpg", data)
    assert not (data / "output.jpg").exists()


@pytest.mark.parametrize("name", NAMES)
def test_the_linux_program_answers_as_the_component_does(runtime: Runtime, name: str, data: Path) -> None:
    files = data if name.endswith("-io") else None
    done = subprocess.run([built(f"native/{name}")], cwd=data, capture_output=True, text=True, check=True)
    dirs = [] if files is None else [{"host": str(files), "guest": "/data", "writable": True}]
    assert done.stdout.rstrip("\n") == runtime.load(built(f"{name}.wasm"), dirs=dirs).run("").output


@pytest.mark.parametrize("name", ["mandelbrot", "image"])
def test_a_component_without_vectors_answers_the_same(runtime: Runtime, name: str) -> None:
    answers = [runtime.load(built(place)).run().output for place in (f"{name}.wasm", f"scalar/{name}.wasm")]
    assert answers[0] == answers[1]


def test_the_photograph_is_a_progressive_jpeg() -> None:
    with Image.open(built("picture.jpg")) as picture:
        assert (picture.size, picture.info.get("progressive")) == ((1024, 768), 1)
