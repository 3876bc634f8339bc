from typing import Any

import pytest

from bloodcell_batch.progress import ForwardingObserver, NullObserver, RunCounts, file_size


class _Listening(NullObserver):
    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def __getattribute__(self, name: str) -> Any:  # noqa: ANN401 - any event
        if name.startswith("_") or name == "heard":
            return super().__getattribute__(name)
        return lambda *values, **fields: self.heard.append((name, *values, fields))


def test_every_event_is_passed_on() -> None:
    listening, counts = _Listening(), RunCounts()
    observer = ForwardingObserver(listening)
    observer.note("a", b=1)
    observer.warn("c", d=2)
    observer.started("task", 3)
    observer.advanced(1, counts)
    observer.finished()
    observer.slides(())
    assert listening.heard == [
        ("note", "a", {"b": 1}),
        ("warn", "c", {"d": 2}),
        ("started", "task", 3, {}),
        ("advanced", 1, counts, {}),
        ("finished", {}),
        ("slides", (), {}),
    ]
    events = {name for name in vars(NullObserver) if not name.startswith("_")}
    assert {name for name, *_ in listening.heard} == events


@pytest.mark.parametrize(
    ("size", "said"),
    [(12, "1 kB"), (45_100, "46 kB"), (999_000, "999 kB"), (999_001, "1.0 MB"), (12_345_678, "12.3 MB")],
)
def test_no_file_is_of_no_size(size: int, said: str) -> None:
    assert file_size(size) == said
