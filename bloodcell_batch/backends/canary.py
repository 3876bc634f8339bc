"""The canary: pictures that every runtime must agree on with float32 before it is trusted with a slide."""

import numpy as np
from numpy.typing import NDArray

CANARIES = 16
MAX_DIFFERENCE = 0.02
"""Largest difference of a probability between a half-precision runtime and float32, and between two processors that run
the same int8 network."""

_BLOBS = 24
_PALETTE = ((252, 244, 240), (222, 180, 190), (172, 112, 172), (110, 60, 140), (70, 30, 110), (230, 150, 120))


def canary_images(side: int, count: int = CANARIES) -> NDArray[np.uint8]:
    """Drawn pictures in the colours of a stained smear, uint8 (count, side, side, 3), the same on every machine."""
    rng = np.random.default_rng(20)
    y, x = np.mgrid[:side, :side] / side
    pictures = np.empty((count, side, side, 3), dtype=np.uint8)
    for picture in pictures:
        canvas = np.full((side, side, 3), _PALETTE[0], dtype=np.float64)
        places = np.arange(side) / side
        for _ in range(_BLOBS):
            (cx, cy), radius = rng.uniform(0.2, 0.8, 2), rng.uniform(0.04, 0.3)
            colour = np.array(_PALETTE[rng.integers(len(_PALETTE))])
            # Only the square around the blob is looked at: every start of a new machine draws these.
            part = _span(places, cy, radius), _span(places, cx, radius)
            inside = ((x[part] - cx) ** 2 + (y[part] - cy) ** 2 < radius**2)[:, :, None]
            canvas[part] = np.where(inside, canvas[part] * 0.3 + colour * 0.7, canvas[part])
        picture[...] = (canvas + rng.normal(0, 6, canvas.shape)).clip(0, 255).astype(np.uint8)
    return pictures


def _span(places: NDArray[np.float64], centre: float, radius: float) -> slice:
    """The places within `radius` of the centre, and one more on each side."""
    first, last = np.searchsorted(places, (centre - radius, centre + radius)).tolist()
    return slice(max(0, first - 1), last + 1)


def disagreement_where_sure(
    probabilities: NDArray[np.float32], reference: NDArray[np.float32], threshold: float
) -> str:
    """What is wrong with probabilities (N, C) of those canary pictures that float32 is sure of; empty if nothing is.

    bfloat16 keeps three digits. What it changes are pictures between two classes, which go to a person either way; one
    that float32 gives at least `threshold` must keep its class and, within `MAX_DIFFERENCE`, its probability.
    """
    if probabilities.shape != reference.shape:
        return disagreement(probabilities, reference)
    sure = reference.max(axis=1) >= threshold
    wrong = (
        disagreement(probabilities[sure], reference[sure]) if sure.any() else "float32 is sure of none of the pictures"
    )
    moved = int((probabilities[sure].argmax(axis=1) != reference[sure].argmax(axis=1)).sum())
    return wrong or (f"{moved} pictures have another class" if moved else "")


def disagreement(
    probabilities: NDArray[np.float32],
    reference: NDArray[np.float32],
    whose: str = "float32",
    at_most: float = MAX_DIFFERENCE,
) -> str:
    """What is wrong with canary probabilities (N, C), in words; empty if nothing is.

    Args:
        probabilities: of a runtime.
        reference: what they should be.
        whose: where the reference comes from.
        at_most: largest difference that is no fault.
    """
    if probabilities.shape != reference.shape:
        return f"the shape is {probabilities.shape}, not {reference.shape}"
    if not np.isfinite(probabilities).all():
        return "some probabilities are not numbers"
    largest = float(np.abs(probabilities - reference).max())
    return f"probabilities differ by up to {largest:.3f} from {whose}" if largest > at_most else ""
