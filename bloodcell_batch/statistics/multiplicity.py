"""What many tests at once do to the chance of a false alarm."""

import numpy as np
from numpy.typing import NDArray


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """P values of shape (tests,), corrected by Holm's step-down procedure (Scand. J. Stat. 6:65, 1979).

    Calling those below 0.05 significant finds anything where there is nothing in at most 5 % of all such families of
    tests, whatever depends on what.
    """
    if p.size == 0:
        return p.copy()
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected
