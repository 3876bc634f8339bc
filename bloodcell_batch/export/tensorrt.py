"""`export-trt`: model -> ONNX -> TensorRT plan, every step compared with PyTorch before anything is published."""

import hashlib
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import platformdirs
import torch
from numpy.typing import NDArray

from bloodcell_batch.backends.canary import canary_images
from bloodcell_batch.backends.contract import BackendOptions, Outputs
from bloodcell_batch.backends.pytorch import open_backend as open_pytorch
from bloodcell_batch.backends.tensorrt import INSTALL, plan_beside, plan_in_cache
from bloodcell_batch.backends.tensorrt.sidecar import (
    Parity as RecordedParity,
)
from bloodcell_batch.backends.tensorrt.sidecar import (
    Sidecar,
    TensorFacts,
    Timing,
    sidecar_path,
    this_machine,
)
from bloodcell_batch.config.export import ExportTrtConfig
from bloodcell_batch.errors import BackendError
from bloodcell_batch.export.floating_point import Checked, checked_onnx
from bloodcell_batch.export.parity import Parity, measure_parity, reference_outputs, require_parity
from bloodcell_batch.files.publishing import bytes_writer, check_new, publish_files, text_writer
from bloodcell_batch.model.file import DEFAULT_MODEL, ModelFile, open_model
from bloodcell_batch.progress import Observer

_LEAST_HALF = 0.5  # reformatting and the float32 ends of the network are layers too
_TIMED_BATCHES = 20


def require_tensorrt(device: str) -> None:
    """Check that plans can be built here at all.

    Raises:
        BackendError: TensorRT or a GPU is missing.
    """
    if importlib.util.find_spec("tensorrt") is None:
        hint = f"{INSTALL}; classify works without it, on PyTorch or OpenVINO."
        raise BackendError("export-trt needs TensorRT, which is not installed.", hint=hint)
    if device.startswith("cuda") and not torch.cuda.is_available():
        hint = "Run it on the machine with the GPU that will classify: a plan fits no other."
        raise BackendError("export-trt needs an NVIDIA GPU, and PyTorch finds no usable one.", hint=hint)


def export_trt(
    model_path: Path | None, out: Path | None, config: ExportTrtConfig, observer: Observer, device: str = "cuda"
) -> Sidecar:
    """Build a plan and its sidecar for this machine's GPU.

    Args:
        model_path: the model file; None means the one in the package.
        out: the plan, ending in .plan; None puts it where `classify` looks for it.
        config: options.
        observer: told of every step.
        device: the GPU.

    Raises:
        BackendError: TensorRT or the GPU is missing, the build fails, or a gate is not passed; nothing was published.
        OutputError: the files can't be written.
    """
    require_tensorrt(device)
    model = open_model(model_path)
    out = out or usual_place(model)
    check_new(out, overwrite=config.overwrite, suffix=".plan")
    checked = checked_onnx(model_path, config, observer)
    plan, sidecar = _build_and_check(checked, config, observer, device)
    publish_files({out: bytes_writer(plan), sidecar_path(out): text_writer(sidecar.model_dump_json(indent=2) + "\n")})
    observer.note(f"{out}: {config.precision}, {sidecar.half_precision_layers:.0%} of the layers in half precision")
    return sidecar


def usual_place(model: ModelFile) -> Path:
    """Beside the model; in the user's cache for the model in the package, whose folder belongs to the installer."""
    if model.path != DEFAULT_MODEL:
        return plan_beside(model)
    path = plan_in_cache(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _build_and_check(
    checked: Checked, config: ExportTrtConfig, observer: Observer, device: str
) -> tuple[bytes, Sidecar]:
    import tensorrt as trt  # noqa: PLC0415 - an extra

    from bloodcell_batch.backends.tensorrt.backend import open_batches  # noqa: PLC0415 - imports tensorrt
    from bloodcell_batch.backends.tensorrt.build import PlanRequest, build_plan, half_precision_share  # noqa: PLC0415
    from bloodcell_batch.backends.tensorrt.runtime import Plan  # noqa: PLC0415

    model = checked.model
    preprocessing = model.header.preprocessing
    cache = platformdirs.user_cache_path("bloodcell-batch") / "tensorrt" / f"timing-{trt.__version__}.cache"
    request = PlanRequest(checked.data, preprocessing.input_size, config.batch, config.max_batch or config.batch, cache)
    observer.note("compiling the plan; this takes minutes")
    data = build_plan(request, _reporter(observer))
    observer.finished()
    where = torch.device(device)
    plan = Plan(data, where)
    half = half_precision_share(plan.engine)
    if config.precision == "fp16" and half < _LEAST_HALF:
        text = f"TensorRT compiled only {half:.0%} of the layers in half precision, although fp16 was asked for."
        raise BackendError(text, hint="Nothing was published. Use --precision fp32 if that is what you want.")
    batches = open_batches(plan, where)
    parity = measure_parity(checked.sample, reference_outputs(model, checked.sample.images), batches)
    observer.note(f"TensorRT {parity.as_text()}")
    require_parity(parity, config.precision, "TensorRT plan")
    timing = _time(model, batches, config, device)
    _tell(timing, observer)
    machine = this_machine(device, trt.__version__)
    return data, _sidecar(checked, data, machine, (plan.profile, plan.widths, half), (parity, timing), config)


def _sidecar(
    checked: Checked,
    data: bytes,
    machine: object,
    plan: tuple[tuple[int, int, int], tuple[int, int], float],
    measured: tuple[Parity, Timing],
    config: ExportTrtConfig,
) -> Sidecar:
    model = checked.model
    side = model.header.preprocessing.input_size
    profile, (classes, width), half = plan
    parity, timing = measured
    canary = reference_outputs(model, canary_images(side))[0]
    return Sidecar.model_validate(
        {
            "plan_sha256": hashlib.sha256(data).hexdigest(),
            "onnx_sha256": hashlib.sha256(checked.data).hexdigest(),
            "model_sha256": model.sha256,
            "machine": machine,
            "precision": config.precision,
            "half_precision_layers": half,
            "inputs": (TensorFacts(name="images", dtype="uint8", shape=(-1, side, side, 3)),),
            "outputs": (
                TensorFacts(name="probabilities", dtype="float32", shape=(-1, classes)),
                TensorFacts(name="features", dtype="float32", shape=(-1, width)),
            ),
            "profile": profile,
            "classes": model.header.class_list.names,
            "preprocessing": model.header.preprocessing,
            "canary": tuple(tuple(row) for row in canary.tolist()),
            "parity": RecordedParity.model_validate(parity.as_dict()),
            "timing": timing,
        }
    )


def _reporter(observer: Observer) -> Callable[[str, int, int], None]:
    """Passes TensorRT's phases on as tasks."""
    phase = ""

    def report(name: str, step: int, total: int) -> None:
        nonlocal phase
        if name != phase:
            if phase:
                observer.finished()
            phase = name
            observer.started(f"TensorRT: {name}", total)
        observer.advanced(step)

    return report


def _time(
    model: ModelFile, infer: Callable[[NDArray[np.uint8]], Outputs], config: ExportTrtConfig, device: str
) -> Timing:
    """TensorRT and PyTorch one after the other, on the same images."""
    images = canary_images(model.header.preprocessing.input_size, config.batch)
    many = np.concatenate([images] * _TIMED_BATCHES)
    pytorch = open_pytorch(model, device, BackendOptions(batch=config.batch))
    try:
        return Timing(
            batch=config.batch,
            tensorrt=_rate(infer, many),
            pytorch=_rate(pytorch.infer, many),
            pytorch_description=pytorch.description,
        )
    finally:
        pytorch.close()


def _rate(infer: Callable[[NDArray[np.uint8]], Outputs], images: NDArray[np.uint8]) -> float:
    infer(images)
    start = time.perf_counter()
    infer(images)
    return len(images) / (time.perf_counter() - start)


def _tell(timing: Timing, observer: Observer) -> None:
    rates = f"TensorRT {timing.tensorrt:,.0f} images/s, PyTorch {timing.pytorch:,.0f} ({timing.pytorch_description})"
    if timing.slower:
        observer.warn(f"the plan is slower than PyTorch, so classify will not use it unless told to: {rates}")
    else:
        observer.note(rates)
