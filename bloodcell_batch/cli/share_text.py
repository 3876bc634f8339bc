"""A percentage and its limits as text: neither is shown without the other."""

from bloodcell_batch.differential.not_excluded import at_most
from bloodcell_batch.progress import ClassShare

_WHOLE = 10  # percent: from here on, whole numbers say enough


def share_text(share: ClassShare) -> str:
    """A percentage with its limits, or only these where it is withheld; empty where nothing was counted."""
    if share.percent_low is None or share.percent_high is None:
        return ""
    if share.percent is not None and share.count == 0:
        return f"none seen ({at_most(share.percent_high, '%')})"
    limits = f"{share.percent_low:.1f}-{share.percent_high:.1f}"
    return f"withheld ({limits}%)" if share.percent is None else f"{share.percent:.1f}% ({limits})"


def number_with_limits(value: float | None, low: float | None, high: float | None) -> str:
    """A cell of the slide table: the number, and its limits in a second line; whole numbers, to fit 80 columns."""
    shown = "-" if value is None else f"{value:.1f}"
    if low is None or high is None:
        return shown
    if value == 0:
        return f"{shown}\n≤{high:.{1 if high < _WHOLE else 0}f}"
    return f"{shown}\n{low:.0f}-{high:.0f}"
