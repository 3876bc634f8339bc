"""Reading TOML files that may come from elsewhere."""

import tomllib
from pathlib import Path
from typing import Any

_MAX_BYTES = 256_000
_MAX_DOTS = 100  # a key of n dotted parts costs the parser memory for n * n of them


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        ValueError: it is not TOML, or larger or deeper than any file of options.
        OSError: it can't be read.
    """
    with path.open("rb") as handle:
        data = handle.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ValueError(f"it has more than {_MAX_BYTES:,} bytes")
    if any(line.count(b".") > _MAX_DOTS for line in data.splitlines()):
        raise ValueError(f"it has a line with more than {_MAX_DOTS} dots")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
