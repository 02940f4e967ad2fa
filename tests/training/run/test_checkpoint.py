"""Training that begins with other weights: a run's or a tokenizer's, of another hop, or nothing that fits."""

from pathlib import Path

import pytest
import torch

from commands import call
from training import train as command
from training.evaluation.validation import look, read_sets
from training.export import export
from training.run.checkpoint import build, load_network, start_from
from training.train import train
from training_samples import small_config, write_recordings


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recordings(tmp_path_factory.mktemp("recordings"))


@pytest.fixture(scope="module")
def run(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run that came to its end."""
    folder = tmp_path_factory.mktemp("run")
    train(small_config(folder / "small.yaml", recordings), folder / "run", resume=False)
    return folder / "run"


def test_of_the_same_configuration_all_is_taken(run: Path, recordings: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path / "small.yaml", recordings)
    network = build(config)
    said = start_from(network, str(run))
    before = load_network(run)
    total = len(list(network.parameters()))
    assert said == f"{total} of {total} weights begin as those of {run}"
    for name, value in before.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], value, rtol=0, atol=0)
    sets = read_sets(config)
    assert look(network.eval(), sets) == look(before, sets)


def test_a_tokenizer_gives_its_weights_and_its_codebook(run: Path, recordings: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "tokenizer")
    network = build(small_config(tmp_path / "small.yaml", recordings))
    start_from(network, str(tmp_path / "tokenizer"))
    for name, value in load_network(run).state_dict().items():
        # Matrices ship in half precision.
        torch.testing.assert_close(network.state_dict()[name], value, rtol=1e-3, atol=1e-4)


def test_of_another_hop_what_fits_is_taken(
    run: Path, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small_config(tmp_path / "small.yaml", recordings, "model.hop=2", "data.hops=4", f"start_from={run}")
    train(config, tmp_path / "other", resume=False)
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "begin as" in line)
    taken, _, total, *_ = line.split()
    assert 0.5 * int(total) < int(taken) < int(total)


def test_what_is_no_run_or_fits_nothing(recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_config(tmp_path / "small.yaml", recordings)
    assert call(command, [str(tmp_path / "small.yaml"), "start_from=nowhere"]) == 5
    assert "no tokenizer 'nowhere': give the name of a shipped one" in capsys.readouterr().err
    with pytest.raises(ValueError, match="start_from: no weight of heatmap2d-f8 fits"):
        start_from(torch.nn.Linear(3, 3), "heatmap2d-f8")
