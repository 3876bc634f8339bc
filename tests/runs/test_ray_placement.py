from typing import Any

import pytest

from bloodcell_batch.errors import BackendError
from bloodcell_batch.records import ImageFile
from bloodcell_batch.runs.ray_placement import beginning_of_slide, group_size, slide_groups, worker_places


def node(name: str, **resources: float) -> dict[str, Any]:
    return {"NodeID": name, "Alive": True, "Resources": resources}


class TestPlaces:
    def test_one_worker_per_node_takes_its_processors(self) -> None:
        places = worker_places([node("a", CPU=8.0), node("b", CPU=4.0), node("head", memory=1.0)], None)
        assert [(place.node_id, place.cpus, place.gpus) for place in places] == [("a", 8, 0), ("b", 4, 0)]

    def test_workers_of_a_given_size(self) -> None:
        places = worker_places([node("a", CPU=8.0), node("b", CPU=3.0), node("c", CPU=2.0)], 3)
        assert [(place.node_id, place.cpus) for place in places] == [("a", 3), ("a", 3), ("b", 3), ("c", 2)]

    def test_zero_decoding_threads_still_need_a_worker(self) -> None:
        assert [place.cpus for place in worker_places([node("a", CPU=8.0)], 0)] == [8]

    def test_gpus_come_first_and_share_the_processors_of_their_node(self) -> None:
        places = worker_places([node("a", CPU=16.0), node("b", CPU=16.0, GPU=2.0), node("c", CPU=4.0, GPU=1.0)], None)
        assert [(place.node_id, place.cpus, place.gpus) for place in places] == [("b", 8, 1), ("b", 8, 1), ("c", 4, 1)]

    def test_dead_and_empty_nodes_have_none(self) -> None:
        dead = node("a", CPU=8.0) | {"Alive": False}
        with pytest.raises(BackendError, match="no processors"):
            worker_places([dead, node("b")], None)


def test_groups_are_whole_slides_of_about_the_size() -> None:
    files = [
        ImageFile(f"{slide}/{i}", slide, 1, 0) for slide, count in (("a", 3), ("b", 9), ("c", 1)) for i in range(count)
    ]
    groups = slide_groups(files, 4)
    assert [[file.slide_id for file in group].count("b") for group in groups] == [9, 0]
    assert [file for group in groups for file in group] == files
    assert slide_groups([], 4) == []
    assert [beginning_of_slide(files, position) for position in range(len(files))] == [
        [file.slide_id for file in files].index(file.slide_id) for file in files
    ]


def test_groups_fill_batches_and_leave_some_for_every_worker() -> None:
    assert group_size(1_000_000, 4, 256) == 2048
    assert group_size(8_000, 4, 256) == 500
    assert group_size(10, 4, 256) == 256
