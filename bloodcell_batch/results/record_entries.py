"""What the entries of a run record hold; the record itself is `run_record.RunRecord`.

A record is read from a file that anybody may have changed: types are not converted, and an entry that a newer version
has besides is kept.
"""

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bloodcell_batch.cell_classes import DEFAULT_CLASSES, CellClass, ClassList, Role
from bloodcell_batch.fields.vote import SlideView


class Entry(BaseModel):
    """A JSON object in a run record."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)


class ShardEntry(Entry):
    """Which part of a run this is."""

    index: int = Field(description="Number of the shard, from 0")
    count: int = Field(description="Number of shards")
    listing_sha256: str = Field(description="SHA-256 of all files that were found, whatever their shard, in hex")


class ReportedClassEntry(Entry):
    """A class that the run reports."""

    name: str = Field(description="Name in columns and labels")
    role: Literal["leukocyte", "nrbc", "platelet", "outside"] = Field(
        description="How it enters the differential: in the percentages, per 100 of these, or only counted"
    )
    parent: str = Field("", description="Class that it is a kind of")


def reported_classes(classes: ClassList) -> list[ReportedClassEntry]:
    """The entry `model.classes`."""
    return [ReportedClassEntry(name=one.name, role=one.role.value, parent=one.parent) for one in classes.classes]


class ModelEntry(Entry):
    """The model that made the results."""

    name: str = Field(description="Name in the model file")
    sha256: str = Field(description="SHA-256 of the model file, in hex: its identity")
    architecture: str = Field(description="Name of the network")
    classes: list[ReportedClassEntry] = Field(
        reported_classes(DEFAULT_CLASSES),
        description="Classes that the run reports, in the order of their columns; the eight where it doesn't say",
    )
    doubt: str = Field("", description="Why classify refuses the model without --force; empty for other models")

    @model_validator(mode="after")
    def _classes_make_a_list(self) -> Self:
        self.class_list  # noqa: B018 - raises where they don't
        return self

    @property
    def class_list(self) -> ClassList:
        """`classes`, with what follows from them."""
        return ClassList(tuple(CellClass(one.name, Role(one.role), one.parent) for one in self.classes))


class SlideShowsEntry(Entry):
    """What the images of one slide are taken for."""

    images: Literal["cells", "fields"] = Field(description="Single cells, or whole fields of view")
    red_cell_pixels: float | None = Field(
        None,
        description="Diameter of a red cell in most of those looked at, pixels",
    )
    longest: int = Field(
        0, description="Of cells: longest side, pixels, up to which an image is one without being looked at"
    )
    single: int = Field(description="Images that were looked at and show a single cell")
    field: int = Field(description="Images that were looked at and show a field")
    unclear: int = Field(description="Images that were looked at and could be either")
    looked_at: float | None = Field(
        None, description="Of cells: pixels of a red cell at which the finder looks at those that may not show one cell"
    )

    @property
    def view(self) -> SlideView:
        """The entry as a run knows it."""
        return SlideView(**self.model_dump(include=set(SlideShowsEntry.model_fields)))


class BackendEntry(Entry):
    """What ran the model."""

    name: str = Field(description="Name on the command line; several, joined by commas, where shards differ")
    description: str = Field(description="Runtime, device and precision")
    skipped: list[str] = Field([], description="Why each better backend was not used")


def joined(backends: Sequence[BackendEntry]) -> BackendEntry:
    """What ran the parts of one run, of which there is at least one: every name and description once."""
    return BackendEntry(
        name=", ".join(sorted({one.name for one in backends})),
        description=", ".join(sorted({one.description for one in backends})),
        skipped=backends[0].skipped,
    )


class ThroughputEntry(Entry):
    """The speed of the run."""

    images_per_second: float | None = Field(
        description="Images that were not ignored, per second of the whole run; null if it took no time"
    )


class FinderEntry(Entry):
    """What looks for cells, in images that may be whole fields."""

    name: str = Field(description="Name in the model file")
    sha256: str = Field(description="SHA-256 of the model file, in hex: its identity")
    red_cell_pixels: float | None = Field(None, description="Diameter of a red cell in pixels, for --red-cell-pixels")
    backend: BackendEntry | None = Field(None, description="What ran it")


class FailureEntry(Entry):
    """A file that could not be decoded."""

    path: str = Field(description="Path in the image table")
    reason: str = Field(description="Reason in the image table")
    detail: str = Field("", description="What the decoder said")


class MatchEntry(Entry):
    """The same picture in two slides."""

    paths: list[str] = Field(min_length=2, max_length=2, description="Paths in the image table")
    distance: int = Field(description="Hamming distance of the perceptual hashes, in bits of 256")


class IgnoredEntry(Entry):
    """A file that was left out because it is not an image by its name."""

    path: str = Field(description="Path relative to the scanned folder")
    why: str = Field(description="Why it was left out")


class ClassAgreementEntry(Entry):
    """Cells of one class."""

    preclassified: int = Field(description="Cells that the program gave this class")
    verified: int = Field(description="Cells that the person gave this class")
    both: int = Field(description="Cells that both gave this class")


class AgreementEntry(Entry):
    """Agreement of program and person over the cells that both gave a class."""

    cells: int = Field(description="Number of these cells")
    agreed: int = Field(description="Cells with the same class")
    agreed_limits: list[float] | None = Field(
        None, description="Exact 95 % limits of the share that agrees, 0 to 1: lower, upper"
    )
    kappa: float | None = Field(description="Cohen's kappa, -1 to 1; null where chance alone would agree on everything")
    kappa_limits: list[float] | None = Field(None, description="95 % limits of kappa: lower, upper")
    per_class: dict[str, ClassAgreementEntry] = Field(description="By class")


class ReadersEntry(Entry):
    """Agreement of two people, before what they disagreed on was settled."""

    readers: list[str] = Field(min_length=2, max_length=2, description="Who they are")
    cells: int = Field(description="Cells that both named")
    agreed: int = Field(description="Cells with the same label")
    agreed_limits: list[float] | None = Field(
        description="Exact 95 % limits of the share that agrees, 0 to 1: lower, upper"
    )
    kappa: float | None = Field(description="Cohen's kappa, -1 to 1; null where chance alone would agree on everything")
    kappa_limits: list[float] | None = Field(description="95 % limits of kappa: lower, upper")


class ChangeEntry(Entry):
    """A cell whose label a review changed."""

    path: str = Field(description="Path in the image table")
    preclassification: str | None = Field(description="Label of the program; null if unclassified")
    before: str | None = Field(description="Label before this review; null if unclassified")
    verified_label: str = Field(description="Label of the person")
    verified_by: str = Field(description="Who gave it")


class ReviewEntry(Entry):
    """A review that was imported. Without names and paths once the results have pseudonyms."""

    imported: str = Field(description="When, UTC", json_schema_extra={"format": "date-time"})
    program: str = Field(description="Version of the program that imported it")
    version: int = Field(description="Number of this review, from 1")
    results_id: str = Field("", description="Identity of the results that were reviewed")
    scope: str = Field(
        description="Cells that were exported: flagged, unclassified, all, or a random sample with its size and seed"
    )
    blind: bool = Field(False, description="Whether the reader was not shown what the program said")
    cells: int = Field(description="Cells that have a verified label in it")
    cells_left_open: int = Field(description="Exported cells without one")
    verified_by: list[str] = Field(description="Who verified, sorted")
    agreement: AgreementEntry = Field(description="Agreement with the program")
    between_readers: ReadersEntry | None = Field(
        None, description="Agreement of two people, where this settles what they disagreed on"
    )
    changes: list[ChangeEntry] = Field([], description="Cells whose label it changed")
    file: str = Field("", description="Name of the review file")
    file_sha256: str = Field("", description="SHA-256 of the review file, in hex")
    results: str = Field("", description="Name of the image table that was reviewed")


class EmbeddingsEntry(Entry):
    """The file of `classify --embeddings`."""

    file: str = Field(description="Its name, in the folder of the tables")
    sha256: str = Field(description="SHA-256 of the file, in hex")
    cells: int = Field(description="Rows: cells that the network saw")
    width: int = Field(description="Numbers of each cell")


class MergedShardEntry(Entry):
    """A shard whose results were merged: what was its own."""

    results: str = Field(description="Its image table, as given to `merge`")
    shard: ShardEntry | None = Field(description="Which part it was")
    input: str = Field(description="Folder or URL that it classified")
    started: str = Field(description="Start of its run, UTC", json_schema_extra={"format": "date-time"})
    finished: str = Field(description="End of its run, UTC", json_schema_extra={"format": "date-time"})
    backend: BackendEntry = Field(description="What ran the model there")
    counts: dict[str, int] = Field(description="Its image files by status")
    embeddings: EmbeddingsEntry | None = Field(None, description="Its file of embeddings, which is not merged")
    timings_seconds: dict[str, float] = Field(description="Its duration by part, and in total; seconds")
    versions: dict[str, str] = Field(description="Versions there")
