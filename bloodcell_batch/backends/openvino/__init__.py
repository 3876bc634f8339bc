"""OpenVINO on the CPU: in float32, bfloat16 or int8, whichever is fastest here and right.

`networks` converts a model file, `cache` keeps what takes long to make, `int8` finds and checks a quantised network,
`backend` runs it.
"""

import sys
from typing import Any

from bloodcell_batch.backends.contract import Backend, BackendOptions
from bloodcell_batch.model.file import ModelFile

# OpenVINO (and NNCF) report each use to a statistics service on the internet without asking, as long as this package
# can be imported. What runs in a laboratory stays there.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

_CONVERTER = "openvino.tools.ovc"


def _import_without_converter() -> None:
    """OpenVINO imports its converter with what it has for every framework: half of the time of its import, which it
    does without where there is none. It is there again when somebody asks for it."""
    if "openvino" in sys.modules:
        return
    sys.modules[_CONVERTER] = None  # type: ignore[assignment]
    try:
        import openvino  # noqa: PLC0415 - after the line above
    finally:
        del sys.modules[_CONVERTER]

    def convert_model(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - OpenVINO's own
        from openvino.tools.ovc import convert_model as convert  # noqa: PLC0415 - when it is needed

        return convert(*arguments, **options)

    openvino.convert_model = convert_model


_import_without_converter()


def why_not(model: ModelFile, device: str, options: BackendOptions) -> str:
    """The wheel is a dependency; only its device plug-in, or an int8 network that was asked for, may be missing."""
    import openvino  # noqa: PLC0415 - see above

    from bloodcell_batch.backends.openvino.int8 import HOW_TO_MAKE, has_int8  # noqa: PLC0415 - imports openvino

    if "CPU" not in openvino.Core().available_devices:
        return f"OpenVINO finds no {device} device"
    if options.precision == "int8" and not has_int8(model):
        return f"no int8 network beside the model; {HOW_TO_MAKE}"
    return ""


def open_backend(model: ModelFile, device: str, options: BackendOptions) -> Backend:
    """Load the model on the CPU.

    Raises:
        BackendError: OpenVINO can't convert or compile this network, or its int8 network does not pass a check.
    """
    from bloodcell_batch.backends.openvino.backend import open_on_cpu  # noqa: PLC0415 - imports openvino

    return open_on_cpu(model, options)
