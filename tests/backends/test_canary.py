"""The canary pictures are the same for ever: an int8 network's record holds what became of them."""

import hashlib

import pytest

from bloodcell_batch.backends.canary import canary_images


@pytest.mark.parametrize(
    ("side", "begins"),
    [
        (32, "ac30805ac2ede898"),
        (128, "7e4b7a33c0308cdc"),
    ],
)
def test_every_version_draws_the_same_pictures(side: int, begins: str) -> None:
    pictures = canary_images(side)
    assert pictures.shape == (16, side, side, 3)
    assert hashlib.sha256(pictures.tobytes()).hexdigest()[:16] == begins
