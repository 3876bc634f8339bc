"""What two runs were made with, as far as it differs."""

from collections.abc import Iterator

from bloodcell_batch.config.base import choices_of, value_type
from bloodcell_batch.config.classify import ClassifyConfig
from bloodcell_batch.results.run_record import RunRecord

_NO_MATTER = {"audit_log", "embeddings", "workers", "overwrite", "allow_failed", "update", "shard", "csv_dialect"}


def what_differs(one: RunRecord, other: RunRecord, *, hides_names: bool = False) -> list[tuple[str, str, str]]:
    """Name, value in A and value in B of model, backend, thresholds, options and versions that are not the same;
    without the options whose text may name somebody or something, if `hides_names`."""
    left, right = dict(_facts(one, hides_names=hides_names)), dict(_facts(other, hides_names=hides_names))
    names = dict.fromkeys((*left, *right))
    found = [(name, left.get(name, "-"), right.get(name, "-")) for name in names]
    return [entry for entry in found if entry[1] != entry[2]]


def _facts(record: RunRecord, *, hides_names: bool) -> Iterator[tuple[str, str]]:
    yield "model", f"{record.model.name}, {record.model.architecture}, SHA-256 {record.model.sha256[:12]}"
    yield "classes", ", ".join(record.model.class_list.names)
    yield "backend", record.backend.description
    for name, value in record.thresholds.items():
        yield f"threshold {name}", f"{value:g}"
    yield "program", record.bloodcell_batch
    for name, option in record.config.items():
        if name not in _NO_MATTER and not (hides_names and _takes_any_text(name)):
            yield f"--{name.replace('_', '-')}", str(option)
    for name, version in record.versions.items():
        yield f"version of {name}", version
    yield "reviews", str(len(record.reviews))


def _takes_any_text(name: str) -> bool:
    """Whether an option of `classify` is neither a number nor a switch nor one of a few words."""
    field = ClassifyConfig.model_fields.get(name)
    return field is None or not (value_type(field.annotation) in {bool, int, float} or choices_of(field.annotation))
