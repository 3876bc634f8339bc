"""The review page: one HTML file that works without a server and gives a CSV file to import."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bloodcell_batch.files.spreadsheets import EXCEL_MARK, neutralised
from bloodcell_batch.reports.review.columns import ANSWERS, UNCLASSIFIED, Record, columns_of, has_readers, is_blind
from bloodcell_batch.reports.review.labels import review_labels
from bloodcell_batch.reports.templates import render
from bloodcell_batch.results.finished import Results, in_words

_STORE_DIGITS = 16


def review_page(
    records: Sequence[Record], settled: Sequence[Record], images: Mapping[str, str], results: Results
) -> str:
    """The text of the page.

    Args:
        records: the cells in the order in which they are shown, at least one.
        settled: cells with the same columns that are not shown and are in the CSV file.
        images: data: URIs by path.
        results: what the cells are of.
    """
    blind, columns = is_blind(records), columns_of(records)
    return render(
        "review.html.j2",
        data={
            "store": _store_key(records, columns),
            "file": f"{'settled' if has_readers(records) else 'review'}-{results.results_id}",
            "columns": columns,
            "labels": [asdict(label) for label in review_labels(results.classes)],
            "mark": EXCEL_MARK,
            "cells": [_cell(record, columns, images.get(record["path"], ""), blind=blind) for record in records],
            "settled": [[neutralised(record[name]) for name in columns] for record in settled],
        },
        blind=blind,
        settling=has_readers(records),
        results_id=results.results_id,
        model=results.record.model,
    )


def _cell(record: Record, columns: Sequence[str], image: str, *, blind: bool) -> dict[str, Any]:
    offered = [record[name] for name in ("label_1", "label_2") if name in record]
    return {
        "image": image,
        # Names of files and slides may tell, too: people sort cells into folders.
        "facts": [*([] if blind else _facts(record)), *_readings(record)],
        # Where people have spoken, their labels are marked and none is taken by a key.
        "suggestion": "" if offered else record["suggestion"],
        "offered": offered,
        "label": record["verified_label"],
        "by": record["verified_by"],
        "remark": record["remark"],
        # What goes into the CSV file as it is; the page adds what the person says.
        "csv": [neutralised(record[name]) for name in columns if name not in ANSWERS],
    }


def _facts(record: Record) -> list[tuple[str, str]]:
    said = f"{record['preclassification']}, {record['confidence']}"
    if record["preclassification"] == UNCLASSIFIED:
        said = f"unclassified (most probable: {record['suggestion']}, {record['confidence']})"
    return [
        ("Slide", record["slide_id"]),
        ("Path", record["path"]),
        ("Preclassification", said),
        ("Why it is here", in_words(record["review_reason"]) or "chosen by the exporter"),
    ]


def _readings(record: Record) -> list[tuple[str, str]]:
    """What each of two readers said, where this settles it."""
    return [
        (
            record[f"reader_{number}"],
            record[f"label_{number}"].replace("_", " ")
            + (f" ({record[f'remark_{number}']})" if record[f"remark_{number}"] else ""),
        )
        for number in (1, 2)
        if f"reader_{number}" in record
    ]


def _store_key(records: Sequence[Record], columns: Sequence[str]) -> str:
    """Where the browser keeps what was done: another place for other cells, or the same in another order."""
    shown = "\n".join("\t".join(record[name] for name in columns if name not in ANSWERS) for record in records)
    digest = hashlib.sha256(shown.encode("utf-8", "surrogateescape")).hexdigest()
    return f"bloodcell-batch review {records[0]['results_id']} {digest[:_STORE_DIGITS]}"
