"""The sidecar: a JSON document beside a plan that says what the plan is, for which GPU, and what was measured.

It stands beside the plan and not in front of it, so that NVIDIA's own tools read the plan as it is.
"""

import hashlib
import platform
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bloodcell_batch.backends.cuda_driver import driver_cuda_version
from bloodcell_batch.config.problems import first_problem
from bloodcell_batch.errors import BackendError
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.model.file import ModelFile


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Machine(_Frozen):
    """What a plan is tied to, and the driver it was built with."""

    tensorrt: str
    gpu: str
    compute_capability: str
    operating_system: str
    driver_cuda: str = Field(description="newest CUDA version that the driver runs")


class TensorFacts(_Frozen):
    """A tensor of the plan."""

    name: str
    dtype: str
    shape: tuple[int, ...] = Field(description="-1 is the batch")


class Parity(_Frozen):
    """How far the plan is from PyTorch in float32."""

    images: int
    source: str
    top1_agreement: float
    max_difference: float = Field(description="of a probability")


class Timing(_Frozen):
    """Images per second at the full batch, images already in main memory."""

    batch: int
    tensorrt: float
    pytorch: float
    pytorch_description: str

    @property
    def slower(self) -> bool:
        """Whether PyTorch won."""
        return self.tensorrt < self.pytorch


class Sidecar(_Frozen):
    """The document."""

    format_version: Literal[1] = 1
    plan_sha256: str
    onnx_sha256: str
    model_sha256: str
    machine: Machine
    precision: Literal["fp16", "fp32"]
    half_precision_layers: float = Field(ge=0, le=1, description="share, as the engine's inspector tells it")
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    profile: tuple[int, int, int] = Field(description="smallest, usual and largest batch")
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    canary: tuple[tuple[float, ...], ...] = Field(description="float32 probabilities of the canary pictures")
    parity: Parity
    timing: Timing

    def mismatch(self, plan: bytes, model: ModelFile, machine: Machine) -> str:
        """The first thing that does not fit, in words; empty if everything does."""
        if self.plan_sha256 != hashlib.sha256(plan).hexdigest():
            return "the plan was changed after its sidecar was written"
        if self.model_sha256 != model.sha256:
            return f"the plan is of another model ({self.model_sha256[:12]}, not {model.sha256[:12]})"
        if self.preprocessing != model.header.preprocessing:
            return "the plan was made for another preprocessing"
        if self.classes != tuple(entry.name for entry in model.header.classes):
            return "the plan was made for other classes"
        for field, what in _TIED:
            built, here = getattr(self.machine, field), getattr(machine, field)
            if built != here:
                return f"the plan was built for {what} {built}, here is {here}"
        return ""


_TIED = (
    ("tensorrt", "TensorRT"),
    ("gpu", "the GPU"),
    ("compute_capability", "compute capability"),
    ("operating_system", "the operating system"),
)


def sidecar_path(plan: Path) -> Path:
    """`model.plan` -> `model.plan.json`."""
    return plan.with_name(plan.name + ".json")


def read_sidecar(plan: Path) -> Sidecar:
    """The sidecar of a plan.

    Raises:
        BackendError: it is missing or damaged.
    """
    path = sidecar_path(plan)
    try:
        return Sidecar.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BackendError(f"the plan's sidecar {path} can't be read: {error.strerror or error}") from error
    except ValidationError as error:
        raise BackendError(f"the plan's sidecar {path} is wrong at {first_problem(error)}") from error


def this_machine(device: str, tensorrt_version: str) -> Machine:
    """The machine as a sidecar describes it; `device` may be the CPU, where tests run a stand-in for TensorRT."""
    name, capability = "CPU", "0.0"
    if device.startswith("cuda"):
        name = torch.cuda.get_device_name(device)
        capability = ".".join(str(part) for part in torch.cuda.get_device_capability(device))
    return Machine(
        tensorrt=tensorrt_version,
        gpu=name,
        compute_capability=capability,
        operating_system=f"{platform.system()} {platform.machine()}",
        driver_cuda=driver_cuda_version(),
    )
