"""Settings, options, nodes and progress."""

import argparse
import json
import threading
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from ml.data import DatasetInvalid
from ml.model.feature_weights import WeightsInvalid
from ml.training import progress
from ml.training.__main__ import main
from ml.training.addresses import interfaces, is_local, own_address
from ml.training.config import RECIPES, Recipe, TrainingConfig, with_recipe
from ml.training.nodes import Nodes
from ml.training.options import add_arguments, from_arguments
from ml.training.pace import stragglers
from ml.training.rank import disagreement
from ml.training.rendezvous import split_endpoint
from ml.training.run import prepare
from ml.training.weights import initial_network
from tests.ml import tiny
from tests.ml.training import layout


def parsed(*arguments: str) -> tuple[TrainingConfig, Nodes]:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return from_arguments(parser.parse_args(["--data", "images", *arguments]), Path("out"))


def test_options_become_settings() -> None:
    config, nodes = parsed("--nnodes", "2:3", "--nproc-per-node", "4", "--rdzv-endpoint", "a:29401", "--fresh")
    assert (config.recipe.epochs, config.recipe.batch_size, config.input_size) == (75, 256, 224)
    assert not config.resume
    assert (nodes.minimum, nodes.maximum, nodes.nproc_per_node, nodes.rdzv_id) == (2, 3, 4, "checxray")
    config, nodes = parsed("--recipe", "r2", "--epochs", "3", "--lr", "1e-3", "--device", "cpu")
    assert (config.input_size, config.recipe.train_size) == (512, 512)
    assert (config.recipe.epochs, config.recipe.lr, config.recipe.batch_size) == (3, 1e-3, 96)
    assert (nodes.minimum, nodes.maximum, nodes.nproc_per_node) == (1, 1, 1)
    assert parsed("--input-size", "96")[0].recipe.train_size == 96
    assert [parsed(*given)[0].crop_space.size for given in ((), ("--input-size", "448"), ("--recipe", "r2"))] == [
        256, 512, 576,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--nnodes", "3:2"), "must not be the larger"),
        (("--nnodes", "many"), "MINIMUM:MAXIMUM"),
        (("--rdzv-endpoint", "host:port"), "HOST:PORT"),
        (("--init-weights", "/nowhere.pth"), "no such file"),
    ],
)
def test_wrong_options_are_refused(arguments: tuple[str, ...], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parsed(*arguments)


def test_wrong_recipes_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Recipe(epochs=0)
    with pytest.raises(ValueError, match="lr"):
        Recipe(lr=-1)
    with pytest.raises(ValueError, match="layer_decay"):
        Recipe(layer_decay=1.5)
    with pytest.raises(ValueError, match="bce, asymmetric"):
        Recipe(loss="focal")
    with pytest.raises(ValueError, match="Known: r1, r2, fast, vit, eva-x, convnext"):
        with_recipe("r3")


def test_settings_travel_as_json() -> None:
    for preset in RECIPES.values():
        recipe = replace(preset.recipe, frozen=("features.a",))
        config = TrainingConfig(Path("/a b"), Path("/c"), "vgg16", input_size=preset.input_size, recipe=recipe)
        assert TrainingConfig.from_json(config.to_json()) == config
        assert TrainingConfig.from_json(replace(config, cache=Path("/d")).to_json()).films_cache == Path("/d")
    with pytest.raises(ValueError, match="not the settings"):
        TrainingConfig.from_json(json.dumps({"data": "a"}))
    nodes = Nodes.parse("2", device="cpu", environment={"TRAINING_HOSTS": "a, user@b"})
    assert nodes.hosts == ("a", "user@b")
    assert Nodes(**json.loads(json.dumps(asdict(replace(nodes, hosts=()))))).rdzv_id == nodes.rdzv_id
    with pytest.raises(ValueError, match="names 2 machines"):
        Nodes.parse("3", device="cpu", environment={"TRAINING_HOSTS": "a,b"})
    with pytest.raises(ValueError, match="list of host names"):
        Nodes.parse("2", device="cpu", environment={"TRAINING_HOSTS": "a,-oProxyCommand=b"})


def test_crops_are_cut_from_larger_images_than_the_version_will_see(data_folder: Path, tmp_path: Path) -> None:
    """And the validation patients are the same for every seed, so that networks of several seeds can be averaged."""
    recipe = with_recipe("r1", train_size=64).recipe
    config = TrainingConfig(data_folder, tmp_path / "out", input_size=64, recipe=recipe)
    prepared, other = prepare(config), prepare(replace(config, recipe=replace(recipe, seed=7)))
    assert (prepared.squares.shape, prepared.held.shape) == ((84, 73, 73), (12, 64, 64))
    assert len(prepared.truth) == len(prepared.names) == 96
    assert prepared.split == other.split
    images, rows = prepared.data().held_images(slice(1, None, 5))
    assert images is prepared.held
    assert rows.tolist() == [1, 6, 11]


def test_averages_remember_films_not_steps() -> None:
    small, large = Recipe(batch_size=16, ema_films=1600), Recipe(batch_size=160, ema_films=1600)
    assert small.ema_decay(100) ** 10 == pytest.approx(large.ema_decay(10))
    assert Recipe(ema_films=0).ema_decay(10) == 0
    shares = [Recipe(ema_share=0.02).ema_decay(steps) ** (steps * 0.02) for steps in (100, 5000)]
    assert shares == pytest.approx([np.exp(-1)] * 2)


def test_progress_is_followed_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / progress.FILE
    assert progress.read(path) == []
    seen: list[str] = []
    reader = threading.Thread(
        target=lambda: seen.extend(
            event["event"] for event in progress.follow(path, lambda: "failed" in seen or "artifact" in seen)
        )
    )
    reader.start()
    progress.append(path, "start", world_size=1)
    with path.open("ab") as stream:
        stream.write(b'{"event": "epoch", "lo')
    progress.append(path, "epoch", loss=float("nan"), ranks=[{"rank": 0, "p50": float("inf")}])
    progress.append(path, "artifact", sha256="0")
    reader.join(60)
    assert seen == ["start", "epoch", "artifact"]
    line = progress.read(path)[1]
    assert (line["loss"], line["ranks"][0]["p50"]) == (None, None)
    offset = path.stat().st_size
    progress.append(path, "failed", reason="x")
    assert [event["event"] for event in progress.follow(path, lambda: True, offset)] == ["failed"]
    path.write_bytes(b"")
    progress.append(path, "start")
    assert [event["event"] for event in progress.follow(path, lambda: True, offset)] == ["start"]


def test_the_rank_that_differs_is_named() -> None:
    settings = parsed()[0].shared()
    one = {"host": "a", "problem": "", "code revision": "1", "torch version": "2", "kind of device": "cpu",
           "data set": "d", "initial weights": "w", "settings": settings}  # fmt: skip
    assert disagreement([one, one]) == ""
    for change, text in {
        ("--compress", "on"): "another compress (on instead of auto)",
        ("--micro-batch", "8"): "another micro_batch (8 instead of 0)",
        ("--compile", "off"): "another compile (off instead of auto)",
        ("--no-resume",): "another resume (False instead of True)",
        ("--collective-timeout", "9"): "another collective_timeout (9.0 instead of 300.0)",
        ("--lr", "0.1"): "another lr (0.1 instead of 0.00025)",
    }.items():
        assert text in disagreement([one, {**one, "settings": parsed(*change)[0].shared()}])
    elsewhere = parsed("--cache", "/c", "--checkpoint-minutes", "3", "--name", "x", "--device", "cpu")[0]
    assert disagreement([one, {**one, "settings": elsewhere.shared()}]) == ""
    text = disagreement([one, {**one, "host": "b", "code revision": "9"}])
    assert "Rank 1 on b has another code revision (9 instead of 1) than the chief on a" in text
    assert disagreement([one, {**one, "host": "c", "problem": "No list."}]) == "Rank 1 on c: No list."


def test_slow_ranks_are_named() -> None:
    def lines(*seconds: float | None) -> list[dict[str, float | None]]:
        return [{"rank": rank, "own": value} for rank, value in enumerate(seconds)]

    assert stragglers(lines(1.0, 1.1, 2.0)) == [2]
    assert stragglers(lines(0.001, 0.002, 0.003)) == []
    assert stragglers(lines(None, None)) == []


def test_weights_are_taken_from_an_artifact(tmp_path: Path) -> None:
    folder = tiny.artifact(tmp_path / "artifact")
    made = initial_network(tiny.ARCHITECTURE, str(folder), 0)
    assert made.classifier.weight.detach().numpy() == pytest.approx(
        tiny.network().classifier.weight.detach().numpy(), abs=2e-3
    )
    with pytest.raises(WeightsInvalid, match="give --arch accordingly"):
        initial_network("resnet50", str(folder), 0)


def test_addresses_are_found_without_sending_a_packet() -> None:
    assert split_endpoint("trainer-1:29401") == ("trainer-1", 29401)
    assert split_endpoint("trainer-1") == ("trainer-1", 29400)
    assert split_endpoint("[::1]:5") == ("::1", 5)
    assert is_local("127.0.0.1")
    assert not is_local("192.0.2.1")
    assert own_address("127.0.0.1") == "127.0.0.1"
    assert all(is_local(address) and not address.startswith("127.") for address in interfaces().values())


def test_the_command_says_why_it_stops(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--device", "cpu"]) == 1
    assert "Put a data set's tables" in capsys.readouterr().err
    assert progress.read(tmp_path / "out" / progress.FILE)[-1]["event"] == "failed"


def test_too_few_patients_to_select_by_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    data = layout.make(tmp_path / "data", count=24)
    with pytest.raises(DatasetInvalid, match="2 patients; the gate"):
        prepare(TrainingConfig(data=data, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()
