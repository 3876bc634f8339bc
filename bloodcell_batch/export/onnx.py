"""ONNX: uint8 NHWC RGB in; normalisation, network and softmax inside; float32 out; any batch."""

import importlib.util
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from bloodcell_batch.backends.contract import Outputs
from bloodcell_batch.errors import BackendError, UsageError
from bloodcell_batch.export.quiet import quiet
from bloodcell_batch.model.file import ModelFile
from bloodcell_batch.model.network import load_inference_module

INPUT, OUTPUTS = "images", ("probabilities", "features")
_OPSET = 20
_NEEDED = ("onnx", "onnxscript", "onnxruntime")
_DTYPES = {"fp32": torch.float32, "fp16": torch.float16}


def require_packages() -> None:
    """Check that the extra is installed, before anything is computed.

    Raises:
        UsageError: it is not.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        hint = "pip install 'bloodcell-batch[onnx]'"
        raise UsageError(f"The export to ONNX needs {', '.join(missing)}, which is not installed.", hint=hint)


def to_onnx(model: ModelFile, precision: str) -> bytes:
    """The network as one ONNX file with everything inside.

    Args:
        model: the model file; its identity goes into the ONNX metadata.
        precision: "fp32", or "fp16" for a half-precision body.

    Raises:
        BackendError: PyTorch can't export this network.
    """
    module = load_inference_module(model)
    if precision != "fp32":
        module.cast_body(_DTYPES[precision])
    side = model.header.preprocessing.input_size
    example = torch.zeros((2, side, side, 3), dtype=torch.uint8)
    with quiet("torch.onnx", "onnxscript", "onnx_ir"):
        try:
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                opset_version=_OPSET,
                input_names=[INPUT],
                output_names=list(OUTPUTS),
                dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1, max=65536)}},
                verbose=False,
            )
        except (torch.onnx.OnnxExporterError, RuntimeError) as error:
            first = str(error).strip().splitlines()[0]
            raise BackendError(f"PyTorch can't export {model.header.architecture}: {first}", hint=_REPORT) from error
    if program is None:
        raise BackendError(f"PyTorch's export of {model.header.architecture} is empty.", hint=_REPORT)
    proto = program.model_proto
    for key, value in {"bloodcell_batch_model_sha256": model.sha256, "bloodcell_batch_precision": precision}.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    data: bytes = proto.SerializeToString()
    return data


_REPORT = "Please report the architecture; classify works without an export."


def onnx_runner(data: bytes, threads: int) -> Callable[[NDArray[np.uint8]], Outputs]:
    """The ONNX network on the CPU through onnxruntime.

    Raises:
        BackendError: onnxruntime refuses it.
    """
    import onnxruntime  # noqa: PLC0415 - an extra

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except _refusals() as error:
        raise BackendError(f"onnxruntime refuses the export: {str(error).splitlines()[0]}", hint=_REPORT) from error

    def infer(images: NDArray[np.uint8]) -> Outputs:
        try:
            probabilities, features = session.run(list(OUTPUTS), {INPUT: images})
        except _refusals() as error:
            raise BackendError(
                f"onnxruntime can't run the export: {str(error).splitlines()[0]}", hint=_REPORT
            ) from error
        return probabilities, features

    return infer


def _refusals() -> tuple[type[Exception], ...]:
    """Onnxruntime's exceptions; they have no base class of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state  # noqa: PLC0415 - an extra

    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented", "RuntimeException")
    return (RuntimeError, *(getattr(state, name) for name in names))
