"""`export-onnx` and `export-openvino` in floating point: convert, compare with PyTorch, publish."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bloodcell_batch.config.export import ExportConfig, ExportOpenVinoConfig
from bloodcell_batch.export.onnx import onnx_runner, require_packages, to_onnx
from bloodcell_batch.export.parity import Parity, measure_parity, reference_outputs, require_parity
from bloodcell_batch.export.parity_images import Sample, load_sample
from bloodcell_batch.export.sidecar import export_record
from bloodcell_batch.files.publishing import bytes_writer, check_new, publish_files, text_writer
from bloodcell_batch.model.file import ModelFile, open_model
from bloodcell_batch.parallel.cpus import available_cpus
from bloodcell_batch.progress import Observer

if TYPE_CHECKING:
    from bloodcell_batch.backends.openvino.networks import Network


@dataclass(frozen=True, slots=True)
class Checked:
    """An ONNX network that passed the comparison with PyTorch."""

    model: ModelFile
    data: bytes
    sample: Sample
    parity: Parity


def checked_onnx(model_path: Path | None, config: ExportConfig, observer: Observer) -> Checked:
    """Export to ONNX in memory and compare it with PyTorch through onnxruntime.

    Raises:
        BackendError: the export fails, or is not the same network.
    """
    require_packages()
    model = open_model(model_path)
    threads = available_cpus()
    sample = load_sample(config.images, config.max_images, model.header.preprocessing, threads, observer)
    observer.note(f"exporting {model.header.name} to ONNX in {config.precision}")
    data = to_onnx(model, config.precision)
    reference = reference_outputs(model, sample.images)
    parity = measure_parity(sample, reference, onnx_runner(data, threads))
    observer.note(f"ONNX {parity.as_text()}")
    require_parity(parity, config.precision, "ONNX export")
    return Checked(model, data, sample, parity)


def export_onnx(model_path: Path | None, out: Path, config: ExportConfig, observer: Observer) -> Parity:
    """Write `out` and `out`.json.

    Raises:
        OutputError: they can't be written.
        BackendError: the export fails, or is not the same network.
    """
    check_new(out, overwrite=config.overwrite, suffix=".onnx")
    done = checked_onnx(model_path, config, observer)
    record = export_record(done.model, done.data, config.precision, done.parity)
    publish_files({out: bytes_writer(done.data), out.with_name(out.name + ".json"): text_writer(record)})
    return done.parity


def export_openvino(model_path: Path | None, out: Path, config: ExportOpenVinoConfig, observer: Observer) -> Parity:
    """Write `out` (.xml), the weights beside it (.bin) and `out`.json.

    Raises:
        OutputError: they can't be written.
        BackendError: the export fails, or is not the same network.
    """
    from bloodcell_batch.backends.openvino.backend import infer_with  # noqa: PLC0415 - imports the runtime
    from bloodcell_batch.backends.openvino.networks import convert  # noqa: PLC0415 - imports the runtime

    check_new(out, overwrite=config.overwrite, suffix=".xml")
    model = open_model(model_path)
    sample = load_sample(config.images, config.max_images, model.header.preprocessing, available_cpus(), observer)
    observer.note(f"exporting {model.header.name} to OpenVINO in {config.precision}")
    network = convert(model, half=config.precision == "fp16")
    parity = measure_parity(sample, reference_outputs(model, sample.images), infer_with(network))
    observer.note(f"OpenVINO {parity.as_text()}")
    require_parity(parity, config.precision, "OpenVINO export")
    publish_network(network, out, export_record(model, network.xml, config.precision, parity))
    return parity


def publish_network(network: "Network", out: Path, record: str) -> None:
    """Write the three files. The record comes last: until then, an older one does not fit the new network.

    Raises:
        OutputError: they can't be written.
    """
    publish_files(
        {
            out.with_suffix(".bin"): bytes_writer(network.weights),
            out: bytes_writer(network.xml),
            out.with_name(out.name + ".json"): text_writer(record),
        }
    )
