import os
from pathlib import Path

import pytest

from bloodcell_batch.parallel import cpus
from bloodcell_batch.parallel.cpus import available_cpus


@pytest.fixture
def quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cpu.max"
    monkeypatch.setattr(cpus, "_CGROUP_QUOTA", path)
    return path


def _pretend(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(count)), raising=False)


def test_the_real_machine_has_at_least_one() -> None:
    assert 1 <= available_cpus() <= (os.cpu_count() or 1)


@pytest.mark.usefixtures("quota")
def test_the_affinity_mask_counts_where_there_is_no_quota() -> None:
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("no affinity on this system")
    before = os.sched_getaffinity(0)
    assert available_cpus() == len(before)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert available_cpus() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.usefixtures("quota")
def test_without_affinity_the_machines_cpus_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert available_cpus() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cpus() == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000\n", 8),
        ("400000 100000\n", 4),
        ("250000 100000\n", 3),
        ("10000 100000\n", 1),
        ("0 100000\n", 1),
        ("6400000 100000\n", 8),
        ("50000 50000\n", 1),
        ("", 8),
        ("400000\n", 8),
    ],
)
def test_the_quota_limits_the_affinity(quota: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: int) -> None:
    _pretend(monkeypatch, 8)
    quota.write_text(text, encoding="ascii")
    assert available_cpus() == expected
