"""A small language model over motion: bits a token on people never seen, and a continuation drawn as a picture.

python -m stream.tokenize bandai_namco/dataset2 --tokenizer heatmap2d-f16 --out train
python -m stream.tokenize bandai_namco/dataset1 --tokenizer heatmap2d-f16 --out unseen
python examples/python/language_model.py train unseen continuation.png
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from stream import Tokens
from stream.motion.drawing import label, skeleton
from torch_dataset import MotionTokens

HOPS, PROMPT = 8, 4
"""Hops that the model sees at once, and of those in the picture how many it is given."""

EVERY, TILE = 8, 120
"""Frames between two bodies in the picture, and the pixels of one."""


class LanguageModel(nn.Module):
    """Says from the ids so far what comes next."""

    def __init__(self, vocabulary: int, length: int, width: int = 128, layers: int = 2) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, 0.1, "gelu", batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, vocabulary)
        self.future: Tensor
        self.register_buffer("future", nn.Transformer.generate_square_subsequent_mask(length))

    def forward(self, ids: Tensor) -> Tensor:
        """Ids [B, n] -> logits of the id after each, [B, n, vocabulary]."""
        length = ids.shape[1]
        x = self.token(ids) + self.place.weight[:length]
        logits: Tensor = self.head(self.body(x, self.future[:length, :length], is_causal=True))
        return logits


def train(data: MotionTokens, steps: int) -> LanguageModel:
    """Train on random windows."""
    torch.manual_seed(0)
    model = LanguageModel(data.vocabulary, data.length)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps)
    step = 0
    while step < steps:
        for batch in DataLoader(data, batch_size=8, shuffle=True):
            loss = cross_entropy(model(batch[:, :-1]).transpose(1, 2), batch[:, 1:], ignore_index=data.pad)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            if (step := step + 1) == steps:
                break
    return model.eval()


@torch.inference_mode()
def bits(model: LanguageModel, data: MotionTokens) -> float:
    """Return how many bits an id takes, ends included."""
    nats, count = 0.0, 0
    for batch in DataLoader(data, batch_size=16):
        loss = cross_entropy(model(batch[:, :-1]).transpose(1, 2), batch[:, 1:], ignore_index=data.pad, reduction="sum")
        nats, count = nats + float(loss), count + int((batch[:, 1:] != data.pad).sum())
    return nats / count / float(np.log(2))


def unigram(train: MotionTokens, data: MotionTokens) -> float:
    """Return the bits of an id if only its frequency is known."""
    counts = torch.bincount(torch.cat(train.sequences), minlength=train.vocabulary) + 1
    return float(-(counts / counts.sum()).log2()[torch.cat(data.sequences)].mean())


@torch.inference_mode()
def continuation(model: LanguageModel, data: MotionTokens, ids: Tensor, hops: int) -> Tensor:
    """Return the ids of so many hops, all after the given ones being what the model says."""
    torch.manual_seed(0)
    levels, vocabulary = data.tokenizer.grid[0], data.tokenizer.vocabulary
    per_hop = data.tokenizer.spec.tokens_per_hop
    while len(ids) < 1 + hops * per_hop:
        level = (len(ids) - 1) % per_hop * levels // per_hop  # each has ids of its own; no others make sense here
        logits = model(ids[None])[0, -1, level * vocabulary : (level + 1) * vocabulary]
        likely, which = logits.topk(20)
        ids = torch.cat([ids, level * vocabulary + which[torch.multinomial(likely.softmax(0), 1)]])
    return ids


def draw(file: str, data: MotionTokens, ids: Tensor) -> None:
    """Draw the bodies; the box stays the same, as ids do not say where a body is."""
    tokens = Tokens.from_flat(ids[1:].numpy(), data.tokenizer)
    motion = data.tokenizer.decode(tokens)
    rows = []
    for name, hops in (("what the model saw", range(PROMPT)), ("what it said next", range(PROMPT, HOPS))):
        frames = range(hops.start * tokens.hop + EVERY - 1, hops.stop * tokens.hop, EVERY)
        bodies = [skeleton(motion.joints[n], motion.confidence[n], np.zeros(2, np.float32), 1.0, TILE) for n in frames]
        rows += [label(len(frames) * TILE, name), np.hstack(bodies)]
    cv2.imwrite(file, np.vstack(rows))


if __name__ == "__main__":
    data, unseen = (MotionTokens(Path(folder), HOPS) for folder in sys.argv[1:3])
    model = train(data, steps=int(sys.argv[4]) if len(sys.argv) > 4 else 600)
    print(
        f"{bits(model, unseen):.2f} bits a token on people never seen; by frequency alone {unigram(data, unseen):.2f}"
    )
    given = 1 + PROMPT * data.tokenizer.spec.tokens_per_hop
    prompt = max(
        (sequence[:given] for sequence in unseen.sequences), key=lambda ids: len(ids.unique())
    )  # the liveliest
    draw(sys.argv[3], data, continuation(model, data, prompt, HOPS))
