"""Interchangeable runtimes for the network, one file each. This table is the only place that lists them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of the `auto` ladder: a backend on a device."""

    backend: str
    device: str


BACKENDS: dict[str, str] = {
    "tensorrt": "bloodcell_batch.backends.tensorrt",
    "openvino": "bloodcell_batch.backends.openvino",
    "pytorch": "bloodcell_batch.backends.pytorch",
}
"""Name on the command line -> module, imported only when it is opened."""

AUTO_LADDER: tuple[Rung, ...] = (
    Rung("tensorrt", "cuda"),
    Rung("pytorch", "cuda"),
    Rung("openvino", "cpu"),
    Rung("pytorch", "cpu"),
)
"""Tried by `auto`, best first."""

BACKEND_NAMES: tuple[str, ...] = ("auto", *BACKENDS)
