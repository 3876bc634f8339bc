"""Batch classification of peripheral-blood-smear cell images into per-slide differential counts.

    import bloodcell_batch as bb

    result = bb.classify("slides", "results.parquet")
    results = bb.read_results("results.parquet")

Every name is imported when it is first used, so that importing the package costs nothing. The names in `__all__` are
the public API; everything else may change.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bloodcell_batch.adaptation.adaptation import Adaptation
    from bloodcell_batch.api.models import adapt, evaluate, open_backend, open_model, train
    from bloodcell_batch.api.runs import classify, merge, read_results
    from bloodcell_batch.backends.contract import Backend, BackendOptions
    from bloodcell_batch.cell_classes import DEFAULT_CLASSES, CellClass, Role
    from bloodcell_batch.config.adapt import AdaptConfig
    from bloodcell_batch.config.classify import ClassifyConfig
    from bloodcell_batch.config.evaluate import EvaluateConfig
    from bloodcell_batch.config.merge import MergeConfig
    from bloodcell_batch.config.recipe import TrainConfig
    from bloodcell_batch.errors import BloodcellBatchError, ExitCode
    from bloodcell_batch.images.preprocessing import resize_to_input
    from bloodcell_batch.model.file import ModelFile, ModelHeader
    from bloodcell_batch.progress import ClassShare, NullObserver, Observer, RunCounts, SlideDifferential
    from bloodcell_batch.records import Status
    from bloodcell_batch.results.finished import Results
    from bloodcell_batch.results.run_record import RunRecord
    from bloodcell_batch.runs.pipeline import RunResult
    from bloodcell_batch.training.evaluation.evaluate import Report
    from bloodcell_batch.training.evaluation.metrics import Metrics

__version__ = "0.1.0"

_HOMES = {
    "adaptation.adaptation": ("Adaptation",),
    "api.models": ("adapt", "evaluate", "open_backend", "open_model", "train"),
    "api.runs": ("classify", "merge", "read_results"),
    "backends.contract": ("Backend", "BackendOptions"),
    "cell_classes": ("DEFAULT_CLASSES", "CellClass", "Role"),
    "config.adapt": ("AdaptConfig",),
    "config.classify": ("ClassifyConfig",),
    "config.evaluate": ("EvaluateConfig",),
    "config.merge": ("MergeConfig",),
    "config.recipe": ("TrainConfig",),
    "errors": ("BloodcellBatchError", "ExitCode"),
    "images.preprocessing": ("resize_to_input",),
    "model.file": ("ModelFile", "ModelHeader"),
    "progress": ("ClassShare", "NullObserver", "Observer", "RunCounts", "SlideDifferential"),
    "records": ("Status",),
    "results.finished": ("Results",),
    "results.run_record": ("RunRecord",),
    "runs.pipeline": ("RunResult",),
    "training.evaluation.evaluate": ("Report",),
    "training.evaluation.metrics": ("Metrics",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "DEFAULT_CLASSES",
    "AdaptConfig",
    "Adaptation",
    "Backend",
    "BackendOptions",
    "BloodcellBatchError",
    "CellClass",
    "ClassShare",
    "ClassifyConfig",
    "EvaluateConfig",
    "ExitCode",
    "MergeConfig",
    "Metrics",
    "ModelFile",
    "ModelHeader",
    "NullObserver",
    "Observer",
    "Report",
    "Results",
    "Role",
    "RunCounts",
    "RunRecord",
    "RunResult",
    "SlideDifferential",
    "Status",
    "TrainConfig",
    "__version__",
    "adapt",
    "classify",
    "evaluate",
    "merge",
    "open_backend",
    "open_model",
    "read_results",
    "resize_to_input",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
