"""The int8 network of a model: where it is, and what is checked before it classifies a single cell.

`export-openvino --precision int8` makes it; that of the packaged model is in the package, too. Its record, a JSON
document beside it, names the model, the digests of both files, what the accuracy check found, and what the network said
of the canary pictures. The last is compared before it is used: processors without VNNI instructions add pairs of int8
products in 16 bits, which those of weights of 8 bits don't always fit, so that what was measured on one machine would
not hold on another. Those of 7 bits do.
"""

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bloodcell_batch.backends.canary import MAX_DIFFERENCE, canary_images, disagreement
from bloodcell_batch.backends.contract import Outputs
from bloodcell_batch.backends.openvino.cache import cache_folder
from bloodcell_batch.backends.openvino.networks import Network
from bloodcell_batch.backends.openvino.packaged import recall_packaged
from bloodcell_batch.config.problems import first_problem
from bloodcell_batch.errors import BackendError
from bloodcell_batch.model.file import DEFAULT_MODEL, ModelFile
from bloodcell_batch.progress import counted
from bloodcell_batch.statistics.binomial import clopper_pearson

HOW_TO_MAKE = "bloodcell-batch export-openvino --precision int8 --images FOLDER makes one"
_AGAIN = "Make it again on this machine: export-openvino --precision int8 --images FOLDER --overwrite."

_THERE = "those of the machine that measured the accuracy"
_LENGTH = struct.Struct("<Q")  # of the record, before it
_ALL_BITS = 8
_SAME_SUMS = 0.005  # weights of 8 bits: exactly 0 on all processors with VNNI that were tried; 0.04 and more without


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class AgainstLabels(_Document):
    """Numbers of images: `right` is the top class, whatever the thresholds say; `accepted` are the cells that get a
    label, rightly or wrongly."""

    right: int
    accepted_right: int
    accepted_wrong: int


class Int8Check(_Document):
    """What the comparison with float32 found, as numbers of images; `float32` and `int8` need labels."""

    images: int = Field(gt=0, description="compared; the model was trained on none of them")
    source: str
    calibration_images: int
    same_class: int = Field(description="equal top class")
    same_decision: int = Field(description="equal label, or equal reason to leave the cell unclassified")
    other_label: int = Field(description="both give a label, but not the same")
    top_class_lost: int = Field(description="images whose top class became wrong; without labels: became another")
    review_float32: int = Field(description="left unclassified, for a person to look at")
    review_int8: int
    max_difference: float = Field(description="of a probability")
    float32: AgainstLabels | None = None
    int8: AgainstLabels | None = None

    @property
    def loss(self) -> float:
        """What int8 costs, as a share of the images: the largest of the losses that the images can show.

        With labels, each net: top classes that are right, cells that are rightly labelled, and cells that are not
        wrongly labelled. Without labels: top classes that differ, which bounds the first, and the change of the
        number of cells that get a label.
        """
        if self.float32 and self.int8:
            costs = [
                self.float32.right - self.int8.right,
                self.float32.accepted_right - self.int8.accepted_right,
                self.int8.accepted_wrong - self.float32.accepted_wrong,
            ]
        else:
            costs = [self.images - self.same_class, abs(self.review_int8 - self.review_float32)]
        return max(0, *costs) / self.images

    @property
    def lost_at_most(self) -> float:
        """Upper 95 % limit of the share of images whose top class is lost (Clopper-Pearson, two-sided)."""
        return clopper_pearson(self.top_class_lost, self.images)[1]

    def as_text(self) -> str:
        """The price of int8 in a few words."""
        if self.float32 and self.int8:
            found = f"accuracy {self.int8.right / self.images:.2%}, float32 {self.float32.right / self.images:.2%}"
        else:
            found = f"same class as float32 on {self.same_class / self.images:.2%}"
        return f"{found}, on {counted(self.images, 'image')}"

    def as_lines(self) -> list[str]:
        """Everything that was found, for the screen."""
        share, review = self.same_class / self.images, self.review_int8 / self.images
        lines = [
            f"{self.as_text()} ({self.source}) that the model was not trained on",
            f"same class on {share:.2%}, at most {self.lost_at_most:.2%} lose their class (95 % limit)",
            f"probabilities differ by at most {self.max_difference:.2g}",
            f"left for review: {review:.2%}, float32 {self.review_float32 / self.images:.2%}",
            f"same decision on {self.same_decision / self.images:.2%}, another label on {self.other_label:,} images",
        ]
        if self.float32 and self.int8:
            lines.append(
                f"rightly labelled: {self.int8.accepted_right:,}, float32 {self.float32.accepted_right:,}; "
                f"wrongly labelled: {self.int8.accepted_wrong:,}, float32 {self.float32.accepted_wrong:,}"
            )
        return lines


class _Model(_Document):
    sha256: str


class Int8Record(_Document):
    """What is read of the record; it holds more, see `export.record`."""

    format_version: Literal[1]
    precision: Literal["int8"]
    sha256: str = Field(description="of the graph, the .xml file")
    weights_sha256: str = Field(description="of the .bin file")
    model: _Model
    int8: Int8Check
    weight_bits: int = Field(default=_ALL_BITS, description="where channels are summed; with 7, no sum overflows")
    canary: tuple[tuple[float, ...], ...] = Field(description="probabilities of the canary pictures")

    def mismatch(self, network: Network, model: ModelFile) -> str:
        """The first thing that does not fit, in words; empty if everything does."""
        if self.model.sha256 != model.sha256:
            return f"it is of another model ({self.model.sha256[:12]}, not {model.sha256[:12]})"
        if hashlib.sha256(network.xml).hexdigest() != self.sha256:
            return "the graph was changed after its record was written"
        if hashlib.sha256(network.weights).hexdigest() != self.weights_sha256:
            return "the weights were changed after their record was written"
        return ""


@dataclass(frozen=True)
class Int8Network:
    """A quantised network and its record."""

    network: Network
    record: Int8Record

    def other_numbers(self, probabilities: NDArray[np.float32]) -> str:
        """What is wrong with probabilities of the canary pictures on this machine; empty if they are those of the
        machine that measured the accuracy."""
        # Where no sum can overflow, only the rounding of what stays in floating point is left to differ.
        at_most = _SAME_SUMS if self.record.weight_bits >= _ALL_BITS else MAX_DIFFERENCE
        return disagreement(probabilities, np.array(self.record.canary, dtype=np.float32), _THERE, at_most)

    def to_bytes(self, record: bytes) -> bytes:
        """As one file; `record` is the document, of which this object has only what is read."""
        return _LENGTH.pack(len(record)) + record + self.network.to_bytes()


def int8_place(model: ModelFile) -> Path:
    """Where the int8 network of a model goes: beside it, as `model.int8.xml`; in the user's cache for the model in
    the package, whose folder belongs to the installer."""
    return _in_cache(model) if model.path == DEFAULT_MODEL else _beside(model)


def has_int8(model: ModelFile) -> bool:
    """Whether a model has an int8 network: one of its own, or the one in the package."""
    return _own_int8(model) is not None or recall_packaged(model, "int8") is not None


def record_path(network: Path) -> Path:
    """`model.int8.xml` -> `model.int8.xml.json`."""
    return network.with_name(network.name + ".json")


def load_int8(model: ModelFile) -> Int8Network:
    """The int8 network of a model and its record: its own, otherwise that in the package.

    Raises:
        BackendError: there is none, a file is damaged, or the record is of other files or of another model.
    """
    path = _own_int8(model)
    if path is not None:
        return read_int8(path, model)
    packaged = packaged_int8(model)
    if packaged is None:
        raise BackendError("no int8 network beside the model", hint=f"{HOW_TO_MAKE}.")
    return packaged


def read_int8(path: Path, model: ModelFile) -> Int8Network:
    """The int8 network that `export-openvino` wrote to `path`, and its record.

    Raises:
        BackendError: a file can't be read or is damaged, or the record is of other files or of another model.
    """
    try:
        network = Network(path.read_bytes(), path.with_suffix(".bin").read_bytes())
        record = Int8Record.model_validate_json(record_path(path).read_bytes())
    except OSError as error:
        raise BackendError(f"{error.filename} can't be read: {error.strerror or error}", hint=_AGAIN) from error
    except ValidationError as error:
        raise BackendError(f"{record_path(path)} is wrong at {first_problem(error)}", hint=_AGAIN) from error
    wrong = record.mismatch(network, model)
    if wrong:
        raise BackendError(f"{path}: {wrong}", hint=_AGAIN)
    return Int8Network(network, record)


def packaged_int8(model: ModelFile) -> Int8Network | None:
    """The int8 network that comes with the package; None if it has none of this model."""
    content = recall_packaged(model, "int8")
    if content is None:
        return None
    (length,) = _LENGTH.unpack_from(content)
    document, rest = content[_LENGTH.size : _LENGTH.size + length], content[_LENGTH.size + length :]
    return Int8Network(Network.from_bytes(rest), Int8Record.model_validate_json(document))


def require_canary(int8: Int8Network, infer: Callable[[NDArray[np.uint8]], Outputs], side: int) -> None:
    """Compare the canary pictures with what they were when the accuracy was measured.

    Raises:
        BackendError: this machine computes other numbers.
    """
    wrong = int8.other_numbers(infer(canary_images(side))[0])
    if wrong:
        raise BackendError(f"the int8 network computes other numbers on this machine: {wrong}", hint=_AGAIN)


def _own_int8(model: ModelFile) -> Path | None:
    """The first of both places that has one."""
    return next((path for path in (_beside(model), _in_cache(model)) if path.is_file()), None)


def _beside(model: ModelFile) -> Path:
    return model.path.with_suffix(".int8.xml")


def _in_cache(model: ModelFile) -> Path:
    return cache_folder() / f"{model.sha256}.int8.xml"
