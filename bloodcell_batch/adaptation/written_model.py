"""The model file of an adapted network."""

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bloodcell_batch import __version__
from bloodcell_batch.adaptation.decisions import Decisions
from bloodcell_batch.adaptation.laboratory import LaboratoryCells
from bloodcell_batch.adaptation.rehearsal import Rehearsal
from bloodcell_batch.config.adapt import AdaptConfig
from bloodcell_batch.errors import TrainingError
from bloodcell_batch.model.file import (
    NETWORK_PREFIX,
    OUTLIER_PREFIX,
    SEEN_PREFIX,
    ModelFile,
    ModelHeader,
    OutlierRule,
    class_entries,
    save_model,
)
from bloodcell_batch.model.network import InferenceModule, load_inference_module
from bloodcell_batch.model.outlier_score import OutlierScore
from bloodcell_batch.training.data.seen import Seen, SeenPart
from bloodcell_batch.training.fit.calibration import predict

_CHECKED = 64


@dataclass(frozen=True, slots=True)
class AdaptedNetwork:
    """An adapted network, with everything that its decisions need."""

    module: InferenceModule
    outlier: OutlierScore
    decisions: Decisions


def write_model(
    out: Path,
    config: AdaptConfig,
    base: ModelFile,
    own: LaboratoryCells,
    rehearsal: Rehearsal,
    network: AdaptedNetwork,
    figures: dict[str, Any],
) -> ModelFile:
    """Write the model, and make sure that it predicts what was measured.

    Args:
        out: the file.
        config: name and attribution.
        base: the model that was adapted.
        own: cells of the laboratory.
        rehearsal: cells of the package.
        network: what to write.
        figures: for the header.

    Raises:
        OutputError: it can't be written.
        TrainingError: it predicts something else; the file is removed.
    """
    state = network.module.network.state_dict()
    tensors: dict[str, NDArray[Any]] = {NETWORK_PREFIX + name: value.numpy() for name, value in state.items()}
    tensors |= {OUTLIER_PREFIX + name: value for name, value in network.outlier.tensors().items()}
    learned = Seen(
        SeenPart.of(
            np.concatenate([own.digests, rehearsal.learned.digests]),
            np.concatenate([own.hashes, rehearsal.learned.hashes]),
        ),
        Seen.nothing().validation,
    )
    seen = Seen.by(base).and_also(learned)
    tensors |= {SEEN_PREFIX + name: value for name, value in seen.tensors().items()}
    model = save_model(out, _header(config, base, own, rehearsal, network, figures), tensors)
    some = own.inputs[:_CHECKED]
    if not np.allclose(predict(load_inference_module(model), some)[0], predict(network.module, some)[0], atol=1e-4):
        model.path.unlink()
        raise TrainingError(
            "The written model predicts something else than the adapted one.", hint="This is a bug; please report it."
        )
    return model


def _header(
    config: AdaptConfig,
    base: ModelFile,
    own: LaboratoryCells,
    rehearsal: Rehearsal,
    network: AdaptedNetwork,
    figures: dict[str, Any],
) -> ModelHeader:
    decisions, before = network.decisions, base.header
    training = {
        "images": own.counts,
        "adapted_from": {"name": before.name, "sha256": base.sha256},
        "adaptation": figures,
        "seed": config.seed,
        "software": {
            "bloodcell-batch": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    sources = [before.attribution, f"beside it, again: {rehearsal.attribution}"]
    sources.append(f"adapted to {len(own)} cells of {config.attribution or 'a laboratory that is not named'}")
    return ModelHeader(
        name=config.name or f"{before.name}-adapted",
        architecture=before.architecture,
        classes=class_entries(own.classes),
        preprocessing=before.preprocessing,
        temperature=decisions.temperature,
        review_threshold=decisions.rules.review_threshold,
        second_look=decisions.second_look,
        outlier=OutlierRule(
            threshold=max(decisions.rules.outlier_threshold, 1e-6),
            description=f"Mahalanobis distance in {len(network.outlier.scale)} whitened directions of unit-length "
            "features, plus residual energy; fitted to the laboratory's cells, cross-validated",
        ),
        training=training,
        metrics={
            "accuracy": figures["after"]["accuracy"],
            "review_share": figures["after"]["review_share"],
            "selective_accuracy": figures["after"]["selective_accuracy"],
            "per_class": {
                name: {"images": row["cells"], "recall": row["right_after"] / row["cells"]}
                for name, row in figures["per_class"].items()
            },
        },
        licence=before.licence,
        attribution="; ".join(sources),
    )
