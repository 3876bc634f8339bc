"""Agreement in words, for the terminal."""

from bloodcell_batch.statistics.agreement import Agreement

_LONG_NAME = 16


def share_text(found: Agreement) -> str:
    """`90 of 100, 90.0 % (95 % limits 82.4 to 95.1)`; only the counts without cells."""
    counts = f"{found.agreed} of {found.cells}"
    if found.limits is None:
        return counts
    low, high = found.limits
    percent = 100 * found.agreed / found.cells
    return f"{counts}, {percent:.1f} % (95 % limits {100 * low:.1f} to {100 * high:.1f})"


def kappa_text(found: Agreement) -> str:
    """`0.840 (95 % limits 0.700 to 0.910)`; a dash where it is undefined."""
    if found.kappa is None or found.kappa_limits is None:
        return "-"
    low, high = found.kappa_limits
    return f"{found.kappa:.3f} (95 % limits {low:.3f} to {high:.3f})"


def class_lines(found: Agreement, first: str, second: str) -> list[str]:
    """A table: the cells of each class that the first, the second and both called so, and the share of what either
    said of the class on which both agree, twice `both` of `first` and `second`. Long names would make it too wide for
    a terminal: `first` and `second` stand for them."""
    if max(len(first), len(second)) > _LONG_NAME:
        first, second = "first", "second"
    width = max([14, *(len(name) + 2 for name in found.per_class)])
    one, other = (max(9, len(name) + 2) for name in (first, second))
    lines = [f"{'class':<{width}}{first:>{one}}{second:>{other}}{'both':>7}{'agreement':>12}"]
    for name, row in found.per_class.items():
        share = 200 * row.both / (row.first + row.second)
        lines.append(f"{name:<{width}}{row.first:>{one}}{row.second:>{other}}{row.both:>7}{share:>10.1f} %")
    return lines
