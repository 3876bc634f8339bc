"""`export-fhir`: the differentials as a FHIR R4 bundle of preliminary observations.

The LOINC codes are those whose method is unspecified: a count of classified images is neither a manual nor an
automated count in LOINC's sense. Check them against loinc.org before they enter a record system.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bloodcell_batch import __version__
from bloodcell_batch.cell_classes import OTHER_LABELS, RESEARCH_USE_ONLY, ClassList
from bloodcell_batch.config.results import FhirConfig
from bloodcell_batch.differential.absolute import AbsoluteCounts, Corrected
from bloodcell_batch.differential.not_excluded import blasts_note, none_seen
from bloodcell_batch.differential.reference_ranges import NRBC_KEY
from bloodcell_batch.files.publishing import publish_files, text_writer
from bloodcell_batch.progress import Observer, SlideDifferential, Withheld, counted
from bloodcell_batch.reports.absolute import CORRECTION, load_absolute_counts
from bloodcell_batch.results.finished import Results, load_results
from bloodcell_batch.results.irreplaceable import check_outputs
from bloodcell_batch.results.pseudonyms import load_pseudonyms

_PANEL = "panel"
LOINC: dict[str, tuple[str, str]] = {
    _PANEL: ("69738-3", "Differential panel, method unspecified - Blood"),
    "neutrophil": ("26511-6", "Neutrophils/Leukocytes in Blood"),
    "lymphocyte": ("26478-8", "Lymphocytes/Leukocytes in Blood"),
    "monocyte": ("26485-3", "Monocytes/Leukocytes in Blood"),
    "eosinophil": ("26450-7", "Eosinophils/Leukocytes in Blood"),
    "basophil": ("30180-4", "Basophils/Leukocytes in Blood"),
    "ig": ("38518-7", "Immature granulocytes/Leukocytes in Blood"),
    NRBC_KEY: ("19048-8", "Nucleated erythrocytes/100 leukocytes [Ratio] in Blood"),
}
LOINC_ABSOLUTE: dict[str, tuple[str, str]] = {
    "neutrophil": ("26499-4", "Neutrophils [#/volume] in Blood"),
    "lymphocyte": ("26474-7", "Lymphocytes [#/volume] in Blood"),
    "monocyte": ("26484-6", "Monocytes [#/volume] in Blood"),
    "eosinophil": ("26449-9", "Eosinophils [#/volume] in Blood"),
    "basophil": ("26444-0", "Basophils [#/volume] in Blood"),
    "ig": ("51584-1", "Immature granulocytes [#/volume] in Blood"),
}
_LEUKOCYTES = "leukocytes"
_LOINC_LEUKOCYTES = ("26464-8", "Leukocytes [#/volume] in Blood")
_LOINC_CORRECTED = ("12227-5", "Leukocytes [#/volume] corrected for nucleated erythrocytes in Blood")
_PERCENT = {"unit": "%", "system": "http://unitsofmeasure.org", "code": "%"}
_BILLIONS_PER_L = {"unit": "10*9/L", "system": "http://unitsofmeasure.org", "code": "10*9/L"}
_PER_100 = {"unit": "/100 WBCs", "system": "http://unitsofmeasure.org", "code": "/100{WBCs}"}
_LIMITS = "95 % limits, which cover sampling and every class that unclassified cells could be:"
_ABSENT = {
    Withheld.TOO_MANY_UNCLASSIFIED: "withheld until unclassified cells are reviewed",
    Withheld.NO_LEUKOCYTES: "no leukocyte was counted",
}
_NAMESPACE = uuid.UUID("6f1d2c1e-52f3-5d1b-9d0e-0a4c4f6f6a5e")  # ours: equal results give equal identifiers


def write_fhir(table: Path, out: Path, config: FhirConfig, observer: Observer) -> int:
    """Write the bundle of the results in `table` to `out` and return the number of observations.

    Raises:
        BloodcellBatchError: nothing was written; the text says what to do.
    """
    check_outputs(out, overwrite=config.overwrite, about=table)
    names = load_pseudonyms(config.pseudonymize, out)
    results = load_results(table).pseudonymised(names)
    absolute = load_absolute_counts(config.wbc, results, names)
    for remark in absolute.remarks:
        observer.warn(remark)
    bundle = fhir_bundle(results, absolute.by_slide)
    publish_files({out: text_writer(json.dumps(bundle, indent=2, ensure_ascii=False, allow_nan=False) + "\n")})
    return len(bundle["entry"])


def fhir_bundle(results: Results, absolute: Mapping[str, AbsoluteCounts] | None = None) -> dict[str, Any]:
    """A `collection` bundle: per slide one panel and its members, all with the status `preliminary`; slides in
    `absolute` have absolute counts, too."""
    entries = []
    blasts = [note] if (note := blasts_note(results.classes.names)) else []
    for slide in results.slides:
        members = [_member(results, slide, name) for name in _measured(results.classes)]
        if absolute and slide.slide_id in absolute:
            members += _absolute_members(results, slide, absolute[slide.slide_id])
        panel = _observation(results, slide, *_code(_PANEL, results.classes)) | {
            "hasMember": [{"reference": f"urn:uuid:{member['id']}"} for member in members],
            "note": [{"text": text} for text in (RESEARCH_USE_ONLY, _counted(slide), *blasts, *slide.alerts)],
        }
        entries += [panel, *members]
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "timestamp": results.record.finished,
        "entry": [{"fullUrl": f"urn:uuid:{entry['id']}", "resource": entry} for entry in entries],
    }


def _measured(classes: ClassList) -> tuple[str, ...]:
    return (*classes.leukocytes, *([NRBC_KEY] if classes.nrbc else []))


def _member(results: Results, slide: SlideDifferential, name: str) -> dict[str, Any]:
    observation = _observation(results, slide, *_code(name, results.classes))
    if name == NRBC_KEY:
        rate = (slide.nrbc_per_100_wbc, slide.nrbc_per_100_wbc_low, slide.nrbc_per_100_wbc_high)
        return _measurement(observation, slide, *rate, unit=_PER_100)
    share = slide.shares[name]
    notes = [f"none seen, {told}"] if (told := none_seen(slide, name)) else []
    return _measurement(
        observation, slide, share.percent, share.percent_low, share.percent_high, unit=_PERCENT, notes=notes
    )


def _absolute_members(results: Results, slide: SlideDifferential, counts: AbsoluteCounts) -> list[dict[str, Any]]:
    """The leukocytes and each class per volume."""
    corrected = counts.corrected is not Corrected.NOBODY
    number, display = _LOINC_CORRECTED if corrected else _LOINC_LEUKOCYTES
    said = f"the analyser said {counts.given.wbc:g} x 10*9/L; {CORRECTION[counts.corrected]}"
    members = [
        _measurement(
            _observation(results, slide, number, _loinc(number, display)),
            slide,
            *(counts.leukocytes.value, counts.leukocytes.low, counts.leukocytes.high),
            unit=_BILLIONS_PER_L,
            notes=[said],
        )
    ]
    for name, found in counts.classes.items():
        known = LOINC_ABSOLUTE.get(name)
        identity = known[0] if known else f"{name}, absolute"
        code = _loinc(*known) if known else {"text": f"{results.classes.by_name[name].title}, 10*9/L"}
        observation = _observation(results, slide, identity, code)
        members.append(_measurement(observation, slide, found.value, found.low, found.high, unit=_BILLIONS_PER_L))
    return members


def _measurement(
    observation: dict[str, Any],
    slide: SlideDifferential,
    value: float | None,
    low: float | None,
    high: float | None,
    *,
    unit: dict[str, str],
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """The observation with a value or the reason for having none, never both (obs-6), and its limits as a note."""
    texts = [RESEARCH_USE_ONLY]
    if low is not None and high is not None:
        digits = 2 if unit is _BILLIONS_PER_L else 1
        texts.append(f"{_LIMITS} {low:.{digits}f} to {high:.{digits}f} {unit['unit']}")
    if value is None:
        coding = {"system": "http://terminology.hl7.org/CodeSystem/data-absent-reason", "code": "unknown"}
        why = slide.withheld or Withheld.NO_LEUKOCYTES
        observation["dataAbsentReason"] = {"coding": [coding], "text": f"{why}: {_ABSENT[why]}"}
    else:
        observation["valueQuantity"] = {"value": round(value, 4), **unit}
    return observation | {"note": [{"text": text} for text in (*texts, *notes)]}


def _observation(results: Results, slide: SlideDifferential, identity: str, code: dict[str, Any]) -> dict[str, Any]:
    """An observation without a value; `identity` tells it from the others of its slide."""
    model = results.record.model
    verified = any(row.verified_label for row in results.by_slide[slide.slide_id])
    by_whom = "some or all cells verified by a person" if verified else "not verified by a person"
    return {
        "resourceType": "Observation",
        "id": str(uuid.uuid5(_NAMESPACE, f"{results.results_id}/{slide.slide_id}/{identity}/{len(results.reviews)}")),
        "status": "preliminary",
        "category": [
            {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/observation-category",
                        "code": "laboratory",
                        "display": "Laboratory",
                    }
                ]
            }
        ],
        "code": code,
        "issued": results.record.finished,
        "method": {"text": f"preclassification of cell images, {by_whom}"},
        "specimen": {"identifier": {"value": slide.slide_id}, "display": f"slide {slide.slide_id}"},
        "device": {"display": f"bloodcell-batch {__version__}, model {model.name} sha256 {model.sha256}"},
    }


def _code(what: str, classes: ClassList) -> tuple[str, dict[str, Any]]:
    """What identifies an observation among those of its slide, and its code: LOINC's, or a text for a class that this
    table has no code of."""
    known = LOINC.get(what)
    if known is None:
        return what, {"text": f"{classes.by_name[what].title}, % of leukocytes"}
    number, display = known
    return number, _loinc(number, display)


def _loinc(number: str, display: str) -> dict[str, Any]:
    return {"coding": [{"system": "http://loinc.org", "code": number, "display": display}]}


def _counted(slide: SlideDifferential) -> str:
    of_no_class = sum(slide.outside_counts[name] for name in OTHER_LABELS)
    verified = f"{counted(of_no_class, 'cell')} verified as of no class or as no cell, " if of_no_class else ""
    return (
        f"{counted(slide.wbc_counted, 'leukocyte')} counted ({slide.adequacy}); "
        f"{counted(slide.unclassified, 'cell')} unclassified, "
        f"{verified}{counted(slide.duplicates, 'duplicate')} and {counted(slide.failed, 'failed file')} left out"
    )
