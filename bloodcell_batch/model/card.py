"""The model card: what a model file says of itself, as Markdown."""

from typing import Any

from bloodcell_batch.cell_classes import DEFAULT_CLASSES, RESEARCH_USE_ONLY, rolled_up
from bloodcell_batch.model.file import ModelFile

_FIGURES = """\
The test images were used for nothing else. The figures are PyTorch's in float32; `bloodcell-batch evaluate DATA` prints
those of the backend in use, which differ by a few images where it computes in bfloat16 or int8."""

_CROSS_VALIDATED = """\
From repeated cross-validation: every cell was judged by networks that had not learned it. The thresholds were fitted to
the same cells."""

_LIMITS = """\
- Single cells near the centre of their picture; out of whole fields of view, `classify` cuts them first.
- {classes}
- {laboratories}
  Expect lower accuracy on other laboratories' images and check it with `bloodcell-batch evaluate` on your own labelled
  cells first.
- The data name neither patients nor slides, so the test images can come from the same patients as the training
  images: the figures are optimistic.
- Percentages describe the images in the folder. Whether these are a fair sample of the smear depends on what cropped
  them."""


_EIGHT = """\
Eight classes. Blasts, atypical lymphocytes, plasma cells and smudge cells are none of them: the outlier score flags
  a part of such cells, not all. Band and segmented neutrophils are one class, as are the stages of immature
  granulocytes."""

_OTHERS = """\
{count} classes. A cell of another kind is none of them: the outlier score flags a part of such cells, not all."""


def model_card(model: ModelFile) -> str:
    """Render the card. Every figure comes from the model file's header."""
    header, training, classes = model.header, model.header.training, model.header.class_list
    metrics = header.metrics
    images = training.get("images", {})
    rows = [
        f"| {cell.name} | {cell.role.value} | {images.get(cell.name, '?')} | {_share(figures, 'precision')} "
        f"| {_share(figures, 'recall')} | {_share(figures, 'f1')} |"
        for cell in rolled_up(classes).reported.in_reading_order
        for figures in [metrics.get("per_class", {}).get(cell.name, {})]
    ]
    sections = [
        f"# {header.name}",
        f"**{RESEARCH_USE_ONLY}** Preclassification of single-cell images from peripheral-blood smears.",
        (
            f"- SHA-256: `{model.sha256}`\n- Network: {header.architecture}, "
            f"{header.preprocessing.input_size}x{header.preprocessing.input_size} RGB\n"
            f"- Licence: {header.licence}\n- Training data: {header.attribution}"
        ),
        *(_adapted(training) if "adaptation" in training else _trained(training)),
        (
            f"| accuracy | balanced accuracy | macro F1 | ECE | left for review | accuracy of the rest |\n"
            f"|---|---|---|---|---|---|\n| {_share(metrics, 'accuracy')} | {_share(metrics, 'balanced_accuracy')} "
            f"| {_share(metrics, 'macro_f1')} | {_share(metrics, 'ece')} | {_share(metrics, 'review_share')} "
            f"| {_share(metrics, 'selective_accuracy')} |"
        ),
        "| class | role | images | precision | recall | F1 |\n|---|---|---|---|---|---|\n" + "\n".join(rows),
        "## Decisions",
        _looks(header.second_look)
        + (
            f"Temperature {header.temperature:.3f}. A cell is left unclassified when its top probability is below "
            f"{header.review_threshold:.3f} or its outlier score above {header.outlier.threshold:.2f} "
            f"({header.outlier.description})."
        ),
        "## Limits",
        _LIMITS.format(
            classes=_EIGHT if classes == DEFAULT_CLASSES else _OTHERS.format(count=len(classes)),
            laboratories=_laboratories(training.get("laboratories", {})),
        ),
    ]
    return "\n\n".join(sections) + "\n"


def _laboratories(images: dict[str, dict[str, int]]) -> str:
    """Where the images are from, and what that leaves unknown."""
    if len(images) < 2:
        return "One laboratory, one scanner and one stain in the training data, as far as they say."
    listed = ", ".join(f"{name} {counts['images']:,}" for name, counts in images.items())
    tested = " and ".join(name for name, counts in images.items() if counts["test"])
    return f"Images of {len(images)} laboratories ({listed}); the figures above are of {tested or 'none'} alone."


def _looks(second_look: float) -> str:
    if not second_look:
        return ""
    return (
        f"A cell whose top probability is below {second_look:g} is looked at three more times, turned by quarters; the "
        "mean of the four counts, a little below that limit in part. "
    )


def _share(figures: dict[str, float], key: str) -> str:
    value = figures.get(key)
    return "?" if value is None or value != value else f"{value:.2%}"  # noqa: PLR0124 - NaN is its own opposite


def _trained(training: dict[str, Any]) -> list[str]:
    recipe, split = training.get("recipe", {}), training.get("split", {})
    told = (
        f"{split.get('train', '?')} training, {split.get('validation', '?')} validation (choice of the epoch, "
        f"calibration) and {split.get('test', '?')} test images, stratified, duplicates kept together, seed "
        f"{recipe.get('seed', '?')}. {recipe.get('epochs', '?')} epochs, best: {training.get('best_epoch', '?')}. "
        f"Started from {recipe.get('init_weights') or ('timm weights' if recipe.get('pretrained') else 'scratch')}."
    )
    return ["## Training", told, "## Figures on the test images", _FIGURES]


def _adapted(training: dict[str, Any]) -> list[str]:
    source, figures = training["adapted_from"], training["adaptation"]
    control, before = figures["control"], figures["before"]
    cells = sum(training["images"].values())
    told = (
        f"Adapted from {source['name']} (SHA-256 `{source['sha256']}`) to {cells} cells of a laboratory; layers that "
        f"learned: {figures['layers']}. Before, {_share(before, 'accuracy')} of these cells were right and "
        f"{_share(before, 'review_share')} left for review; of {control['cells']} control cells of PBC, "
        f"{_share(control, 'before')} were right before and {_share(control, 'after')} are now."
    )
    if not figures["is_better"]:
        told += " **It was not better than before, and was written because the user wished it.**"
    return ["## Training", told, "## Figures on the laboratory's cells", _CROSS_VALIDATED]
