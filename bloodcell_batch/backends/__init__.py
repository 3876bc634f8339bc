"""Interchangeable runtimes for the network, one file each. This table is the only place that lists them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of the `auto` ladder: a backend on a device, and what it needs."""

    backend: str
    device: str
    needs: str = ""


BACKENDS: dict[str, str] = {
    "tensorrt": "bloodcell_batch.backends.tensorrt",
    "openvino": "bloodcell_batch.backends.openvino",
    "pytorch": "bloodcell_batch.backends.pytorch",
}
"""Name on the command line -> module, imported only when it is opened."""

AUTO_LADDER: tuple[Rung, ...] = (
    Rung("tensorrt", "cuda", "an NVIDIA GPU, the extra [tensorrt], and a plan that export-trt made on this machine"),
    Rung("pytorch", "cuda", "an NVIDIA GPU, a driver for this PyTorch's CUDA, and a CUDA build of PyTorch"),
    Rung("openvino", "cpu", "nothing: it comes with the program"),
    Rung("pytorch", "cpu", "nothing: it comes with the program"),
)
"""Tried by `auto`, best first."""

BACKEND_NAMES: tuple[str, ...] = ("auto", *BACKENDS)
