"""Whether a model file's own figures show that the model is better than chance."""

import math

from pydantic import BaseModel, Field, NonNegativeInt, ValidationError

from bloodcell_batch.errors import ModelRefusedError
from bloodcell_batch.model.file import ModelFile, ModelHeader
from bloodcell_batch.progress import Observer
from bloodcell_batch.statistics.binomial import chance_of_at_least

CHANCE = 0.01
"""A model is better than chance if naming always the commonest class would be right as often in less than this share
of all samples of so many images."""

_FEW_IMAGES = 1000


class _OfClass(BaseModel):
    """Test images of a class, and the share (0-1) that the model is right about; None without any."""

    images: NonNegativeInt
    recall: float | None = Field(ge=0, le=1)

    @property
    def right(self) -> float:
        """Right answers; a mean over repetitions may be a fraction."""
        return self.images * (self.recall or 0)


class _Figures(BaseModel):
    """What is needed of a header's figures."""

    per_class: dict[str, _OfClass]


def doubt(header: ModelHeader) -> str:
    """Why a model's own figures don't show that it is better than chance, as the rest of a sentence about the model;
    empty if they do.

    The figures are of images that its own training never saw. The number of right answers is compared, by an exact
    binomial test, with that of a program that always names the commonest class, the best without looking. Balanced
    accuracy has no exact test, and single images of rare classes would decide about it.
    """
    try:
        classes = _Figures.model_validate(header.metrics).per_class.values()
    except ValidationError:
        return "holds no figures of test images: it was never trained, or not by this program"
    right = math.floor(sum(one.right for one in classes) + 1e-6)
    sizes = [one.images for one in classes]
    images, commonest = sum(sizes), max(sizes, default=0)
    if not images:
        return "was measured on no test images"
    if chance_of_at_least(right, images, commonest / images) <= CHANCE:
        return ""
    return (
        f"is not better than chance at its own test images: it was right about {right:,} of {images:,}, and always "
        f"naming the commonest class is right about {commonest:,}"
    )


def require_evidence(model: ModelFile, observer: Observer, *, force: bool) -> None:
    """Refuse a model whose own figures don't show that it is better than chance; warn of one that had little to learn
    from.

    Args:
        model: the model.
        observer: told instead, with `force`.
        force: use it all the same.

    Raises:
        ModelRefusedError: they don't.
    """
    why = doubt(model.header)
    if why and not force:
        hint = (
            "Use another model, train this one on, or measure it with `bloodcell-batch evaluate`; --force uses it all "
            "the same, and the run record says so."
        )
        raise ModelRefusedError(f"The model {model.path} {why}.", hint=hint)
    if why:
        observer.warn(f"the model {model.header.name} {why}; --force uses it all the same")
    elif _learnt_little(model.header):
        observer.warn(
            f"the model {model.header.name} was trained from random weights on fewer than {_FEW_IMAGES:,} images: "
            "expect more errors than its figures say; train --init-weights default starts from one that knows cells"
        )


def _learnt_little(header: ModelHeader) -> bool:
    recipe, split = header.training.get("recipe"), header.training.get("split")
    if not isinstance(recipe, dict) or not isinstance(split, dict):
        return False
    started = recipe.get("pretrained") or recipe.get("init_weights")
    images = split.get("train")
    return not started and isinstance(images, int) and images < _FEW_IMAGES
