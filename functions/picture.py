"""Draw the photograph that the image functions process: ``python functions/picture.py OUTPUT``.

1024x768 pixels, a progressive JPEG. The same bytes come out each time: the scene is computed,
and its grain comes from a seed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

WIDTH, HEIGHT = 1024, 768
QUALITY = 90


def scene() -> npt.NDArray[np.uint8]:
    """A sky, a sun, hills and grain: smooth parts, edges and noise, as a photograph has them."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    sky = np.stack([60 + y * 0.18, 110 + y * 0.12, 200 - y * 0.05], axis=-1)
    sun = np.exp(-(((x - 760) ** 2 + (y - 180) ** 2) / 5000))[..., None] * np.array([190.0, 130.0, 20.0])
    picture = sky + sun
    for height, period, color in (
        (430, 310, (70, 90, 60)),
        (540, 170, (45, 75, 35)),
        (640, 90, (25, 50, 20)),
    ):
        ridge = height + 60 * np.sin(x / period) + 25 * np.sin(x / period * 2.7 + 1)
        stripes = 12 * np.sin((x + 2 * y) / 7)
        picture = np.where((y > ridge)[..., None], np.array(color) + stripes[..., None], picture)
    grain = np.random.default_rng(1).normal(0, 6, (HEIGHT, WIDTH, 3))
    pixels: npt.NDArray[np.uint8] = np.clip(picture + grain, 0, 255).astype(np.uint8)
    return pixels


def main(output: Path) -> None:
    """Write the photograph, unless it is there: what includes it is then not built again."""
    if output.exists():
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(scene()).save(output, "JPEG", quality=QUALITY, progressive=True, subsampling="4:2:0")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
