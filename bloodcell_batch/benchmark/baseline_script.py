"""What one would write without this package: hash every file for duplicates, then a DataLoader and eager PyTorch; and,
by itself, the loop of timm's own `inference.py` with timm's transforms.

A program of its own, so that its worker processes start from a small process without threads:
`python -m bloodcell_batch.benchmark.baseline_script MODEL BATCH WORKERS` reads the paths from stdin, one JSON list,
and prints the seconds that each pass took as JSON. The clock starts after the imports.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import torch
from PIL import Image
from timm.data.transforms_factory import create_transform
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.model.file import open_model
from bloodcell_batch.model.network import load_inference_module

TIMM_BATCH = 256


class Images(Dataset[Tensor]):
    """Files as uint8 tensors (side, side, 3), decoded and resized by Pillow."""

    def __init__(self, paths: Sequence[str], side: int) -> None:
        self._paths = paths
        self._side = side

    def __len__(self) -> int:
        """Number of files."""
        return len(self._paths)

    def __getitem__(self, index: int) -> Tensor:
        """One image."""
        with Image.open(self._paths[index]) as image:
            pixels = image.convert("RGB").resize((self._side, self._side), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(pixels))


def unique(paths: Sequence[str]) -> tuple[list[str], int]:
    """The first file of every perceptual hash, and the number of files that can't be read.

    Near duplicates are left in: comparing all pairs would cost more.
    """
    seen: dict[str, str] = {}
    failed = 0
    for path in paths:
        try:
            with Image.open(path) as image:
                seen.setdefault(str(imagehash.phash(image, hash_size=16)), path)
        except (OSError, SyntaxError, ValueError):
            failed += 1
    return list(seen.values()), failed


def classify(model: Path, paths: Sequence[str], batch: int, workers: int) -> list[list[float]]:
    """Probabilities of each file, by the network of the model file in float32."""
    opened = open_model(model)
    module = load_inference_module(opened)
    images = Images(paths, opened.header.preprocessing.input_size)
    found: list[list[float]] = []
    with torch.inference_mode():
        for pixels in DataLoader(images, batch_size=batch, num_workers=workers):
            found += module(pixels)[0].tolist()
    return found


class Transformed(Dataset[Tensor]):
    """Files as normalised float32 tensors (3, side, side), as timm's transforms for evaluation make them."""

    def __init__(self, paths: Sequence[str], preprocessing: Preprocessing) -> None:
        self._paths = paths
        self._transform: Any = create_transform(
            input_size=(3, preprocessing.input_size, preprocessing.input_size),
            interpolation="bilinear",
            mean=preprocessing.mean,
            std=preprocessing.std,
            crop_pct=1.0,
        )

    def __len__(self) -> int:
        """Number of files."""
        return len(self._paths)

    def __getitem__(self, index: int) -> Tensor:
        """One image."""
        with Image.open(self._paths[index]) as image:
            pixels: Tensor = self._transform(image.convert("RGB"))
        return pixels


def classify_as_timm(model: Path, paths: Sequence[str], workers: int) -> list[int]:
    """The top class of each file, as timm's `inference.py` finds it: batches of 256, eager float32."""
    opened = open_model(model)
    network = load_inference_module(opened).network
    found: list[int] = []
    with torch.inference_mode():
        images = Transformed(paths, opened.header.preprocessing)
        for pixels in DataLoader(images, batch_size=TIMM_BATCH, num_workers=workers):
            found += network(pixels).softmax(-1).topk(1)[1][:, 0].tolist()
    return found


def run(model: Path, paths: Sequence[str], batch: int, workers: int) -> dict[str, Any]:
    """Seconds of both passes and of timm's loop on the images that these have kept, how many they are, and how many
    can't be read."""
    start = time.perf_counter()
    kept, failed = unique(paths)
    hashed = time.perf_counter()
    found = classify(model, kept, batch, workers)
    end = time.perf_counter()
    classify_as_timm(model, kept, workers)
    seconds = {"hash_seconds": hashed - start, "classify_seconds": end - hashed}
    seconds["timm_seconds"] = time.perf_counter() - end
    return {**seconds, "classified": len(found), "failed": failed}


if __name__ == "__main__":
    model_path, batch_text, workers_text = sys.argv[1:]
    report = run(Path(model_path), json.load(sys.stdin), int(batch_text), int(workers_text))
    sys.stdout.write(json.dumps(report) + "\n")
