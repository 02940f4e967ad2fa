"""Data-parallel training: after some steps all processes hold the same weights, the codebook among them."""

from functools import partial
from pathlib import Path

import pytest
import torch

from commands import call
from training import train as command
from training.config import TrainConfig
from training.run import distributed as parallel
from training.run.batches import BatchLoader, make_sampler
from training.run.trainer import Run
from training_samples import ADVERSARY, SMALL, small_config, write_config, write_recordings


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recordings(tmp_path_factory.mktemp("recordings"))


def steps(config: TrainConfig, folder: Path) -> None:
    """Take all steps in this process and leave its networks and its first batch in the folder."""
    torch.set_num_threads(1)
    feed = BatchLoader(make_sampler(config), config, parallel.rank())
    first, _ = feed.take(0)
    run = Run(config, folder)
    for _ in range(config.optim.steps):
        run.advance(feed)
    feed.close()
    assert run.adversary
    state = {"network": run.network.state_dict(), "adversary": run.adversary.network.state_dict(), "first": first}
    torch.save(state, folder / f"{parallel.rank()}.pt")


@pytest.mark.timeout(900)
def test_two_processes_hold_the_same_weights_codebook_and_adversary(recordings: Path, tmp_path: Path) -> None:
    # Revival on, so that codes replaced from one process's batch must reach the other.
    config = small_config(tmp_path / "small.yaml", recordings, *ADVERSARY, "optim.dead_share=0.5")
    parallel.launch(2, partial(steps, config, tmp_path), "gloo")
    one, other = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert not torch.equal(one["first"], other["first"])
    assert one["network"]["quantizer._codebook.initted"].all()
    for part in ("network", "adversary"):
        for name, tensor in one[part].items():
            torch.testing.assert_close(other[part][name], tensor, rtol=0, atol=0, msg=name)


@pytest.mark.timeout(900)
def test_the_command_trains_on_two_devices(recordings: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = write_config(tmp_path / "small.yaml", recordings)
    assert call(command, [str(file), *SMALL, "--devices", "2", "optim.steps=4", "optim.device=cpu"]) == 0
    assert torch.load(tmp_path / "runs" / "small" / "checkpoint.pt")["step"] == 4
    assert capfd.readouterr().out.count("step 4 of 4") == 1  # one process talks
    assert call(command, [str(file), *SMALL, "--devices", "2", "name=lost", "data.root=nowhere"]) == 2
    assert "nowhere" in capfd.readouterr().err.splitlines()[-1]


def test_one_process_is_not_wrapped() -> None:
    layer = torch.nn.Linear(2, 2)
    assert parallel.wrap(layer, torch.device("cpu")) is layer
    assert (parallel.rank(), parallel.world()) == (0, 1)
    assert parallel.any_of_all(True)
    assert not parallel.any_of_all(False)


def test_a_device_that_is_not_there_is_one_clear_error() -> None:
    with pytest.raises(ValueError, match=r"optim\.device must be auto, cpu or cuda"):
        parallel.choose_device("abacus")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match=r"torch finds no GPU here: use optim\.device=cpu"):
            parallel.choose_device("cuda")
