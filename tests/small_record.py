"""A run record with what every record holds, and no more."""

from bloodcell_batch.results.record_entries import BackendEntry, ModelEntry
from bloodcell_batch.results.run_record import RunRecord


def small_record() -> RunRecord:
    return RunRecord(
        bloodcell_batch="0",
        schema_version="1",
        notice="For research use only",
        started="2026-01-02T03:04:05+00:00",
        finished="2026-01-02T03:04:09+00:00",
        thresholds={"confidence": 0.5, "outlier": 9.0},
        denominator="neutrophil",
        model=ModelEntry(name="small", sha256="0" * 64, architecture="cell_cnn2"),
        backend=BackendEntry(name="pytorch", description="PyTorch on cpu"),
        counts={},
        versions={},
    )
