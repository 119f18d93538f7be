"""Ranks as the elastic agent starts them, without the agent: how they number and compare themselves, and end."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from ml.training import progress
from ml.training.addresses import free_port
from ml.training.config import TrainingConfig
from ml.training.processes import TrainingFailed
from ml.training.rank_store import RankStore
from tests.ml.training.rank_tasks import in_processes, rank_process
from tests.ml.training.test_launch import settings


def test_ranks_are_numbered_from_the_chiefs_node_and_all_end_well(data_folder: Path, tmp_path: Path) -> None:
    """The elastic agents' rank 1 is on the chief's node."""
    config = settings(data_folder, tmp_path / "out", epochs=1)
    assert in_processes(2, rank_process, tmp_path, free_port(), [config, config]) == [(False, ""), (True, "")]
    assert [event["event"] for event in progress.read(tmp_path / "out" / progress.FILE)][-1] == "artifact"


def failure(tmp_path: Path, *configs: TrainingConfig) -> str:
    """The reason that all ranks give."""
    (reason,) = {why for _, why in in_processes(len(configs), rank_process, tmp_path, free_port(), list(configs))}
    return str(reason)


def test_missing_data_on_one_node_is_the_reason_on_all(data_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    config = settings(data_folder, tmp_path / "out")
    reason = failure(tmp_path, replace(config, data=tmp_path / "empty"), config)
    assert reason.startswith("Rank 1 on ")
    assert "no table of a known data set" in reason


def test_other_settings_on_one_node_are_the_reason_on_all(data_folder: Path, tmp_path: Path) -> None:
    config = settings(data_folder, tmp_path / "out")
    assert "has another micro_batch (0 instead of 4) than the chief" in failure(
        tmp_path, config, replace(config, micro_batch=4)
    )


def test_what_all_ranks_find_wrong_is_not_tried_again(data_folder: Path, tmp_path: Path) -> None:
    config = settings(data_folder, tmp_path / "out")
    wrong = replace(config, recipe=replace(config.recipe, batch_size=4000))
    assert "fewer than one batch of 4000" in failure(tmp_path, wrong, wrong)
    assert not (tmp_path / "out" / "artifact").exists()


def rank_alone(rank: int, size: int, port: int, number: int) -> None:
    os.environ.update({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "RANK": str(number)})
    RankStore(is_chief_node=False, timeout=1)


@pytest.mark.parametrize("number", [0, 1])
def test_a_rank_that_no_other_reaches_names_the_announced_address(number: int) -> None:
    port = free_port()
    with pytest.raises(TrainingFailed, match=f"2 ranks met at 127.0.0.1:{port}.*give --rdzv-endpoint an address"):
        in_processes(1, rank_alone, port, number)
