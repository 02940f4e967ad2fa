"""Data-parallel training with torch's DistributedDataParallel: one process per device, each with batches of its own.

Gradients are averaged by DDP; the codebook's moving averages and revived codes are shared by
vector-quantize-pytorch, which does so whenever a process group is there.
"""

import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing.spawn import spawn


def rank() -> int:
    """Return this process's number; 0 writes and talks."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def choose_device(wanted: str) -> torch.device:
    """Return this process's device. wanted: "auto" for a GPU where there is one, else a name that torch knows.

    Raises ValueError where the machine has no such device.
    """
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise ValueError(f"optim.device must be auto, cpu or cuda, not {wanted!r}") from None
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError("optim.device=cuda, but torch finds no GPU here: use optim.device=cpu")
        device = torch.device("cuda", device.index if device.index is not None else rank())
        torch.cuda.set_device(device)
    return device


def wants_gpu(wanted: str) -> bool:
    """Whether this setting of the device means a GPU on this machine."""
    return torch.cuda.is_available() and wanted != "cpu"


def wrap(network: nn.Module, device: torch.device) -> nn.Module:
    """Return the network so that its gradients are averaged over all processes; itself where there is only one."""
    if world() == 1:
        return network
    # Buffers are not copied around in every step: the codebook's are kept alike by the quantizer itself.
    devices = [device] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(network, device_ids=devices, forward_sync_buffers=False)


def any_of_all(flag: bool) -> bool:
    """Whether any process says so: a decision that all of them must take at the same step."""
    if world() == 1:
        return flag
    votes = torch.tensor(float(flag), device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(votes, op=dist.ReduceOp.MAX)
    return bool(votes)


def launch(devices: int, work: Callable[[], object], backend: str) -> None:
    """Run `work` in this many connected processes, and wait for all; an error in one ends them all.

    work: must be picklable. backend: "nccl" for GPUs, "gloo" for CPUs.
    """
    with tempfile.TemporaryDirectory() as folder:
        store = (Path(folder) / "meeting").as_uri()
        # A Ctrl-C reaches every process; the workers finish their step and save, and this one waits for them.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            spawn(_enter, (devices, store, backend, work), nprocs=devices)
        finally:
            signal.signal(signal.SIGINT, before)


def _enter(number: int, devices: int, store: str, backend: str, work: Callable[[], object]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    dist.init_process_group(backend, init_method=store, rank=number, world_size=devices)
    try:
        work()
    finally:
        dist.destroy_process_group()
