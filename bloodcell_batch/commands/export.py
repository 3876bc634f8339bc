"""`export-onnx`, `export-openvino` and `export-trt`: a model file in, another runtime's file out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from bloodcell_batch.commands.options import Log, LogFormat, Quiet, errors_as_text, option
from bloodcell_batch.config import ExportConfig, ExportTrtConfig, resolve

Model = Annotated[
    Path | None,
    typer.Argument(help="Model file (the one shipped with the package if left out).", metavar="[MODEL]"),
]
Images = Annotated[Path | None, option(ExportConfig, "images", metavar="FOLDER")]
MaxImages = Annotated[int | None, option(ExportConfig, "max_images", metavar="IMAGES")]
PrecisionOption = Annotated[str | None, option(ExportConfig, "precision")]
Overwrite = Annotated[bool | None, option(ExportConfig, "overwrite", "--overwrite")]


def export_onnx(
    out: Annotated[Path, typer.Option(help="ONNX file to write; OUT.json comes beside it.", metavar="FILE.onnx")],
    model: Model = None,
    precision: PrecisionOption = None,
    images: Images = None,
    max_images: MaxImages = None,
    overwrite: Overwrite = None,
    quiet: Quiet = False,
    log_format: Log = LogFormat.TEXT,
) -> None:
    """Write the network as ONNX, after comparing it with PyTorch through onnxruntime.

    Input: uint8 RGB images of any batch, resized. Normalisation and softmax are inside.
    """
    _export("onnx", locals())


def export_openvino(
    out: Annotated[
        Path, typer.Option(help="OpenVINO file to write; its .bin and OUT.json come beside it.", metavar="FILE.xml")
    ],
    model: Model = None,
    precision: PrecisionOption = None,
    images: Images = None,
    max_images: MaxImages = None,
    overwrite: Overwrite = None,
    quiet: Quiet = False,
    log_format: Log = LogFormat.TEXT,
) -> None:
    """Write the network in OpenVINO's format, after comparing it with PyTorch.

    Input: uint8 RGB images of any batch, resized. Normalisation and softmax are inside.
    """
    _export("openvino", locals())


def _export(kind: str, given: dict[str, Any]) -> None:
    """What both commands do; `given` are their arguments."""
    with errors_as_text(given["log_format"]):
        settings = resolve(ExportConfig, {key: given[key] for key in ExportConfig.model_fields})
        from bloodcell_batch.console import make_observer, write_text  # noqa: PLC0415 - keeps --help fast
        from bloodcell_batch.export.formats import EXPORTS  # noqa: PLC0415

        observer = make_observer(quiet=given["quiet"], log_format=given["log_format"])
        parity = EXPORTS[kind](given["model"], given["out"], settings, observer)
        write_text(f"{given['out']}: {settings.precision}; {parity.as_text()}")


def export_trt(
    model: Model = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Plan to write; OUT.json comes beside it. Beside the model, where classify finds it, if not given.",
            metavar="FILE.plan",
        ),
    ] = None,
    precision: Annotated[str | None, option(ExportTrtConfig, "precision")] = None,
    batch: Annotated[int | None, option(ExportTrtConfig, "batch", metavar="IMAGES")] = None,
    max_batch: Annotated[int | None, option(ExportTrtConfig, "max_batch", metavar="IMAGES")] = None,
    images: Images = None,
    max_images: MaxImages = None,
    overwrite: Overwrite = None,
    quiet: Quiet = False,
    log_format: Log = LogFormat.TEXT,
) -> None:
    """Compile the network with TensorRT for this machine's GPU, and publish it only if it agrees with PyTorch.

    The plan runs with this TensorRT version, on this kind of GPU and operating system; classify checks that. Exit code
    4: TensorRT or a GPU is missing, or the plan failed a check.
    """
    flags = {key: value for key, value in locals().items() if key in ExportTrtConfig.model_fields}
    with errors_as_text(log_format):
        settings = resolve(ExportTrtConfig, flags)
        from bloodcell_batch.console import make_observer  # noqa: PLC0415 - keeps --help fast
        from bloodcell_batch.export.trt import export_trt as run  # noqa: PLC0415

        run(model, out, settings, make_observer(quiet=quiet, log_format=log_format))
