"""A long run: does anything grow?"""

import signal
import time
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import psutil

from .result import Figure, Plan, below, exactly, told
from .rig import ROOT, Child, free_address, killed_at_end, producer, subscriber, wait_for

SHARED = ROOT.parent / "shared"

EVERY = 1.0
WARM = 0.2
"""Share of the run at its start that is not judged: caches fill, libraries settle."""

LONG = 10.0
"""Minutes from which a run says something about memory: the pose model's allocator settles after some four."""

FLAT = 8.0
"""MiB by which the memory of a process may rise over the judged time, by a straight line through it."""


def run(plan: Plan) -> list[Figure]:
    """Run a producer of looped video and four readers: one prints, one decodes, one logs, one hears one person.

    Memory, file handles and threads of all five are taken every second; after the first fifth they must be flat,
    memory in runs of ten minutes or more.
    Without the video and the pose model beside the checkout the built-in motion of 16 people takes their place.
    """
    minutes = 0.25 if plan.quick else plan.minutes
    video, model = SHARED / "data/video/two_people_indoor.mp4", SHARED / "models/pose_landmarker_full.task"
    real = video.is_file() and model.is_file() and not plan.quick
    source = ["--video", str(video), "--loop", "--pose-model", str(model)] if real else ["--demo"]
    source += [] if real else ["--max-persons", "16"]
    address = free_address()
    flags = {"prints": [], "decodes": ["--decode"], "logs": ["--log", str(plan.scratch / "tokens.db")]}
    flags["hears one person"] = ["--stream", "video" if real else "demo", "--track", "0"]
    with killed_at_end([]) as children:

        def start(command: Sequence[str]) -> Child:
            children.append(Child(command))
            return children[-1]

        sender = start(producer(address, *source))
        readers = {name: start(subscriber(address, *more)) for name, more in flags.items()}
        wait_for(lambda: all(reader.out for reader in readers.values()), "a first packet at every reader")
        samples = _watch({"producer": sender, **readers}, 60 * minutes)
        sender.send(signal.SIGTERM)
        codes = [sender.end()]
        for reader in readers.values():
            reader.send(signal.SIGTERM)
            codes.append(reader.end())
    gaps = sum("gaps 0, duplicates 0, late 0, invalid 0" not in reader.said for reader in readers.values())
    figures = [
        told("source", "video through the pose model" if real else "built-in motion, 16 people"),
        told("length", f"{minutes:g} minutes"),
        told("packets printed", str(len(readers["prints"].out))),
        exactly("exit codes", [0] * 5, codes),
        exactly("readers that lost something", 0, gaps),
    ]
    for name, taken in samples.items():
        figures += _judge(name, np.array(taken[int(len(taken) * WARM) :]), demanding=minutes >= LONG)
    return figures


def _watch(children: dict[str, Child], seconds: float) -> dict[str, list[tuple[float, float, int, int]]]:
    """Return (time, MiB, file handles, threads) of each process, over and over."""
    processes = {name: psutil.Process(child.process.pid) for name, child in children.items()}
    samples: dict[str, list[tuple[float, float, int, int]]] = defaultdict(list)
    begin = time.monotonic()
    while (now := time.monotonic() - begin) < seconds:
        for name, process in processes.items():
            with process.oneshot():
                memory = process.memory_info().rss / 2**20
                samples[name].append((now, memory, process.num_fds(), process.num_threads()))
        for child in children.values():
            del child.out[1000:-1000]  # what is printed must not fill this process instead
        time.sleep(EVERY)
    return samples


def _judge(name: str, taken: np.ndarray, demanding: bool) -> list[Figure]:
    times, memory, handles, threads = taken.T
    slope, _ = np.polyfit(times, memory, 1)
    rise = float(slope * (times[-1] - times[0]))
    told_ = f"{name}: {memory.mean():.0f} MiB, {handles[-1]:.0f} handles, {threads[-1]:.0f} threads; slope"
    third = max(1, len(taken) // 3)
    figures = [
        told(told_, f"{slope * 3600:+.1f} MiB an hour"),
        exactly(f"{name}: more handles at the end", False, bool(handles[-third:].max() > handles[:third].max())),
        exactly(f"{name}: more threads at the end", False, bool(threads[-third:].max() > threads[:third].max())),
    ]
    if demanding:
        figures.append(below(f"{name}: rise of memory", FLAT, rise, "MiB"))
    return figures
