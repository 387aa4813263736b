"""Digits drawn by rule, for training: how a hand moves when it writes them, in shapes taught in different countries.

The people who wrote scikit-learn's digits learnt one school hand; these add the plain stick of a 1, the uncrossed 7,
the closed 4, the looped 2.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

# Per digit its shapes: the points a stroke passes, "x,y" in hundredths of the digit's box from its top left corner,
# and " / " where the pen is lifted.
SHAPES: dict[int, tuple[str, ...]] = {
    0: (
        "50,0 15,15 0,50 15,85 50,100 85,85 100,50 85,15 50,0",
        "50,0 15,15 0,50 15,85 50,100 85,85 100,50 85,15 60,2 35,8",
        "75,8 50,0 15,15 0,50 15,85 50,100 85,85 100,50 85,15 45,0",
    ),
    1: (
        "50,0 50,50 50,100",
        "50,0 48,50 50,100",
        "25,30 40,18 55,0 / 55,0 55,50 55,100",
        "25,25 50,0 / 50,0 50,50 50,100 / 15,100 50,100 85,100",
    ),
    2: (
        "5,25 25,3 60,0 88,22 70,50 35,78 2,100 / 2,100 50,98 100,100",
        "8,20 35,0 70,5 80,30 60,62 25,92 5,92 12,75 40,85 70,100 100,90",
        "10,15 40,0 72,10 70,40 48,75 22,100 0,90 12,68 42,72 70,92 105,88",
        "20,10 50,0 75,12 62,50 40,85 15,98 8,82 30,72 60,80 95,72",
        "5,22 25,2 65,0 85,22 65,52 35,80 12,95 0,84 14,68 40,74 70,95 105,92",
        "0,30 15,5 55,0 80,18 70,50 40,88 15,100 2,88 20,74 50,84 80,98 110,80",
        "15,30 25,8 60,0 70,25 50,60 15,95 / 15,95 5,80 30,74 65,90 100,96",
    ),
    3: (
        "5,12 40,0 80,8 85,28 65,43 35,48 / 35,48 75,53 95,73 75,95 35,100 0,88",
        "5,2 50,0 90,0 / 90,0 65,22 40,40 / 40,40 80,48 95,72 70,95 30,100 0,88",
    ),
    4: (
        "20,0 8,30 2,55 / 2,55 50,55 100,52 / 75,5 72,50 70,100",
        "65,0 30,35 0,68 / 0,68 50,68 100,68 / 65,0 65,50 65,100",
        "10,0 5,25 15,46 50,50 80,40 / 85,0 80,45 70,100",
        "30,0 5,55 / 5,55 95,60 / 60,30 55,100",
    ),
    5: (
        "95,0 50,0 15,2 / 15,2 12,22 10,42 / 10,42 45,34 85,48 95,70 75,93 35,100 0,90",
        "90,0 50,4 28,8 20,30 40,42 70,56 75,80 45,98 5,92",
        "25,5 20,25 18,45 / 18,45 50,40 80,60 70,90 30,100 5,90 / 22,5 60,3 110,0",
        "30,5 24,25 20,42 / 20,42 55,38 85,60 75,90 40,100 12,90 25,72 / 30,5 65,3 100,0",
    ),
    6: (
        "70,0 35,15 8,50 8,82 40,100 80,90 88,68 60,52 25,60 10,78",
        "40,0 20,30 8,65 20,95 55,98 75,80 60,62 30,68 12,85",
        "85,8 50,0 18,20 3,60 20,93 60,100 90,80 80,55 45,47 12,62",
        "20,0 12,35 8,75 30,100 75,95 90,72 70,52 40,62 25,85",
        "55,0 30,40 8,75 25,100 60,92 72,70 50,58 20,78",
        "70,0 40,30 12,68 20,95 55,100 85,80 80,58 50,52 15,72",
    ),
    7: (
        "0,5 50,2 95,0 / 95,0 65,50 45,100",
        "0,5 50,0 95,5 80,40 60,100",
        "5,5 50,2 95,0 / 95,0 65,50 40,100 / 30,50 65,48 95,46",
        "5,22 5,2 / 5,4 50,6 90,0 / 90,0 62,50 50,100",
    ),
    8: (
        "82,12 50,0 18,12 22,35 55,50 88,70 75,95 40,100 10,85 20,62 50,48 80,30 80,10",
        "50,0 20,10 20,35 50,46 80,35 80,10 50,0 / 50,46 10,60 10,88 50,100 90,88 90,60 50,46",
    ),
    9: (
        "85,12 50,0 12,12 10,38 45,50 80,35 88,10 / 88,10 84,50 78,100",
        "85,18 55,0 15,10 8,36 40,48 80,30 90,12 90,50 75,85 40,100 10,92",
        "80,10 40,0 10,25 40,48 75,30 / 80,8 62,50 40,100",
        "70,10 35,4 8,22 12,42 45,40 80,12 90,0 80,40 70,75 62,100",
        "90,10 50,0 10,12 5,40 40,50 85,22 95,5 / 95,5 80,50 60,100",
        "75,12 40,2 12,20 15,45 45,42 75,15 / 78,10 70,50 68,100",
    ),
}
# How wide a digit is for its height.
_WIDTHS = {0: (0.55, 0.95), 1: (0.3, 0.5)}
_USUAL_WIDTH = (0.5, 0.85)


def draw(digit: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """One drawing of `digit`, float32 [side, side], paper 0, ink 1: never twice the same."""
    shapes = SHAPES[digit]
    strokes = [_points(stroke) for stroke in shapes[rng.integers(len(shapes))].split(" / ")]
    scale = 2  # drawn larger and reduced, for soft edges
    height = side * 0.6
    width = height * rng.uniform(*_WIDTHS.get(digit, _USUAL_WIDTH))
    corner = np.array([(side - width) / 2, (side - height) / 2])
    unsteady = rng.uniform(0.0, 0.055)
    nib = rng.uniform(1.5, 7.5) * scale
    canvas = Image.new("L", (side * scale, side * scale), 0)
    brush = ImageDraw.Draw(canvas)
    for stroke in strokes:
        points = stroke + rng.normal(0, unsteady, stroke.shape)
        path = (_smooth(points) * (width, height) + corner) * scale
        brush.line([tuple(point) for point in path], fill=255, width=round(nib), joint="curve")
        for x, y in (path[0], path[-1]):
            brush.ellipse((x - nib / 2, y - nib / 2, x + nib / 2, y + nib / 2), fill=255)
    small = canvas.resize((side, side), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32) / 255.0


def _points(stroke: str) -> np.ndarray:
    return np.array([[float(number) for number in point.split(",")] for point in stroke.split()]) / 100.0


def _smooth(points: np.ndarray, steps: int = 6) -> np.ndarray:
    """A Catmull-Rom curve through the points."""
    if len(points) < 3:
        return points
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    before, start, end, after = padded[:-3, None], padded[1:-2, None], padded[2:-1, None], padded[3:, None]
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    curve = 0.5 * (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t**2
        + (3 * start - before - 3 * end + after) * t**3
    )
    return np.concatenate([curve.reshape(-1, 2), points[-1:]])
