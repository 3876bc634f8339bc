"""`export-onnx`, `export-openvino` and `export-trt`: a model file in, another runtime's file out."""

from pathlib import Path
from typing import Annotated

import typer

from bloodcell_batch.cli.configured import Call, configured
from bloodcell_batch.config.export import ExportConfig, ExportOpenVinoConfig, ExportTrtConfig
from bloodcell_batch.errors import UsageError

Model = Annotated[
    Path | None,
    typer.Argument(help="Model file (the one shipped with the package if left out).", metavar="[MODEL]"),
]


@configured(ExportConfig, config_file="")
def export_onnx(
    call: Call[ExportConfig],
    out: Annotated[Path, typer.Option(help="ONNX file to write; OUT.json comes beside it.", metavar="FILE.onnx")],
    model: Model = None,
) -> None:
    """Write the network as ONNX, after comparing it with PyTorch through onnxruntime.

    Input: uint8 RGB images of any batch, resized. Normalisation and softmax are inside.
    """
    settings = call.settings
    from bloodcell_batch.export.floating_point import export_onnx as run  # noqa: PLC0415

    parity = run(model, out, settings, call.observer())
    call.tell(f"{out}: {settings.precision}; {parity.as_text()}")


@configured(ExportOpenVinoConfig, config_file="")
def export_openvino(
    call: Call[ExportOpenVinoConfig],
    model: Model = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="OpenVINO file to write; its .bin and OUT.json come beside it. An int8 network goes where classify "
            "finds it if not given: MODEL.int8.xml beside the model, or the user's cache for the model in the package.",
            metavar="FILE.xml",
        ),
    ] = None,
) -> None:
    """Write the network in OpenVINO's format, after comparing it with PyTorch.

    Input: uint8 RGB images of any batch, resized. Normalisation and softmax are inside.

    int8 is calibrated on some of the --images and compared on others, which the model was not trained on. It is
    refused (exit code 4) if it costs more than --max-loss. With one folder per class that is accuracy, cells labelled
    rightly, or cells labelled wrongly; without, it is other top classes, or another number of cells for review.
    """
    settings = call.settings
    observer = call.observer()
    if settings.precision == "int8":
        from bloodcell_batch.export.int8 import export_int8  # noqa: PLC0415

        place, check = export_int8(model, out, settings, observer)
        call.tell("\n".join((f"{place}: int8", *check.as_lines())))
        return
    if out is None:
        raise UsageError("--out is missing.", hint="Name the file to write, ending in .xml.")
    from bloodcell_batch.export.floating_point import export_openvino as run  # noqa: PLC0415

    parity = run(model, out, settings, observer)
    call.tell(f"{out}: {settings.precision}; {parity.as_text()}")


@configured(ExportTrtConfig, config_file="")
def export_trt(
    call: Call[ExportTrtConfig],
    model: Model = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Plan to write; OUT.json comes beside it. Beside the model, where classify finds it, if not given.",
            metavar="FILE.plan",
        ),
    ] = None,
) -> None:
    """Compile the network with TensorRT for this machine's GPU, and publish it only if it agrees with PyTorch.

    The plan runs with this TensorRT version, on this kind of GPU and operating system; classify checks that. Exit code
    4: TensorRT or a GPU is missing, or the plan failed a check.
    """
    settings = call.settings
    from bloodcell_batch.export.tensorrt import export_trt as run  # noqa: PLC0415

    run(model, out, settings, call.observer())
