"""Runs the training of a predictive tokenizer to its last step."""

from contextlib import ExitStack
from pathlib import Path

import torch

from training.config import save_config
from training.predictive.config import PredictiveConfig, PredictiveTrainConfig
from training.predictive.network import PredictiveNetwork, State
from training.predictive.trainer import PredictiveRun
from training.predictive.validation import look, read_sets
from training.run import provenance
from training.run.journal import Journal
from training.run.stop import stoppable
from training.run.throughput import flop_of, peak


def train(config: PredictiveTrainConfig, folder: Path, resume: bool) -> bool:
    """Run a training to its last step, with a checkpoint now and then; return whether it came to the end.

    Raises what `PredictiveRun` and its methods raise.
    """
    if config.optim.threads:
        torch.set_num_threads(config.optim.threads)
    sets = read_sets(config)
    run = PredictiveRun(config, folder)
    if resume:
        run.load()
    else:
        run.begin()
    folder.mkdir(parents=True, exist_ok=True)
    save_config(config, folder / "config.yaml")
    provenance.write(config.data, config.seed, folder, run.step)
    precision = torch.bfloat16 if config.optim.bfloat16 else torch.float32
    at_peak = peak(run.device, precision) / (config.data.hops * _flop_of_hop(config.model))
    with ExitStack() as stack:
        stack.callback(run.close)
        journal = stack.enter_context(
            Journal(folder, config.name, run.step, config.optim.steps, config.data.batch, at_peak)
        )
        stop = stack.enter_context(stoppable())
        while run.step < config.optim.steps and not stop.asked:
            journal.add(run.step, run.advance(), run.waited)
            at_end = run.step == config.optim.steps
            if at_end or run.step % config.save_every == 0:
                run.save()
            if sets and (at_end or run.step % config.validate_every == 0) and not stop.asked:
                with journal.pause():
                    journal.unseen(run.step, look(run.kept, sets))
        run.save()
        if stop.asked:
            journal.say(f"stopped at step {run.step}; go on with python -m training.train --resume {folder}")
    return run.step >= config.optim.steps


def _flop_of_hop(c: PredictiveConfig) -> float:
    """Return the floating-point operations of training on one hop of one person."""
    network = PredictiveNetwork(c)
    box, nothing = torch.ones(1, c.dims + 1), torch.zeros(1, c.size)

    def forward() -> None:
        prediction = network.predict(State.fresh(1, c), box)
        network.search(prediction, nothing, nothing)
        network.decode(prediction.with_axis(2), torch.zeros(1, 2, c.directions), torch.ones(1, 2, 1))

    return flop_of(forward)
