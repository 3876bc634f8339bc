"""The review as a workbook: a picture per row and a list to choose the label from."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import xlsxwriter

from bloodcell_batch.cell_classes import RESEARCH_USE_ONLY
from bloodcell_batch.reports.review.columns import ANSWERS, PREDICTED, Record, is_blind
from bloodcell_batch.reports.thumbnails import Thumbnail

_WIDTHS = {
    "path": 36,
    "slide_id": 16,
    "preclassification": 17,
    "verified_label": 18,
    "verified_by": 18,
    "review_reason": 28,
    "remark": 28,
}
_FOR_THE_IMPORT = ("results_id", "cells", "sha256")
_HIDDEN_IF_BLIND = ("path", "slide_id", *PREDICTED)
_POINTS_PER_PIXEL = 0.75
_SHOWN = 96  # side of a picture in the sheet, in pixels


def write_review_workbook(
    path: Path,
    sheet: str,
    columns: Sequence[str],
    records: Sequence[Record],
    pictures: Mapping[str, Thumbnail],
    labels: Sequence[str],
) -> None:
    """Write one row per cell: the picture, the columns, three of them to fill in, and hidden ones for the import.

    Args:
        path: file to write.
        sheet: name of the sheet.
        columns: keys of the records.
        records: one per cell, all texts.
        pictures: PNG thumbnails, keyed by the record's path.
        labels: what may be chosen as the verified label.
    """
    book = xlsxwriter.Workbook(str(path), {"strings_to_numbers": False, "strings_to_formulas": False})
    text = book.add_format({"num_format": "@", "valign": "vcenter"})
    entry = book.add_format({"num_format": "@", "valign": "vcenter", "bg_color": "#FFF2CC", "border": 1})
    head = book.add_format({"bold": True, "bg_color": "#DCE6F1", "bottom": 1})
    page = book.add_worksheet(sheet)
    page.freeze_panes(1, 1)
    order = ["picture", *(name for name in columns if name not in _FOR_THE_IMPORT), *_FOR_THE_IMPORT]
    hidden = (*_FOR_THE_IMPORT, *(_HIDDEN_IF_BLIND if is_blind(records) else ()))
    for position, name in enumerate(order):
        page.set_column(position, position, _WIDTHS.get(name, 14), text, {"hidden": name in hidden})
        page.write_string(0, position, name, head)
    page.set_default_row((_SHOWN + 6) * _POINTS_PER_PIXEL)
    page.set_row(0, 18)
    for number, record in enumerate(records, start=1):
        for position, name in enumerate(order[1:], start=1):
            page.write_string(number, position, record[name], entry if name in ANSWERS else text)
        found = pictures.get(record["path"])
        if found is not None:
            scale = _SHOWN / max(found.width, found.height)
            size = {"x_scale": scale, "y_scale": scale, "x_offset": 3, "y_offset": 3}
            page.insert_image(number, 0, "cell.png", {"image_data": io.BytesIO(found.data), **size})
    page.autofilter(0, 0, len(records), len(order) - 1)
    choice = order.index("verified_label")
    wrong = {"error_title": "Unknown label", "error_message": f"Choose one of: {', '.join(labels)}"}
    page.data_validation(1, choice, len(records), choice, {"validate": "list", "source": list(labels), **wrong})
    page.set_footer(f"&C{RESEARCH_USE_ONLY}")
    page.set_landscape()
    page.fit_to_pages(1, 0)
    book.close()
