"""`export-fhir`: the differentials as a FHIR R4 bundle of preliminary observations.

The LOINC codes are those whose method is unspecified: a count of classified images is neither a manual nor an
automated count in LOINC's sense. Check them against loinc.org before they enter a record system.
"""

import json
import uuid
from pathlib import Path
from typing import Any

from bloodcell_batch import __version__
from bloodcell_batch.cell_classes import OTHER_LABELS, RESEARCH_USE_ONLY, ClassList
from bloodcell_batch.config.results import FhirConfig
from bloodcell_batch.differential.not_excluded import blasts_note, none_seen
from bloodcell_batch.differential.reference_ranges import NRBC_KEY
from bloodcell_batch.files.publishing import publish_files, text_writer
from bloodcell_batch.progress import SlideDifferential, Withheld, counted
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
_PERCENT = {"unit": "%", "system": "http://unitsofmeasure.org", "code": "%"}
_PER_100 = {"unit": "/100 WBCs", "system": "http://unitsofmeasure.org", "code": "/100{WBCs}"}
_LIMITS = "95 % limits, which cover sampling and every class that unclassified cells could be:"
_ABSENT = {
    Withheld.LOOKS_LIKE_FIELDS: "withheld: the images look like whole fields of view, not like single cells",
    Withheld.TOO_MANY_UNCLASSIFIED: "withheld until unclassified cells are reviewed",
    Withheld.NO_LEUKOCYTES: "no leukocyte was counted",
}
_NAMESPACE = uuid.UUID("6f1d2c1e-52f3-5d1b-9d0e-0a4c4f6f6a5e")  # ours: equal results give equal identifiers


def write_fhir(table: Path, out: Path, config: FhirConfig) -> int:
    """Write the bundle of the results in `table` to `out` and return the number of observations.

    Raises:
        BloodcellBatchError: nothing was written; the text says what to do.
    """
    check_outputs(out, overwrite=config.overwrite, about=table)
    results = load_results(table).pseudonymised(load_pseudonyms(config.pseudonymize, out))
    bundle = fhir_bundle(results)
    publish_files({out: text_writer(json.dumps(bundle, indent=2, ensure_ascii=False, allow_nan=False) + "\n")})
    return len(bundle["entry"])


def fhir_bundle(results: Results) -> dict[str, Any]:
    """A `collection` bundle: per slide one panel and its members, all with the status `preliminary`."""
    entries = []
    blasts = [note] if (note := blasts_note(results.classes.names)) else []
    for slide in results.slides:
        members = [_member(results, slide, name) for name in _measured(results.classes)]
        panel = _observation(results, slide, _PANEL) | {
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
    observation = _observation(results, slide, name)
    notes = [RESEARCH_USE_ONLY]
    if name == NRBC_KEY:
        value, low, high = slide.nrbc_per_100_wbc, slide.nrbc_per_100_wbc_low, slide.nrbc_per_100_wbc_high
        unit = _PER_100
    else:
        share = slide.shares[name]
        value, low, high, unit = share.percent, share.percent_low, share.percent_high, _PERCENT
    if low is not None and high is not None:
        notes.append(f"{_LIMITS} {low:.1f} to {high:.1f} {unit['unit']}")
    if name in slide.shares and (told := none_seen(slide, name)):
        notes.append(f"none seen, {told}")
    if value is None or low is None or high is None:
        # A value or the reason for having none, never both (obs-6).
        coding = {"system": "http://terminology.hl7.org/CodeSystem/data-absent-reason", "code": "unknown"}
        why = slide.withheld or Withheld.NO_LEUKOCYTES
        observation["dataAbsentReason"] = {"coding": [coding], "text": f"{why}: {_ABSENT[why]}"}
    else:
        observation["valueQuantity"] = {"value": round(value, 4), **unit}
    return observation | {"note": [{"text": text} for text in notes]}


def _observation(results: Results, slide: SlideDifferential, what: str) -> dict[str, Any]:
    model = results.record.model
    identity, code = _code(what, results.classes)
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
    return number, {"coding": [{"system": "http://loinc.org", "code": number, "display": display}]}


def _counted(slide: SlideDifferential) -> str:
    of_no_class = sum(slide.outside_counts[name] for name in OTHER_LABELS)
    verified = f"{counted(of_no_class, 'cell')} verified as of no class or as no cell, " if of_no_class else ""
    return (
        f"{counted(slide.wbc_counted, 'leukocyte')} counted ({slide.adequacy}); "
        f"{counted(slide.unclassified, 'cell')} unclassified, "
        f"{verified}{counted(slide.duplicates, 'duplicate')} and {counted(slide.failed, 'failed file')} left out"
    )
