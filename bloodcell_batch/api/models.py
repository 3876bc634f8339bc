"""Open, run, train, adapt and measure models."""

import os
from contextlib import AbstractContextManager, closing
from pathlib import Path

from bloodcell_batch.adaptation.adaptation import Adaptation
from bloodcell_batch.api.runs import AnyPath
from bloodcell_batch.backends import selection
from bloodcell_batch.backends.contract import Backend, BackendOptions
from bloodcell_batch.config.adapt import AdaptConfig
from bloodcell_batch.config.evaluate import EvaluateConfig
from bloodcell_batch.config.recipe import TrainConfig
from bloodcell_batch.model import file
from bloodcell_batch.model.file import ModelFile
from bloodcell_batch.progress import LoggedWarnings, Observer
from bloodcell_batch.training.evaluation import evaluate as evaluation
from bloodcell_batch.training.evaluation.metrics import Metrics


def open_model(path: AnyPath | None = None) -> ModelFile:
    """Check a model file and read its header: classes, preprocessing, thresholds, figures, licence.

    Args:
        path: a file that `train` wrote; the model that ships with the package if not given.

    Raises:
        ModelFileError: it is missing, damaged, or not a model file.
    """
    return file.open_model(None if path is None else Path(path))


def open_backend(
    model: ModelFile | None = None, name: str = "auto", options: BackendOptions | None = None
) -> AbstractContextManager[Backend]:
    """Load a model on the named runtime, or on the best that this machine has; closed when the context ends.

    `backend.infer(images)` takes uint8 RGB of shape (N, S, S, 3), S being `model.header.preprocessing.input_size`, as
    `resize_to_input` makes it, and returns probabilities (N, C) and features (N, D), both float32. As in `classify`,
    unsure images are looked at again where the model wants it; `BackendOptions(views=1)` does without.

    Args:
        model: as `open_model` returns it; the model that ships with the package if not given.
        name: "auto", "openvino", "pytorch" or "tensorrt".
        options: precision, batch size and others; the defaults if not given.

    Raises:
        BackendError: it can't run here; the text says why.
    """
    return closing(selection.open_backend(model or file.open_model(), name, options).backend)


def train(
    data: AnyPath, out: AnyPath, config: TrainConfig | None = None, observer: Observer | None = None
) -> tuple[ModelFile, Metrics] | None:
    """Train a classifier on labelled images and write the model file `out`, as `train` does.

    Args:
        data: folder with one folder of images per class, a manifest, or a MedMNIST file.
        out: `NAME.safetensors`; an interrupted training at the same place is continued.
        config: the recipe; the defaults if not given.
        observer: told of every epoch; if not given, warnings go to the logger `bloodcell_batch`.

    Returns:
        The model and its figures on the test part, which training never saw; None in the helping processes of a
        training on several GPUs.

    Raises:
        BloodcellBatchError: the data or the recipe can't give a model, or it can't be written.
    """
    from bloodcell_batch.training.fit import train as training  # noqa: PLC0415 - imports Lightning

    recipe = config or TrainConfig.model_validate({})
    training.check_model_path(Path(out), overwrite=False, resume=True)
    return training.train(recipe, Path(data), Path(os.fspath(out)), observer or LoggedWarnings())


def adapt(
    data: AnyPath, out: AnyPath, config: AdaptConfig | None = None, observer: Observer | None = None
) -> Adaptation:
    """Make a model a laboratory's own with some of its labelled cells, and write the model file `out` if it is better
    than before, as `adapt` does.

    Args:
        data: folder with one folder of images per class, or a manifest.
        out: `NAME.safetensors`; an interrupted adaptation at the same place is continued.
        config: options; the defaults if not given.
        observer: told of progress; if not given, warnings go to the logger `bloodcell_batch`.

    Returns:
        The model, None where it was not better and not written, and the figures before and after.

    Raises:
        BloodcellBatchError: the cells can't change a model, or it can't be written.
    """
    from bloodcell_batch.adaptation import adapt as adapting  # noqa: PLC0415 - imports PyTorch

    adapting.check_output(Path(out), overwrite=False)
    settings = config or AdaptConfig.model_validate({})
    return adapting.adapt(settings, Path(data), Path(os.fspath(out)), observer or LoggedWarnings())


def evaluate(
    data: AnyPath,
    model: ModelFile | None = None,
    config: EvaluateConfig | None = None,
    observer: Observer | None = None,
) -> evaluation.Report:
    """Measure a model on labelled images, through the same decoder and backend as `classify`.

    Args:
        data: as for `train`.
        model: as `open_model` returns it; the model that ships with the package if not given.
        config: options; by default only images that the model's training never saw are used.
        observer: told of progress; if not given, warnings go to the logger `bloodcell_batch`.

    Raises:
        BloodcellBatchError: there are no labelled images, or none that may be used.
    """
    settings = config or EvaluateConfig.model_validate({})
    return evaluation.evaluate(model or file.open_model(), Path(data), settings, observer or LoggedWarnings())
