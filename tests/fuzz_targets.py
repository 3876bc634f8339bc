"""What reads files from elsewhere, and sound files for it, as targets of fuzzing: name -> files, mutation, reader."""

import io
import json
import random
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from mutations import mutate, mutate_png, mutate_safetensors, mutate_zip
from PIL import Image

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.config.evaluate import EvaluateConfig
from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.config.resolve import resolve
from bloodcell_batch.config.results import ReviewImportConfig, VerifyConfig
from bloodcell_batch.differential.reference_ranges import load_reference_ranges
from bloodcell_batch.differential.white_counts import load_white_counts
from bloodcell_batch.errors import BloodcellBatchError
from bloodcell_batch.images.damage import UndecodableImageError
from bloodcell_batch.images.decoding import decode_rgb
from bloodcell_batch.images.guards import DecodeLimits
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.integrity.audit_log import append, check_chain
from bloodcell_batch.model.file import ModelHeader, OutlierRule, class_entries, open_model, save_model
from bloodcell_batch.model.outlier_score import load_outlier_score
from bloodcell_batch.progress import NullObserver
from bloodcell_batch.reports.concordance.manual_counts import load_manual_counts
from bloodcell_batch.reports.review.importing import import_review
from bloodcell_batch.results.finished import load_results
from bloodcell_batch.slides.manifest import ManifestRule
from bloodcell_batch.training.data.class_names import ClassNames
from bloodcell_batch.training.data.sources import open_source
from bloodcell_batch.verification.verify import verify

EXPECTED = (BloodcellBatchError, UndecodableImageError)
"""What a reader may raise, whatever the file holds."""

LIMITS = DecodeLimits(max_pixels=4_000_000, max_bytes=50_000_000)

_SIDE = 48

Mutation = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Target:
    """`read` gets the damaged bytes and an empty folder to put them in; `weight` is its share of the cases."""

    name: str
    seeds: tuple[bytes, ...]
    mutations: tuple[Mutation, ...]
    read: Callable[[bytes, Path], object]
    weight: int = 1

    def case(self, rng: random.Random) -> bytes:
        """A damaged file."""
        return rng.choice(self.mutations)(rng.choice(self.seeds), rng)


def text_mutation(data: bytes, rng: random.Random) -> bytes:
    """Of a file whose bytes are text."""
    return mutate(data, rng, text=True)


def image_targets(pictures: Sequence[Image.Image]) -> list[Target]:
    """One target per image format, from small pictures."""

    def read(data: bytes, _folder: Path) -> object:
        return decode_rgb(data, LIMITS)

    def saved(kind: str, *variants: tuple[str, Mapping[str, Any]]) -> tuple[bytes, ...]:
        files = []
        for picture in pictures:
            for mode, options in variants:
                stream = io.BytesIO()
                picture.convert(mode).save(stream, kind, **options)
                files.append(stream.getvalue())
        return tuple(files)

    exif = Image.Exif()
    exif[0x0112] = 6
    rotated = {"exif": exif.tobytes()}
    jpeg = saved("JPEG", ("RGB", {}), ("RGB", {"progressive": True}), ("L", {}), ("CMYK", {}), ("RGB", rotated))
    png = saved("PNG", ("RGB", {}), ("RGBA", {}), ("P", {}), ("1", {}), ("I;16", {}), ("RGB", rotated))
    packed = tuple(
        ("RGB", {"compression": name}) for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
    )
    tiff = saved("TIFF", *packed, ("1", {"compression": "group4"}), ("RGB", rotated), ("P", {}), ("I;16", {}))
    bmp = saved("BMP", ("RGB", {}), ("P", {}), ("1", {}))
    webp = saved("WEBP", ("RGB", {}), ("RGBA", {"lossless": True}), ("RGB", rotated))
    return [
        Target("jpeg", jpeg, (mutate,), read, 30),
        Target("png", png, (mutate, mutate_png, mutate_png), read, 25),
        Target("tiff", tiff, (mutate,), read, 30),
        Target("bmp", bmp, (mutate,), read, 10),
        Target("webp", webp, (mutate,), read, 15),
    ]


def model_target(folder: Path) -> Target:
    """A model file with few tensors."""
    header = ModelHeader(
        name="small",
        architecture="test_efficientnet",
        classes=class_entries(),
        preprocessing=Preprocessing(input_size=32),
        temperature=1.0,
        review_threshold=0.5,
        outlier=OutlierRule(threshold=2.0, description="none"),
        training={"recipe": {"seed": 1}},
        metrics={"accuracy": 0.5},
        licence="CC0",
        attribution="nobody",
    )
    ones = {"mean": (4,), "directions": (2, 4), "scale": (2,), "centers": (8, 2), "residual": (1,)}
    tensors = {f"outlier.{name}": np.ones(shape, np.float32) for name, shape in ones.items()}
    path = save_model(folder / "seed.safetensors", header, tensors).path

    def read(data: bytes, where: Path) -> None:
        (where / "m.safetensors").write_bytes(data)
        load_outlier_score(open_model(where / "m.safetensors"))

    return Target("model file", (path.read_bytes(),), (mutate, mutate_safetensors), read, 10)


def list_targets(picture: bytes) -> list[Target]:
    """Manifests, MedMNIST files, recipes, options, ranges and manual counts."""
    slides = b"path,slide_id\ns1/a.jpg,S-1\ns1/b.jpg,S-2\n"
    labels = b"path,label,split\na.jpg,neutrophil,train\nb.jpg,ig,test\n"
    table = io.BytesIO()
    pq.write_table(pa.table({"path": ["a.jpg", "b.jpg"], "label": ["ig", "platelet"], "split": ["train", None]}), table)
    arrays = io.BytesIO()
    pixels = np.zeros((8, 28, 28, 3), np.uint8)
    parts: dict[str, Any] = {f"{part}_images": pixels for part in ("train", "val", "test")}
    parts |= {f"{part}_labels": np.arange(8, dtype=np.uint8)[:, None] for part in ("train", "val", "test")}
    np.savez(arrays, **parts)
    recipe = TrainConfig().model_dump_json(exclude_none=True)
    toml = b"\n".join(
        f"{key} = {json.dumps(value)}".encode()
        for key, value in json.loads(recipe).items()
        if not isinstance(value, dict)
    )
    toml += b'\n[augmentation]\nblur = 0.1\n[class_map]\nNGS = "neutrophil"\n'
    classify = b'batch_size = 8\nmin_confidence = 0.5\nslide_by = "regex"\nslide_regex = "(a+)/"\nmodel = "m"\n'
    ranges = b'name = "ours"\n[neutrophil]\nlow = 40.0\nhigh = 75.0\n'
    white = "slide_id;wbc;unit;nrbc_corrected\nS1;7,4;10⁹/l;no\nS2;8100;/µl;yes\n".encode()
    manual = b"slide_id,neutrophil,lymphocyte_percent\nS1,60,40\nS2;50;50\n"

    def put(name: str, read: Callable[[Path], object]) -> Callable[[bytes, Path], object]:
        def reader(data: bytes, where: Path) -> object:
            (where / name).write_bytes(data)
            return read(where / name)

        return reader

    def rule(path: Path) -> str:
        return ManifestRule(path)("s1/a.jpg")

    def source(path: Path) -> None:
        for name in ("a.jpg", "b.jpg"):
            (path.parent / name).write_bytes(picture)
        found = open_source(path, ClassNames(DEFAULT_CLASSES), NullObserver())
        for entry in found.entries[:3]:
            found.read(entry.file)

    def options(path: Path) -> None:
        for kind in (TrainConfig, ClassifyConfig, EvaluateConfig):
            try:
                resolve(kind, {}, path)
            except BloodcellBatchError:
                continue

    binary = (mutate, mutate_zip, mutate_zip)
    return [
        Target("slide manifest", (slides,), (text_mutation,), put("m.csv", rule), 8),
        Target("label manifest", (labels,), (text_mutation,), put("m.csv", source), 5),
        Target("label manifest, parquet", (table.getvalue(),), (mutate,), put("m.parquet", source), 8),
        Target("MedMNIST", (arrays.getvalue(),), binary, put("m.npz", source), 5),
        Target("options", (toml, classify), (text_mutation,), put("c.toml", options), 12),
        Target(
            "reference ranges",
            (ranges,),
            (text_mutation,),
            put("r.toml", lambda path: load_reference_ranges(path, DEFAULT_CLASSES)),
            3,
        ),
        Target(
            "manual counts",
            (manual,),
            (text_mutation,),
            put("m.csv", lambda path: load_manual_counts(path, DEFAULT_CLASSES.leukocytes)),
            3,
        ),
        Target("leukocyte counts", (white,), (text_mutation,), put("w.csv", load_white_counts), 3),
    ]


def result_targets(tables: Sequence[Path], reviews: Sequence[Path], model: Path) -> list[Target]:
    """Result tables with their run record, and reviews of them. The files beside each table belong to it."""
    targets: list[Target] = []

    def check(table: Path) -> None:
        try:
            results = load_results(table)
            _ = results.slides, results.by_slide
        except BloodcellBatchError:
            pass
        verify(table, VerifyConfig(model=model), NullObserver())

    for table in tables:
        inner: tuple[Mutation, ...] = {".xlsx": (mutate, mutate_zip, mutate_zip), ".csv": (text_mutation,)}.get(
            table.suffix, (mutate,)
        )
        beside = [path for path in table.parent.iterdir() if path.stem.split(".")[0] == table.stem.split(".")[0]]
        for damaged in (table, table.with_name(f"{table.stem}.run.json")):

            def read(
                data: bytes, where: Path, table: Path = table, beside: list[Path] = beside, damaged: Path = damaged
            ) -> None:
                for path in beside:
                    shutil.copy(path, where / path.name)
                (where / damaged.name).write_bytes(data)
                check(where / table.name)

            record = damaged.suffix == ".json"
            weight = 1 if table.suffix == ".xlsx" else 3
            kinds = (text_mutation,) if record else inner
            targets.append(Target(f"results {damaged.name}", (damaged.read_bytes(),), kinds, read, weight))
    for review in reviews:

        def read_review(data: bytes, where: Path, review: Path = review) -> None:
            (where / review.name).write_bytes(data)
            import_review(
                tables[0], where / review.name, where / "verified.csv", ReviewImportConfig(partial=True, by="P")
            )

        kinds = (mutate_zip, mutate) if zipfile.is_zipfile(review) else (text_mutation,)
        targets.append(Target(f"review {review.suffix}", (review.read_bytes(),), kinds, read_review, 2))
    return targets


def audit_target(folder: Path) -> Target:
    """The audit log."""
    log = folder / "log"
    for number in range(4):
        append(log, {"number": number, "outputs": {"r": "0" * 64}})

    def read(data: bytes, where: Path) -> None:
        (where / "log").write_bytes(data)
        check_chain(where / "log")
        append(where / "log", {})

    return Target("audit log", (log.read_bytes(),), (text_mutation,), read, 3)


def make_seeds(folder: Path) -> None:
    """Sound result files and reviews, written once and read by every child."""
    from finished_run import Run, make_run  # noqa: PLC0415 - needs seconds that a fuzzer's children don't have
    from program_commands import app  # noqa: PLC0415
    from typer.testing import CliRunner  # noqa: PLC0415

    run = make_run(folder / "run")
    small = run.outcomes[:30]
    for suffix in (".parquet", ".csv", ".xlsx"):
        Run(run.table, run.images, small).copy(folder / f"{suffix[1:]}{suffix}")
    for suffix in (".csv", ".xlsx"):
        out = folder / f"review{suffix}"
        made = CliRunner().invoke(
            app, ["review", "export", str(folder / "parquet.parquet"), "--out", str(out), "--cells", "all", "-q"]
        )
        if made.exit_code:
            raise SystemExit(made.output)


def make_targets(seeds: Path) -> list[Target]:
    """All targets; `seeds` holds the result files."""
    folder = Path(tempfile.mkdtemp(dir=seeds))
    examples = sorted((Path(__file__).parent.parent / "examples" / "slides").rglob("*.jpg"))[:3]
    pictures = [Image.open(path).convert("RGB").resize((_SIDE, _SIDE + i)) for i, path in enumerate(examples)]
    model = model_target(folder)
    (folder / "model.safetensors").write_bytes(model.seeds[0])
    tables = [seeds / f"{name}.{name}" for name in ("parquet", "csv", "xlsx")]
    reviews = [seeds / "review.csv", seeds / "review.xlsx"]
    images = image_targets(pictures)
    results = result_targets(tables, reviews, folder / "model.safetensors")
    return [*images, model, *list_targets(images[0].seeds[0]), *results, audit_target(folder)]
