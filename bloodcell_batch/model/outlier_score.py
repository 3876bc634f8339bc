"""How far a cell's features lie from everything the network was trained on.

Computed in float32 on the host from the features that a backend returns, so that the score does not depend on the
precision in which the network runs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.errors import ModelFileError
from bloodcell_batch.model.file import OUTLIER_PREFIX, ModelFile

_MAX_DIRECTIONS = 128
# Vectors of length up to 2 and 1 in these steps have products in steps of 2**-51 and, whatever part of it is added
# first, sums below 2: all exact in float64.
_FEATURE_STEPS, _DIRECTION_STEPS = 2.0**26, 2.0**25


@dataclass(frozen=True, slots=True)
class OutlierScore:
    """Mahalanobis distance to the nearest class in the whitened principal subspace, plus the energy outside of it.

    Features are scaled to unit length first: the length mostly follows contrast and sharpness, the direction the kind
    of cell. Without it, cell types that the network never saw pass as known ones.

    Shapes, all float32: `mean` (D,), `directions` (K, D) with orthonormal rows, `scale` (K,), `centers` (C, K),
    `residual` (1,).
    """

    mean: NDArray[np.float32]
    directions: NDArray[np.float32]
    scale: NDArray[np.float32]
    centers: NDArray[np.float32]
    residual: NDArray[np.float32]

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores (N,) of features (N, D): about 1 for cells like the training cells, larger for strangers.

        A score does not depend on the other rows, to the last bit: the matrix product, whose order of additions
        depends on the processor and the number and place of the rows, is made of numbers whose sums are exact.
        """
        centred = unit_length(features) - self.mean
        rows = np.round(centred.astype(np.float64) * _FEATURE_STEPS)
        columns = np.round(self.directions.astype(np.float64) * _DIRECTION_STEPS)
        projected = (rows @ columns.T / (_FEATURE_STEPS * _DIRECTION_STEPS)).astype(np.float32)
        energy = np.square(centred).sum(axis=1) - np.square(projected).sum(axis=1)
        outside = np.maximum(energy, 0) / self.residual
        whitened = projected * self.scale
        nearest = np.full(len(features), np.inf, dtype=np.float32)
        for center in self.centers:
            nearest = np.minimum(nearest, np.square(whitened - center).mean(axis=1))
        score: NDArray[np.float32] = 0.5 * nearest + 0.5 * outside
        return score

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """The arrays by name, as they are stored in the model file."""
        return {name: getattr(self, name) for name in self.__slots__}


def unit_length(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features (N, D) scaled to length 1 each; a row of zeros stays zero."""
    length = np.sqrt(np.square(features).sum(axis=1, keepdims=True))
    unit: NDArray[np.float32] = features / np.maximum(length, np.finfo(np.float32).tiny)
    return unit


def load_outlier_score(model: ModelFile) -> OutlierScore:
    """The score stored in a model file.

    Raises:
        ModelFileError: its tensors are missing or don't fit together.
    """
    tensors = model.load_tensors(OUTLIER_PREFIX)
    hint = "The file is damaged or was edited; train or download it again."
    try:
        arrays = {name: tensors[name].astype(np.float32) for name in OutlierScore.__slots__}
    except KeyError as error:
        raise ModelFileError(f"{model.path} lacks the outlier tensor {error}.", hint=hint) from error
    keep, width = (*arrays["directions"].shape, 0, 0)[:2]
    expected: dict[str, tuple[int, ...]] = {
        "directions": (keep, width),
        "mean": (width,),
        "scale": (keep,),
        "centers": (len(model.header.classes), keep),
        "residual": (1,),
    }
    wrong = [name for name, shape in expected.items() if arrays[name].shape != shape]
    if wrong:
        raise ModelFileError(f"The outlier tensors {wrong} of {model.path} have wrong shapes.", hint=hint)
    return OutlierScore(**arrays)


def fit_outlier_score(features: NDArray[np.float32], labels: NDArray[np.int64], classes: int) -> OutlierScore:
    """Fit the score to training features (N, D) with labels (N,) in 0..classes-1, every class present."""
    wide = unit_length(features).astype(np.float64)
    mean = wide.mean(axis=0)
    centred = wide - mean
    means = np.stack([centred[labels == label].mean(axis=0) for label in range(classes)])
    within = centred - means[labels]
    keep = min(_MAX_DIRECTIONS, features.shape[1] // 2, len(features) // 4)
    # Eigenvectors of the D x D covariance: cheaper than a decomposition of all N rows.
    variances, vectors = np.linalg.eigh(within.T @ within / len(within))
    directions = vectors[:, ::-1][:, :keep].T
    scale = 1 / np.sqrt(np.maximum(variances[::-1][:keep], 1e-12))
    outside = np.square(centred).sum(axis=1) - np.square(centred @ directions.T).sum(axis=1)
    return OutlierScore(
        mean=mean.astype(np.float32),
        directions=np.ascontiguousarray(directions, dtype=np.float32),
        scale=scale.astype(np.float32),
        centers=((means @ directions.T) * scale).astype(np.float32),
        residual=np.array([max(outside.mean(), 1e-12)], dtype=np.float32),
    )
