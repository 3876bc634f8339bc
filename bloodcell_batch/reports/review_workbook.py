"""The review as a workbook: a picture per row and a list to choose the label from."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import xlsxwriter

from bloodcell_batch.labels import RESEARCH_USE_ONLY
from bloodcell_batch.reports.thumbnails import Thumbnail

_WIDTHS = {"path": 36, "slide_id": 16, "preclassification": 17, "verified_label": 18, "verified_by": 18, "sha256": 10}
_POINTS_PER_PIXEL = 0.75
_SHOWN = 96  # side of a picture in the sheet, in pixels


def write_review_workbook(
    path: Path,
    sheet: str,
    columns: Sequence[str],
    records: Sequence[Mapping[str, str]],
    pictures: Mapping[str, Thumbnail],
    labels: Sequence[str],
) -> None:
    """Write one row per cell: `columns`, then the picture; the last two columns are for the person to fill in.

    Args:
        path: file to write.
        sheet: name of the sheet.
        columns: keys of the records, in order.
        records: one per cell, all texts.
        pictures: PNG thumbnails, keyed by the record's path.
        labels: what may be chosen as the verified label.
    """
    book = xlsxwriter.Workbook(str(path), {"strings_to_numbers": False, "strings_to_formulas": False})
    text = book.add_format({"num_format": "@", "valign": "vcenter"})
    entry = book.add_format({"num_format": "@", "valign": "vcenter", "bg_color": "#FFF2CC", "border": 1})
    head = book.add_format({"bold": True, "bg_color": "#DCE6F1", "bottom": 1})
    page = book.add_worksheet(sheet)
    page.freeze_panes(1, 0)
    picture_column = len(columns)
    for position, name in enumerate(columns):
        page.set_column(position, position, _WIDTHS.get(name, 12), text)
        page.write_string(0, position, name, head)
    page.set_column(picture_column, picture_column, 15)
    page.write_string(0, picture_column, "picture", head)
    page.set_default_row((_SHOWN + 6) * _POINTS_PER_PIXEL)
    page.set_row(0, 18)
    for number, record in enumerate(records, start=1):
        for position, name in enumerate(columns):
            page.write_string(number, position, record[name], entry if position >= picture_column - 2 else text)
        found = pictures.get(record["path"])
        if found is not None:
            scale = _SHOWN / max(found.width, found.height)
            place = {
                "image_data": io.BytesIO(found.data),
                "x_scale": scale,
                "y_scale": scale,
                "x_offset": 3,
                "y_offset": 3,
            }
            page.insert_image(number, picture_column, "cell.png", place)
    page.autofilter(0, 0, len(records), picture_column - 1)
    choice = columns.index("verified_label")
    wrong = {"error_title": "Unknown label", "error_message": f"Choose one of: {', '.join(labels)}"}
    page.data_validation(1, choice, len(records), choice, {"validate": "list", "source": list(labels), **wrong})
    page.set_footer(f"&C{RESEARCH_USE_ONLY}")
    page.set_landscape()
    page.fit_to_pages(1, 0)
    book.close()
