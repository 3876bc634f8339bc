"""`export-openvino --precision int8`: quantise, compare with float32 on other images, publish if little is lost."""

import hashlib
import importlib.metadata
import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bloodcell_batch.backends.canary import canary_images
from bloodcell_batch.backends.contract import Outputs
from bloodcell_batch.backends.openvino.backend import OpenVinoBackend, open_int8
from bloodcell_batch.backends.openvino.int8 import AgainstLabels, Int8Check, int8_place
from bloodcell_batch.backends.openvino.networks import (
    Network,
    convert,
    convolutions,
    serialised,
    summed_weights,
    with_features_moved,
)
from bloodcell_batch.config.export import ExportOpenVinoConfig
from bloodcell_batch.errors import BackendError, UsageError
from bloodcell_batch.export.calibration_images import Cells, load_cells
from bloodcell_batch.export.floating_point import publish_network
from bloodcell_batch.export.parity import Parity, reference_outputs
from bloodcell_batch.export.quiet import quiet
from bloodcell_batch.export.sidecar import export_record
from bloodcell_batch.files.publishing import check_new
from bloodcell_batch.model.file import ModelFile, open_model
from bloodcell_batch.model.outlier_score import load_outlier_score
from bloodcell_batch.progress import Observer
from bloodcell_batch.records import Prediction, RawPrediction
from bloodcell_batch.stages.interpret import Thresholds, decide

_KEPT_FLOAT = 3  # convolutions: the stem and the first two of a MobileNet
INSTALL = "pip install 'bloodcell-batch[int8]'"


def export_int8(
    model_path: Path | None, out: Path | None, config: ExportOpenVinoConfig, observer: Observer
) -> tuple[Path, Int8Check]:
    """Write `out` (.xml), the weights beside it (.bin) and `out`.json; None puts them where `classify` looks.

    Returns:
        Where it was written, and what was found.

    Raises:
        UsageError: NNCF is not installed.
        InputError: too few images.
        BackendError: the network can't be quantised, or int8 loses more than `config.max_loss`.
        OutputError: the files can't be written.
    """
    if importlib.util.find_spec("nncf") is None:
        raise UsageError("Quantising to int8 needs NNCF, which is not installed.", hint=INSTALL)
    model = open_model(model_path)
    if out is None:
        out = int8_place(model)
        out.parent.mkdir(parents=True, exist_ok=True)
    check_new(out, overwrite=config.overwrite, suffix=".xml")
    calibration, compared = load_cells(model, config.images or Path(), config, observer)
    observer.note(f"quantising {model.header.name}, calibrated on {len(calibration.images):,} images; takes minutes")
    network = with_true_means(model, quantised(model, calibration.pixels), calibration.pixels)
    side = model.header.preprocessing.input_size
    try:
        backend = open_int8(network, side)
    except RuntimeError as error:
        raise BackendError(f"OpenVINO refuses the int8 network: {str(error).splitlines()[0]}") from error
    observer.note(f"comparing with PyTorch in float32 on {len(compared.images):,} images")
    check = compare(model, backend, compared, len(calibration.images), (config.images or Path()).name)
    require_accuracy(check, config.max_loss)
    publish_network(network, out, _record(model, network, check, backend))
    return out, check


def quantised(model: ModelFile, pixels: NDArray[np.uint8]) -> Network:
    """The network with convolutions and matrix products in int8, scaled by images (N, S, S, 3), for any batch.

    The first convolutions stay in floating point: their few channels tell stains apart, and they cost little. Biases
    are corrected by NNCF's slower method, layer by layer. Where channels are summed, weights have 7 of the 8 bits: the
    sum of two products then fits the 16 bits that processors without VNNI instructions add them in.

    Raises:
        BackendError: NNCF can't quantise this network.
    """
    network = convert(model, half=False).read()
    with quiet("nncf", "torch.utils.cpp_extension"):
        import nncf  # noqa: PLC0415 - an extra

        try:
            done = nncf.quantize(
                network,
                nncf.Dataset([image[None] for image in pixels]),
                preset=nncf.QuantizationPreset.MIXED,
                target_device=nncf.TargetDevice.CPU,
                subset_size=len(pixels),
                fast_bias_correction=False,
                advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
                ignored_scope=nncf.IgnoredScope(names=convolutions(network)[:_KEPT_FLOAT]),
            )
        except (nncf.InternalError, nncf.ValidationError, nncf.UnsupportedModelError, RuntimeError) as error:
            text = f"NNCF can't quantise {model.header.architecture}: {str(error).splitlines()[0]}"
            raise BackendError(text, hint="classify works without int8.") from error
    return serialised(done)


def with_true_means(model: ModelFile, network: Network, pixels: NDArray[np.uint8]) -> Network:
    """The network with features that have the means over images (N, S, S, 3) that those in float32 have.

    What quantisation shifts is small beside what tells classes apart, and large beside what tells a stranger: without
    this, some half percent of a stained slide's cells become outliers.
    """
    missing = reference_outputs(model, pixels)[1].mean(axis=0, dtype=np.float64)
    missing -= open_int8(network, model.header.preprocessing.input_size).infer(pixels)[1].mean(axis=0, dtype=np.float64)
    return with_features_moved(network, missing.astype(np.float32))


def weight_bits(network: Network) -> int:
    """7 if no sum of two of its products, of 8 bits and a weight, can overflow 16 bits; 8 otherwise."""
    sizes = [int(np.abs(weights.astype(np.int32)).max()) for weights in summed_weights(network.read())]
    return 7 if sizes and 2 * 255 * max(sizes) < 2**15 else 8


def compare(
    model: ModelFile, backend: OpenVinoBackend, cells: Cells, calibration_images: int, source: str
) -> Int8Check:
    """Both networks on the same images, up to the final decision about each cell."""
    pixels = cells.pixels
    reference, found = reference_outputs(model, pixels), backend.infer(pixels)
    then, now = reference[0].argmax(axis=1), found[0].argmax(axis=1)
    before, after = _decisions(model, cells, reference), _decisions(model, cells, found)
    labels = cells.labels
    finite = bool(np.isfinite(found[0]).all())
    pairs = list(zip(before, after, strict=True))
    return Int8Check(
        images=len(pixels),
        source=source,
        calibration_images=calibration_images,
        same_class=int((then == now).sum()),
        same_decision=sum((a.label, a.reason) == (b.label, b.reason) for a, b in pairs),
        other_label=sum(a.label != b.label for a, b in pairs if a.label and b.label),
        top_class_lost=int(((now != then) & (then == (then if labels is None else labels))).sum()),
        review_float32=sum(not a.label for a in before),
        review_int8=sum(not b.label for b in after),
        max_difference=float(np.abs(found[0] - reference[0]).max()) if finite else 1.0,
        float32=None if labels is None else _against(model, labels, then, before),
        int8=None if labels is None else _against(model, labels, now, after),
    )


def require_accuracy(check: Int8Check, max_loss: float) -> None:
    """Refuse an int8 network that costs too much.

    Raises:
        BackendError: its loss is larger than `max_loss`, a share.
    """
    if check.loss <= max_loss:
        return
    hint = "Nothing was published. Try other or more images (--calibration-images), or accept it with --max-loss."
    if check.int8 is None:
        hint += " With a folder per class, the loss of accuracy itself counts, not every difference."
    raise BackendError(
        f"int8 costs {check.loss:.2%}, more than {max_loss:.2%}: {'; '.join(check.as_lines())}.", hint=hint
    )


def _decisions(model: ModelFile, cells: Cells, outputs: Outputs) -> list[Prediction]:
    thresholds = Thresholds(model.header.review_threshold, model.header.outlier.threshold)
    classes, scores = model.header.class_list, load_outlier_score(model)(outputs[1])
    return [
        decide(RawPrediction(image.file, image.facts, tuple(row), score), thresholds, classes)
        for image, row, score in zip(cells.images, outputs[0].tolist(), scores.tolist(), strict=True)
    ]


def _against(
    model: ModelFile, labels: NDArray[np.int64], top: NDArray[np.int64], decisions: list[Prediction]
) -> AgainstLabels:
    names = model.header.class_list.names
    right = [cell.label == names[label] for cell, label in zip(decisions, labels.tolist(), strict=True)]
    accepted = sum(bool(cell.label) for cell in decisions)
    return AgainstLabels(
        right=int((top == labels).sum()), accepted_right=sum(right), accepted_wrong=accepted - sum(right)
    )


def _record(model: ModelFile, network: Network, check: Int8Check, backend: OpenVinoBackend) -> str:
    canary = backend.infer(canary_images(model.header.preprocessing.input_size))[0]
    agreement = check.same_class / check.images
    parity = Parity(check.images, check.source, agreement, check.max_difference)
    more = {
        "weights_sha256": hashlib.sha256(network.weights).hexdigest(),
        "weight_bits": weight_bits(network),
        "made_with": {name: importlib.metadata.version(name) for name in ("openvino", "nncf")},
        "int8": check.model_dump(mode="json"),
        "canary": canary.tolist(),
    }
    return export_record(model, network.xml, "int8", parity, more)
