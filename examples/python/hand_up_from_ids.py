"""Tell from token ids alone whether a hand is above the nose: no decoder, one linear classifier.

python examples/python/hand_up_from_ids.py bandai_namco/dataset2 bandai_namco/dataset1

Both are folders of npz recordings, the first to learn from, the second of people never seen, to be judged by.
"""

import sys
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import precision_score, recall_score

from stream import Tokenizer
from stream.motion.clips import read_npz

NOSE, WRISTS = 0, [9, 10]

tokenizer = Tokenizer("heatmap3d-f8")


def examples(folder: str) -> tuple[csr_matrix, np.ndarray]:
    """Return a row for every hop, 1 where an id stands at a place, and whether a hand was up at the hop's end."""
    clips = [clip for file in sorted(Path(folder).glob("*.npz")) for clip in read_npz(file)]
    batch = tokenizer.encode_batch([clip.joints for clip in clips], [clip.fps for clip in clips])
    ids = np.concatenate([tokens.ids.reshape(len(tokens), -1) for tokens in batch])
    hops, places = ids.shape
    columns = ids + np.arange(places) * tokenizer.vocabulary
    shape = (hops, places * tokenizer.vocabulary)
    rows = csr_matrix((np.ones(ids.size), columns.ravel(), np.arange(hops + 1) * places), shape)
    up = []
    for clip, tokens in zip(clips, batch, strict=True):
        last = np.minimum((tokens.frames + tokens.hop - 1) * clip.fps / tokens.fps, len(clip.joints) - 1).astype(int)
        height = clip.joints[last, :, 1]  # y points down
        up.append((height[:, WRISTS] < height[:, [NOSE]]).any(axis=1))
    return rows, np.concatenate(up)


rows, up = examples(sys.argv[1])
classifier = SGDClassifier(loss="log_loss", random_state=0).fit(rows, up)
rows, truth = examples(sys.argv[2])
said = classifier.predict(rows)
print(f"{len(truth)} hops of people never seen, a hand up in {truth.mean():.1%}")
print(f"right {np.mean(said == truth):.1%}, precision {precision_score(truth, said):.1%}, ", end="")
print(f"recall {recall_score(truth, said):.1%}")
