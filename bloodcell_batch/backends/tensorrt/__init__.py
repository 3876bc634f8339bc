"""TensorRT: a plan that `export-trt` compiled for this very GPU, checked before every use.

`sidecar` says what a plan is for, `probe` tries it in a child process, `runtime` executes it, `build` makes it. All
names of TensorRT that are used here exist in 10.16 and in 11.4.
"""

import importlib.util
from pathlib import Path

import platformdirs

from bloodcell_batch.backends.contract import Backend, BackendOptions
from bloodcell_batch.model.file import ModelFile

INSTALL = "pip install 'bloodcell-batch[tensorrt]'"


def why_not(model: ModelFile, device: str, options: BackendOptions) -> str:
    """TensorRT must be installed and a plan must lie beside the model."""
    if importlib.util.find_spec("tensorrt") is None:
        return f"TensorRT is not installed ({INSTALL})"
    if options.precision == "int8":
        return "its plans are float16 or float32"
    if find_plan(model, options) is None:
        return f"no plan beside the model; bloodcell-batch export-trt {model.path} makes one"
    return ""


def open_backend(model: ModelFile, device: str, options: BackendOptions) -> Backend:
    """Check the plan, try it in a child process, load it and let the canaries decide.

    Raises:
        BackendError: with the one reason why the plan is not used.
    """
    from bloodcell_batch.backends.tensorrt.backend import TensorRtBackend  # noqa: PLC0415 - imports tensorrt

    return TensorRtBackend(model, find_plan(model, options) or plan_beside(model), device, options)


def plan_beside(model: ModelFile) -> Path:
    """Where the plan of a model lies unless told otherwise."""
    return model.path.with_suffix(".plan")


def plan_in_cache(model: ModelFile) -> Path:
    """Where it lies if the model's own folder can't be written, as that of an installed package."""
    return platformdirs.user_cache_path("bloodcell-batch") / "tensorrt" / f"{model.sha256}.plan"


def find_plan(model: ModelFile, options: BackendOptions) -> Path | None:
    """The plan that was named, or the first of the usual places that exists."""
    if options.plan is not None:
        return options.plan
    return next((path for path in (plan_beside(model), plan_in_cache(model)) if path.is_file()), None)
