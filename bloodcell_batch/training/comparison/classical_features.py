"""Features of images for classifiers that are not networks. To add a kind, add a row to `FEATURES`."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.errors import UsageError
from bloodcell_batch.model.architectures import EXTRA_HINT

GLCM_PROPERTIES = ("correlation", "homogeneity", "contrast", "energy", "dissimilarity")
_LEVELS = 64
_DISTANCES = (1, 2, 4)
_ANGLES = (0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
_BINS = 16
_PIXELS_SIDE = 28
_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # luminance, ITU-R BT.601

Image = NDArray[np.uint8]


def glcm(image: Image) -> NDArray[np.float32]:
    """Haralick's texture (1973), (15,): five properties of the grey-level co-occurrence matrix at three distances.

    On 64 levels; averaged over four directions, because a cell has no upright.
    """
    try:
        from skimage.feature import graycomatrix, graycoprops  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise UsageError("scikit-image is not installed.", hint=EXTRA_HINT) from error
    grey = (image @ _GREY * (_LEVELS / 256)).astype(np.uint8)
    matrix = graycomatrix(grey, _DISTANCES, _ANGLES, levels=_LEVELS, symmetric=True, normed=True)  # type: ignore[no-untyped-call]
    found = [graycoprops(matrix, name).mean(axis=1) for name in GLCM_PROPERTIES]  # type: ignore[no-untyped-call]
    return np.concatenate(found).astype(np.float32)


def intensity(image: Image) -> NDArray[np.float32]:
    """Per channel the mean, the standard deviation (0-1) and a histogram of 16 bins (shares), (54,)."""
    found: list[NDArray[np.float64]] = []
    for channel in np.moveaxis(image, 2, 0):
        counts = np.bincount(channel.ravel() >> 4, minlength=_BINS)
        found += [np.array([channel.mean(), channel.std()]) / 255, counts / channel.size]
    return np.concatenate(found).astype(np.float32)


def pixels(image: Image) -> NDArray[np.float32]:
    """The picture itself at 28 x 28 pixels, 0-1, (2352,)."""
    from PIL import Image as Picture  # noqa: PLC0415 - the name is taken here

    small = Picture.fromarray(image).resize((_PIXELS_SIDE, _PIXELS_SIDE), Picture.Resampling.BILINEAR)
    flat: NDArray[np.float32] = np.asarray(small, dtype=np.float32).ravel() / np.float32(255)
    return flat


FEATURES: dict[str, Callable[[Image], NDArray[np.float32]]] = {"glcm": glcm, "intensity": intensity, "pixels": pixels}


def features_of(images: NDArray[np.uint8], kinds: Sequence[str]) -> NDArray[np.float32]:
    """Features (N, D) of images uint8 (N, S, S, 3), the kinds one after the other."""
    return np.stack([np.concatenate([FEATURES[kind](image) for kind in kinds]) for image in images])
