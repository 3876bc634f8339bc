"""`adapt`: a model and labelled cells of a laboratory in, the laboratory's own model out, if it is better."""

import hashlib
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bloodcell_batch.adaptation.adaptation import Adaptation, Control
from bloodcell_batch.adaptation.decisions import Decisions, fit_decisions, is_clearly_likelier
from bloodcell_batch.adaptation.figures import Change, Judgement, change_of, judged
from bloodcell_batch.adaptation.laboratory import LaboratoryCells, read_laboratory
from bloodcell_batch.adaptation.learning import with_classes
from bloodcell_batch.adaptation.network_parts import divided
from bloodcell_batch.adaptation.rehearsal import PackagedCells, Rehearsal, load_rehearsal
from bloodcell_batch.adaptation.side_by_side import in_one_step, one_thread_each, side_by_side
from bloodcell_batch.adaptation.trainings import Depth, Learned, Trainings
from bloodcell_batch.adaptation.validation import KeptAnswers, cross_validate, folds_of
from bloodcell_batch.adaptation.written_model import AdaptedNetwork, write_model
from bloodcell_batch.cell_classes import ClassList, RollUp, rolled_up
from bloodcell_batch.config.adapt import AdaptConfig
from bloodcell_batch.config.base import not_compared
from bloodcell_batch.errors import TrainingError
from bloodcell_batch.files.publishing import check_new
from bloodcell_batch.model.file import ModelFile, open_model
from bloodcell_batch.model.network import InferenceModule, load_inference_module
from bloodcell_batch.model.outlier_score import load_outlier_score
from bloodcell_batch.progress import NullObserver, Observer
from bloodcell_batch.stages.infer import reported
from bloodcell_batch.training.data.labelled_files import FREE
from bloodcell_batch.training.data.seen import Seen
from bloodcell_batch.training.evaluation.metrics import Rules
from bloodcell_batch.training.fit.calibration import predict_with

_VERSION = 5  # of what answers that were kept by an earlier release depend on
_NOTABLE_LOSS = 0.01
_AVERAGED = 2  # trainings on all cells, as many as two processors do at once


def adapt(config: AdaptConfig, data: Path, out: Path, observer: Observer | None = None) -> Adaptation:
    """Adapt a model to the labelled cells of `data`, and write `out` if it is better than before.

    An adaptation that was interrupted at the same `out` goes on where it stopped.

    Raises:
        InputError: no labelled images.
        TrainingError: contradictory labels, or too few cells, or classes.
        ModelFileError: the model can't be read.
        OutputError: something can't be written.
    """
    observer = observer or NullObserver()
    model = open_model(config.model)
    base = model.header.class_list
    rehearsal = load_rehearsal(base, model.header.preprocessing)
    own = read_laboratory(data, model, config, rehearsal.held_out, observer)
    rehearsal = load_rehearsal(own.classes, model.header.preprocessing) if own.classes != base else rehearsal
    _check_classes(own, rehearsal.learned)
    kept = KeptAnswers(out.with_suffix(".adaptation"), _identity(config, model, own))
    finished = kept.begin()
    if finished:
        observer.note(f"going on after {finished} trainings of an interrupted adaptation")
    with one_thread_each():
        adapted = _adapted(config, model, own, rehearsal, kept, observer)
    result = _published(config, model, own, rehearsal, adapted, out)
    kept.end()
    _tell(result, config, out, observer)
    return result


def check_output(out: Path, *, overwrite: bool) -> None:
    """Fail before the work begins; OutputError."""
    check_new(out, overwrite=overwrite, suffix=".safetensors")


@dataclass(frozen=True, slots=True)
class _Adapted:
    network: AdaptedNetwork
    change: Change
    control: Control
    depth: Depth


def _adapted(
    config: AdaptConfig,
    model: ModelFile,
    own: LaboratoryCells,
    rehearsal: Rehearsal,
    kept: KeptAnswers,
    observer: Observer,
) -> _Adapted:
    module = load_inference_module(model)
    roll_up = rolled_up(own.classes)
    truth = np.array(roll_up.target)[own.labels]
    before = _judged_before(model, module, own.inputs, truth, roll_up.reported)
    parts = divided(with_classes(module, _rows(model.header.class_list, own.classes)))
    second_look = model.header.second_look
    trainings = Trainings(
        parts,
        own,
        rehearsal.learned,
        len(model.header.classes),
        config.seed,
        observer,
        second_look=second_look > 0,
    )
    folds = folds_of(own.labels, own.groups, config.seed)
    found: dict[Depth, tuple[Decisions, Change]] = {}
    likelihood: dict[Depth, NDArray[np.float64]] = {}
    for depth in Depth:
        answers = cross_validate(trainings, folds, depth, kept, observer)
        decisions = fit_decisions(answers, own.labels, roll_up, second_look)
        judgements = [decisions.judgement(part, truth) for part in answers]
        change = change_of(before, judgements, truth, roll_up.reported)
        likelihood[depth] = decisions.likelihood(answers, truth)
        mean = likelihood[depth].mean()
        observer.note(f"learning the {depth}: {change.after.accuracy:.1%} right, log-likelihood {mean:.3f}")
        found[depth] = decisions, change
    # Networks of a cross-validation learn fewer cells than the last one, which the stages need more than a classifier.
    simple = is_clearly_likelier(likelihood[Depth.CLASSIFIER], likelihood[Depth.STAGES])
    depth = Depth.CLASSIFIER if simple else Depth.STAGES
    decisions, change = found[depth]
    learned = _learned_from_all(trainings, depth, len(own), len(folds), observer)
    network = AdaptedNetwork(
        InferenceModule(parts.whole(learned.rest), model.header.preprocessing, decisions.temperature).eval(),
        learned.outlier,
        decisions,
    )
    control = _control(model, (module, network.module), rehearsal.control, own.classes, observer)
    return _Adapted(network, change, control, depth)


def _learned_from_all(trainings: Trainings, depth: Depth, cells: int, folds: int, observer: Observer) -> Learned:
    """The mean of several trainings, which differ in what they draw: a little better than each, and less of a lot."""
    everything = np.arange(cells)
    numbers = range(folds + 1, folds + 1 + (_AVERAGED if depth is Depth.STAGES else 1))
    learned = side_by_side(
        [
            lambda stepped, number=number: trainings.learn(depth, everything, number, stepped)  # type: ignore[misc]
            for number in numbers
        ],
        [trainings.steps_of(depth)] * len(numbers),
        "learning from all cells",
        observer,
    )
    return trainings.mean_of(learned, everything)


def _rows(base: ClassList, classes: ClassList) -> list[int | None]:
    """For each class the old output that it starts from: its own, or that of the class that it is a kind of."""
    names = base.names
    found = [(names.index(name) if name in names else None) for cell in classes.classes for name in [cell.name]]
    parents = [names.index(cell.parent) if cell.parent in names else None for cell in classes.classes]
    return [parent if own is None else own for own, parent in zip(found, parents, strict=True)]


def _judged_before(
    model: ModelFile,
    module: InferenceModule,
    inputs: NDArray[np.uint8],
    truth: NDArray[np.int64],
    classes: ClassList,
) -> Judgement:
    probabilities, features = predict_with(module, model.header.second_look, inputs)
    rules = Rules(model.header.review_threshold, model.header.outlier.threshold)
    numbers = _in_classes(probabilities, rolled_up(model.header.class_list), classes)
    return judged(numbers, load_outlier_score(model)(features), truth, rules)


def _in_classes(probabilities: NDArray[np.float32], roll_up: RollUp, classes: ClassList) -> NDArray[np.float32]:
    """Outputs (N, C) as probabilities of reported classes, some of which the outputs may lack."""
    ours = reported(probabilities, roll_up)
    wide = np.zeros((len(ours), len(classes)), dtype=np.float32)
    wide[:, [classes.names.index(name) for name in roll_up.reported.names]] = ours
    return wide


def _control(
    model: ModelFile,
    modules: tuple[InferenceModule, InferenceModule],
    cells: PackagedCells,
    classes: ClassList,
    observer: Observer,
) -> Control:
    known = Seen.by(model).recognise(cells.digests, cells.hashes)
    cells = cells.take(np.flatnonzero(known.parts == FREE))
    if not len(cells):
        return Control(0, None, None)
    after = rolled_up(classes)
    truth = np.array(after.target)[cells.labels]

    def right(module: InferenceModule, roll_up: RollUp) -> float:
        found, _ = predict_with(module, model.header.second_look, cells.inputs)
        return float((_in_classes(found, roll_up, after.reported).argmax(axis=1) == truth).mean())

    of_each = zip(modules, (rolled_up(model.header.class_list), after), strict=True)
    jobs = [in_one_step(partial(right, *one)) for one in of_each]
    return Control(len(cells), *side_by_side(jobs, [1] * len(jobs), "looking at the control cells", observer))


def _published(
    config: AdaptConfig, model: ModelFile, own: LaboratoryCells, rehearsal: Rehearsal, adapted: _Adapted, out: Path
) -> Adaptation:
    change, control = adapted.change, adapted.control
    written = None
    if change.is_better or config.force:
        figures = {
            "layers": str(adapted.depth),
            "slides": own.slides,
            "is_better": change.is_better,
            "control": {"cells": control.cells, "before": control.before, "after": control.after},
            **change.as_dict(),
        }
        written = write_model(out, config, model, own, rehearsal, adapted.network, figures)
    return Adaptation(written, change, control, str(adapted.depth), own.counts, own.slides)


def _tell(result: Adaptation, config: AdaptConfig, out: Path, observer: Observer) -> None:
    control = result.control
    if control.before is not None and control.after is not None and control.after < control.before - _NOTABLE_LOSS:
        observer.warn("the new model knows the package's control cells less well: look at the classes that yours lack")
    if not result.change.is_better:
        what = f"{out} was written nevertheless" if config.force else "no model was written"
        observer.warn(f"the new model is not better than before: {what}")


def _check_classes(own: LaboratoryCells, packaged: PackagedCells) -> None:
    """TrainingError where a class has no cell to learn from: it would be forgotten."""
    there = {own.classes.names[label] for label in {*own.labels.tolist(), *packaged.labels.tolist()}}
    missing = [name for name in own.classes.names if name not in there]
    if missing:
        hint = "Label at least five cells of each."
        told = f"Neither your cells nor those of the package have examples of {', '.join(missing)}"
        raise TrainingError(f"{told}: the model would forget these classes.", hint=hint)


def _identity(config: AdaptConfig, model: ModelFile, own: LaboratoryCells) -> str:
    """Equal for two adaptations whose trainings give the same answers."""
    cells = hashlib.sha256()
    for array in (own.digests, own.labels, own.groups):
        cells.update(array.tobytes())
    options = config.model_dump(mode="json", exclude=not_compared(AdaptConfig))
    content = [_VERSION, model.sha256, torch.__version__, cells.hexdigest(), own.classes.names, options]
    return json.dumps(content, sort_keys=True)
