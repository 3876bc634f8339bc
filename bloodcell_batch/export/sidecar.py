"""What is written beside every export: enough to use it right without the model file."""

import hashlib
import json
from collections.abc import Mapping

from bloodcell_batch import __version__
from bloodcell_batch.cell_classes import RESEARCH_USE_ONLY
from bloodcell_batch.export.parity import Parity
from bloodcell_batch.model.file import ModelFile


def export_record(
    model: ModelFile, data: bytes, precision: str, parity: Parity, more: Mapping[str, object] | None = None
) -> str:
    """The record of an export whose main file holds `data`, as indented JSON; `more` is what only this kind has."""
    header = model.header
    document = {
        "format_version": 1,
        "bloodcell_batch": __version__,
        "notice": RESEARCH_USE_ONLY,
        "sha256": hashlib.sha256(data).hexdigest(),
        "model": {"name": header.name, "sha256": model.sha256, "architecture": header.architecture},
        "precision": precision,
        "input": {"name": "images", "dtype": "uint8", "shape": ["batch", *_image_shape(model)], "colours": "RGB"},
        "outputs": [
            {"name": "probabilities", "dtype": "float32", "shape": ["batch", len(header.classes)]},
            {"name": "features", "dtype": "float32", "shape": ["batch", "features"]},
        ],
        "classes": [entry.name for entry in header.classes],
        "preprocessing": header.preprocessing.model_dump(mode="json"),
        "preprocessing_inside": "normalisation, temperature and softmax; the crop and the resize are not",
        "review_threshold": header.review_threshold,
        "parity": parity.as_dict(),
        "licence": header.licence,
        "attribution": header.attribution,
        **(more or {}),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _image_shape(model: ModelFile) -> list[int]:
    side = model.header.preprocessing.input_size
    return [side, side, 3]
