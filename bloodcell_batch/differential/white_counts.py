"""Leukocyte counts of an analyser, from a table with a row per slide: how many, in which unit, corrected or not."""

import re
import unicodedata
from pathlib import Path

from bloodcell_batch.differential.absolute import WhiteCount
from bloodcell_batch.errors import InputError
from bloodcell_batch.files.sheets import SheetRow, read_sheet

COLUMNS = ("slide_id", "wbc", "unit", "nrbc_corrected")
_PER_UL = ("/ul", "1/ul", "perul", "cells/ul", "zellen/ul", "/mm3", "1/mm3", "permm3", "cells/mm3", "/cmm")
_BILLIONS_PER_L = (
    *("109/l", "10e9/l", "g/l", "gpt/l", "giga/l", "/nl", "1/nl", "cells/nl"),
    *("103/ul", "10e3/ul", "1000/ul", "k/ul", "thou/ul", "tsd/ul", "103/mm3", "10e3/mm3", "1000/mm3"),
)
_IN_BILLIONS_PER_L = dict.fromkeys(_PER_UL, 0.001) | dict.fromkeys(_BILLIONS_PER_L, 1.0)
_LEAST, _MOST = 0.1, 1000.0  # 10⁹/l; less or more is a count in the other unit
# After three digits, a dot or comma may be the sign of thousands.
_NUMBER = {0.001: re.compile(r"\d+([.,]\d{1,2})?"), 1.0: re.compile(r"\d+([.,]\d+)?")}
_ANSWERS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_HINT = "The columns are slide_id, wbc, unit (/µl or 10⁹/l), and nrbc_corrected (yes or no)."


def load_white_counts(path: Path) -> dict[str, WhiteCount]:
    """The leukocyte counts by slide.

    Raises:
        InputError: unreadable, a column is missing, a slide is there twice, or a value has no unit, is no count, or is
            one that no blood has in its unit; the text names the line.
    """
    found: dict[str, WhiteCount] = {}
    for row in read_sheet(path, COLUMNS).rows:
        where = f"{path}, line {row.line}"
        if row["slide_id"] in found:
            raise InputError(f"{where}: the slide {row['slide_id']!r} is there twice.", hint="Delete one of the two.")
        found[row["slide_id"]] = _count(row, where)
    return found


def _count(row: SheetRow, where: str) -> WhiteCount:
    factor = _IN_BILLIONS_PER_L.get(_plain(row["unit"]))
    if factor is None:
        told = f"is {row['unit']!r}, which is none that is known" if row["unit"].strip() else "is empty"
        raise InputError(f"{where}: the unit {told}.", hint=_HINT)
    text = row["wbc"].strip()
    if not _NUMBER[factor].fullmatch(text):
        hint = f"Write 7400 or 7.4, without a unit and without a sign for thousands. {_HINT}"
        raise InputError(f"{where}: wbc is {row['wbc']!r}, which is not a count.", hint=hint)
    wbc = factor * float(text.replace(",", "."))
    if not _LEAST <= wbc <= _MOST:
        between = f"{_LEAST / factor:,g} to {_MOST / factor:,.0f} {row['unit'].strip()}"
        raise InputError(
            f"{where}: wbc is {text} {row['unit'].strip()}, not in {between}.", hint="Is it of another unit?"
        )
    answer = _ANSWERS.get(row["nrbc_corrected"].strip().casefold())
    if answer is None:
        hint = "Say yes if the analyser had taken nucleated red cells out of its count, no if they are in it."
        raise InputError(f"{where}: nrbc_corrected is {row['nrbc_corrected']!r}, not yes or no.", hint=hint)
    return WhiteCount(wbc, answer)


def _plain(unit: str) -> str:
    """A unit without what people write differently: `10⁹/L`, `x 10^9 / l` and `10*9/L` are `109/l`."""
    text = unicodedata.normalize("NFKC", unit).casefold().replace("\u03bc", "u")
    return re.sub(r"[\s^*]", "", text).lstrip("x\u00d7")
