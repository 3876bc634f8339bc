import threading
import time

import pytest

from bloodcell_batch.parallel.ahead import ahead


def _no_hang(_item: int) -> str:
    pytest.fail("nothing hangs here")


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_results_come_in_order(workers: int) -> None:
    def work(item: int) -> str:
        time.sleep(0.002 * (item % 3))
        return str(item)

    assert list(ahead(range(30), work, workers, 7, 60.0, _no_hang)) == [str(item) for item in range(30)]


def test_what_hangs_costs_its_own_result_only() -> None:
    forever = threading.Event()

    def work(item: int) -> str:
        if item in {1, 2, 5}:  # more than there are threads
            forever.wait()
        return str(item)

    found = list(ahead(range(8), work, 2, 8, 1.5, lambda item: f"{item} hung"))
    assert found == ["0", "1 hung", "2 hung", "3", "4", "5 hung", "6", "7"]
    forever.set()


def test_an_item_is_not_blamed_for_the_time_it_waits_behind_others() -> None:
    def work(item: int) -> str:
        time.sleep(0.3)
        return str(item)

    # Six items of 0.3 s on one thread: the last waits longer than the limit before its turn.
    assert list(ahead(range(6), work, 1, 6, 1.4, _no_hang)) == list("012345")


def test_what_is_done_does_not_wait_for_what_takes_long() -> None:
    slow = threading.Event()

    def work(item: int) -> int:
        if item:
            assert slow.wait(30)
        return item

    results = ahead(range(20), work, 2, 20, 60.0, _no_hang)
    assert next(results) == 0
    slow.set()
    assert list(results) == list(range(1, 20))


def test_the_consumer_is_not_woken_for_each_result(monkeypatch: pytest.MonkeyPatch) -> None:
    woken = 0
    wait = threading.Event.wait

    def counted(self: threading.Event, timeout: float | None = None) -> bool:
        nonlocal woken
        woken += not self.is_set()
        return wait(self, timeout)

    def work(item: int) -> int:
        time.sleep(0.002)
        return item

    monkeypatch.setattr("bloodcell_batch.parallel.ahead._NAP_S", 10.0)  # whatever else the machine does
    results = ahead(range(160), work, 1, 32, 60.0, _no_hang)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Event, "wait", counted)
        assert list(results) == list(range(160))
    assert woken <= 30


def test_the_consumer_does_not_sleep_while_the_workers_run_out_of_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bloodcell_batch.parallel.ahead._NAP_S", 30.0)
    sixth = threading.Event()

    def work(item: int) -> bool:
        if item == 5:
            sixth.set()
        return item != 4 or sixth.wait(10)  # the window has room for the sixth only when the first was taken

    assert all(ahead(range(9), work, 2, 5, 60.0, _no_hang))


def test_an_error_is_raised_where_the_result_is_asked_for() -> None:
    def work(item: int) -> str:
        if item == 2:
            raise ValueError("a bug")
        return str(item)

    results = ahead(range(5), work, 2, 5, 60.0, _no_hang)
    assert [next(results), next(results)] == ["0", "1"]
    with pytest.raises(ValueError, match="a bug"):
        next(results)


def test_no_thread_is_left_when_the_consumer_stops() -> None:
    others = set(threading.enumerate())
    results = ahead(range(1000), str, 3, 50, 60.0, _no_hang)
    assert next(results) == "0"
    results.close()  # type: ignore[attr-defined]
    assert set(threading.enumerate()) <= others
