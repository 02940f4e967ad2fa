"""What a run says while it goes on: a bar with the time left, or a line a minute; log.jsonl; TensorBoard.

log.jsonl holds one object a line: `step`, the running mean of every loss term by name, `samples_per_second`,
`share_waiting` (for data), `share_of_peak` (of the device's arithmetic); and at a look at unseen recordings `step`
and `unseen`, figures by set.
"""

import io
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

LINE_EVERY = 60.0
"""Seconds between lines without a terminal."""

LOG_EVERY = 20
"""Steps between entries of log.jsonl and TensorBoard, each the mean since the last; fewer where a line is due."""

SHOWN = ("heatmap", "joint", "codes")
"""Terms beside the bar; a line has all."""


class Journal:
    """The one place where a run writes down how it goes. A context manager."""

    def __init__(
        self, folder: Path, name: str, first: int, last: int, samples_per_step: int, samples_at_peak: float
    ) -> None:
        """samples_at_peak: samples per second of devices that do nothing but large matrix products."""
        self.name, self.first, self.last, self.samples = name, first, last, samples_per_step
        self._samples_at_peak = samples_at_peak
        self._log = (folder / "log.jsonl").open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"))
        self._console = Console()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[now]}"),
        )
        self._bar = Progress(*columns, console=self._console, disable=not sys.stdout.isatty())
        self._task = self._bar.add_task(name, total=last, completed=first, now="")
        self._sums: dict[str, tuple[int, Tensor]] = {}
        self._count = 0
        self._begun = self._since = self._said = time.monotonic()
        self._waited = 0.0

    def __enter__(self) -> "Journal":
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close everything."""
        self._bar.stop()
        self._log.close()
        self._board.close()

    def add(self, step: int, terms: Mapping[str, Tensor], waited: float) -> None:
        """Take the terms of a step that was just done. waited: seconds that the run has waited for data so far."""
        for name, value in terms.items():
            count, total = self._sums.get(name, (0, torch.zeros_like(value)))
            self._sums[name] = (count + 1, total + value)
        self._count += 1
        self._bar.update(self._task, completed=step)
        late = self._bar.disable and time.monotonic() - self._said >= LINE_EVERY
        if step % LOG_EVERY == 0 or step == self.last or late:
            self._write(step, waited, said=self._bar.disable and (late or step == self.last))

    def _write(self, step: int, waited: float, said: bool) -> None:
        now = time.monotonic()
        took = max(now - self._since, 1e-9)
        means = {name: float(total) / count for name, (count, total) in self._sums.items()}
        means["samples_per_second"] = self._count * self.samples / took
        means["share_waiting"] = (waited - self._waited) / took
        means["share_of_peak"] = means["samples_per_second"] / self._samples_at_peak
        self._sums, self._count, self._since, self._waited = {}, 0, now, waited
        self._entry({"step": step, **means})
        for name, value in means.items():
            self._board.add_scalar(name if "/" in name else f"train/{name}", value, step)
        self._bar.update(self._task, now="  ".join(f"{n} {means[n]:.2f}" for n in SHOWN if n in means))
        if said:
            self._said = now
            left = (now - self._begun) / (step - self.first) * (self.last - step)
            text = "  ".join(f"{name} {value:.3f}" for name, value in means.items())
            print(f"{self.name}: step {step} of {self.last}, {_duration(left)} left  {text}", flush=True)

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Take the time that something beside the training lasts out of its pace."""
        start = time.monotonic()
        yield
        lost = time.monotonic() - start
        self._since += lost
        self._begun += lost

    def unseen(self, step: int, figures: Mapping[str, Mapping[str, float]]) -> None:
        """Write down a look at unseen recordings: figures by name, by set."""
        self._entry({"step": step, "unseen": figures})
        for place, row in figures.items():
            for name, value in row.items():
                self._board.add_scalar(f"unseen/{place}/{name}", value, step)
        text = "; ".join(
            f"{place}: " + ", ".join(f"{name} {value:.4g}" for name, value in row.items())
            for place, row in figures.items()
        )
        self._console.print(f"{self.name}: step {step}, unseen {text}", highlight=False, soft_wrap=True)

    def film(self, step: int, pictures: NDArray[np.uint8], fps: float) -> None:
        """Keep a moving picture, [T, H, W]: input, decoded, difference."""
        first, *rest = (Image.fromarray(picture) for picture in pictures)
        data = io.BytesIO()
        first.save(data, "GIF", save_all=True, append_images=rest, duration=round(1000 / fps), loop=0)
        image = Summary.Image(
            height=first.height, width=first.width, colorspace=1, encoded_image_string=data.getvalue()
        )
        value = Summary.Value(tag="unseen/input, decoded, difference", image=image)
        self._board._get_file_writer().add_summary(Summary(value=[value]), step)

    def say(self, text: str) -> None:
        """Print a line beside the bar."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def _entry(self, entry: Mapping[str, object]) -> None:
        self._log.write(json.dumps(entry) + "\n")
        self._log.flush()


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"
