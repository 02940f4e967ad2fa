"""Tokens as a PyTorch data set for a sequence model, from the files that `python -m stream.tokenize` writes.

python -m stream.tokenize recordings/ --tokenizer heatmap2d-f16 --out tokens
python examples/python/torch_dataset.py tokens
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from stream import Tokenizer


class MotionTokens(Dataset[Tensor]):
    """Windows of people's ids: int64 [length + 1], to be split into what a model sees and what it is to say.

    All levels have one vocabulary. A sequence is BEGIN, the hops of a person one after the other, END; the last window
    of it is filled up with PAD. Windows begin where hops begin, so a place in the window is a place in the body.
    """

    def __init__(self, folder: Path, hops: int) -> None:
        self.sequences: list[Tensor] = []
        self.windows: list[tuple[int, int]] = []
        for file in sorted(folder.rglob("*.npz")):
            with np.load(file) as arrays:
                self.tokenizer = Tokenizer(str(arrays["tokenizer"][0]))
                levels, vocabulary = self.tokenizer.grid[0], self.tokenizer.vocabulary
                ids = arrays["tokens"] + np.arange(levels)[:, None, None, None] * vocabulary
                people = np.stack([np.unique(arrays["stream"], return_inverse=True)[1], arrays["track"]], axis=1)
            self.begin, self.end, self.pad = (levels * vocabulary + n for n in range(3))
            for person in np.unique(people, axis=0):
                flat = ids[(people == person).all(axis=1)].ravel()
                self.sequences.append(torch.from_numpy(np.concatenate([[self.begin], flat, [self.end]])))
        if not self.sequences:
            raise SystemExit(f"no files of tokens in {folder}: make some with python -m stream.tokenize")
        self.vocabulary = self.pad + 1
        self.length = hops * self.tokenizer.spec.tokens_per_hop
        for number, sequence in enumerate(self.sequences):
            self.windows += [(number, start) for start in range(0, len(sequence) - 1, self.length)]

    def __len__(self) -> int:
        """How many windows there are."""
        return len(self.windows)

    def __getitem__(self, index: int) -> Tensor:
        """Return a window."""
        number, start = self.windows[index]
        part = self.sequences[number][start : start + self.length + 1]
        return torch.nn.functional.pad(part, (0, self.length + 1 - len(part)), value=self.pad)


if __name__ == "__main__":
    dataset = MotionTokens(Path(sys.argv[1]), hops=8)
    batch = next(iter(DataLoader(dataset, batch_size=4, shuffle=True)))
    print(f"{len(dataset.sequences)} sequences, {len(dataset)} windows, a batch {list(batch.shape)}, ids to", end=" ")
    print(f"{dataset.vocabulary - 1}: BEGIN {dataset.begin}, END {dataset.end}, PAD {dataset.pad}")
