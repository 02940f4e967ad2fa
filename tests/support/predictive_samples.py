"""A predictive tokenizer small enough to know by heart: all joints of a hop are in one place, which ids refine.

Where the hop before was, seen from this hop's box and half forgotten, is what it predicts: 0.5 + (last - 0.5) / 2 in
box units. Level l adds (id % 4 - 1.5, id // 4 - 1.5) / 4 ** (l + 1).
"""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from onnx import TensorProto

from engine.spec import TokenizerFiles, TokenizerSpec, load_tokenizer, sha256, write_sums
from tokenizer_samples import Port, Step, write_graph

HOP, LEVELS, VOCABULARY = 8, 3, 16
STATES: dict[str, tuple[int, ...]] = {"at": (2,), "age": (1,)}

FLOAT = TensorProto.FLOAT

CONSTANTS: dict[str, Any] = {
    "one": np.float32(1), "half": np.float32(0.5), "zero": np.float32(0), "least": np.float32(1e-6),
    "middle": np.float32(1.5), "three": np.float32(3), "four": np.float32(4), "minus": np.float32(-1),
    "0": np.array([0]), "1": np.array([1]), "2": np.array([2]), "3": np.array([3]), "12": np.array([1, 2]),
    "as_row": np.array([-1, 1]), "as_hop": np.array([-1, 1, 1, 2]), "as_grid": np.array([-1, LEVELS, 1, 1, 1]),
    "as_flat": np.array([-1, LEVELS]), "as_sure": np.array([-1, 1, 1]),
    "everywhere": np.ones((1, HOP, 17, 2), np.float32), "sure": np.ones((1, HOP, 17), np.float32),
    **{f"scale{n}": np.float32(4.0 ** -(n + 1)) for n in range(LEVELS)},
    **{f"number{n}": np.float32(n) for n in range(LEVELS)},
}  # fmt: skip

PREDICT: list[Step] = [
    ("Slice", ["box", "0", "2", "1"], "centre", {}),
    ("Slice", ["box", "2", "3", "1"], "any_side", {}),
    ("Max", ["any_side", "least"], "side", {}),
    ("Sub", ["one", "reset"], "flat_keep", {}),
    ("Reshape", ["flat_keep", "as_row"], "keep", {}),
    ("Mul", ["state.age", "keep"], "known", {}),
    ("Sub", ["state.at", "centre"], "away", {}),
    ("Div", ["away", "side"], "away_inside", {}),
    ("Mul", ["away_inside", "known"], "known_away", {}),
    ("Mul", ["known_away", "half"], "leaked", {}),
    ("Add", ["leaked", "half"], "guess", {}),
]


def write_predictive(folder: Path, name: str = "half-way") -> TokenizerFiles:
    """Write the tokenizer and load it."""
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"all is in the graphs")
    state = [(f"state.{path}", FLOAT, [*size]) for path, size in STATES.items()]
    new = [(f"new_state.{path}", FLOAT, [*size]) for path, size in STATES.items()]
    tokens = ("tokens", TensorProto.INT32, [LEVELS, 1, 1, 1])
    joints = ("joints", FLOAT, [HOP, 17, 2])
    box: Port = ("box", FLOAT, [3])
    scalars: list[Port] = [(name, FLOAT, []) for name in ("levels", "tolerance", "reset")]
    write_graph(
        folder / "encoder.onnx",
        [*PREDICT, *_search(), *_end()],
        [("x", FLOAT, [HOP, 17, 3]), box, *scalars, *state],
        [tokens, joints, *new],
        CONSTANTS,
    )
    write_graph(
        folder / "decoder.onnx",
        [*PREDICT, *_look_up(), *_end(), *_sure()],
        [tokens, box, scalars[-1], *state],
        [joints, ("confidence", FLOAT, [HOP, 17]), *new],
        CONSTANTS,
    )
    spec = TokenizerSpec(
        name=name,
        kind="predictive",
        skeleton="coco17",
        dims=2,
        hop=HOP,
        window=HOP,
        causal=True,
        fps=30.0,
        vocabulary=VOCABULARY,
        token_grid=(LEVELS, 1, 1, 1),
        input="keypoints",
        encoder_states=STATES,
        decoder_states=STATES,
        weights_hash=sha256(folder / "model.safetensors"),
    )
    (folder / "config.json").write_bytes(msgspec.json.encode(spec))
    write_sums(folder)
    return load_tokenizer(folder)


def _end() -> list[Step]:
    """From the place in the box, `place`, to the joints and the new state."""
    return [
        ("Reshape", ["place", "as_hop"], "hop", {}),
        ("Mul", ["hop", "everywhere"], "joints", {}),
        ("Sub", ["place", "half"], "from_centre", {}),
        ("Mul", ["from_centre", "side"], "moved", {}),
        ("Add", ["moved", "centre"], "new_state.at", {}),
        ("Mul", ["known", "zero"], "nothing", {}),
        ("Add", ["nothing", "one"], "new_state.age", {}),
    ]


def _sure() -> list[Step]:
    return [("Reshape", ["new_state.age", "as_sure"], "age", {}), ("Mul", ["age", "sure"], "confidence", {})]


def _look_up() -> list[Step]:
    steps: list[Step] = [
        ("Reshape", ["tokens", "as_flat"], "flat", {}),
        ("Cast", ["flat"], "ids", {"to": FLOAT}),
    ]
    place = "guess"
    for level in range(LEVELS):
        stop = str(level + 1)
        after = "place" if level == LEVELS - 1 else f"place{level}"
        steps += [
            ("Slice", ["ids", str(level), stop, "1"], f"id{level}", {}),
            ("GreaterOrEqual", [f"id{level}", "zero"], f"there{level}", {}),
            ("Div", [f"id{level}", "four"], f"quarter{level}", {}),
            ("Floor", [f"quarter{level}"], f"row{level}", {}),
            ("Mod", [f"id{level}", "four"], f"column{level}", {"fmod": 1}),
            ("Concat", [f"column{level}", f"row{level}"], f"pair{level}", {"axis": 1}),
            ("Sub", [f"pair{level}", "middle"], f"code{level}", {}),
            ("Mul", [f"code{level}", f"scale{level}"], f"step{level}", {}),
            ("Where", [f"there{level}", f"step{level}", "zero"], f"taken{level}", {}),
            ("Add", [place, f"taken{level}"], after, {}),
        ]
        place = after
    return steps


def _search() -> list[Step]:
    """Level by level, as long as there are levels to use and the error is too large."""
    steps: list[Step] = [
        ("Slice", ["x", "0", "2", "3"], "seen", {}),
        ("ReduceMean", ["seen", "12"], "target", {"keepdims": 0}),
        ("Sub", ["target", "guess"], "left0", {}),
        ("Reshape", ["levels", "as_row"], "most", {}),
        ("Reshape", ["tolerance", "as_row"], "bound", {}),
        ("LessOrEqual", ["bound", "zero"], "unbound", {}),
        ("LessOrEqual", ["bound", "bound"], "going0", {}),
    ]
    place = "guess"
    for n in range(LEVELS):
        after = "place" if n == LEVELS - 1 else f"place{n}"
        steps += [
            ("ReduceL2", [f"left{n}", "1"], f"error{n}", {"keepdims": 1}),
            ("Greater", [f"error{n}", "bound"], f"large{n}", {}),
            ("Or", [f"large{n}", "unbound"], f"wanted{n}", {}),
            ("Greater", ["most", f"number{n}"], f"allowed{n}", {}),
            ("And", [f"wanted{n}", f"allowed{n}"], f"here{n}", {}),
            ("And", [f"going{n}", f"here{n}"], f"going{n + 1}", {}),
            ("Div", [f"left{n}", f"scale{n}"], f"units{n}", {}),
            ("Add", [f"units{n}", "middle"], f"cell{n}", {}),
            ("Round", [f"cell{n}"], f"near{n}", {}),
            ("Clip", [f"near{n}", "zero", "three"], f"pair{n}", {}),
            ("Sub", [f"pair{n}", "middle"], f"code{n}", {}),
            ("Mul", [f"code{n}", f"scale{n}"], f"step{n}", {}),
            ("Sub", [f"left{n}", f"step{n}"], f"left{n + 1}", {}),
            ("Where", [f"going{n + 1}", f"step{n}", "zero"], f"taken{n}", {}),
            ("Add", [place, f"taken{n}"], after, {}),
            ("Slice", [f"pair{n}", "0", "1", "1"], f"column{n}", {}),
            ("Slice", [f"pair{n}", "1", "2", "1"], f"row{n}", {}),
            ("Mul", [f"row{n}", "four"], f"rows{n}", {}),
            ("Add", [f"rows{n}", f"column{n}"], f"any_id{n}", {}),
            ("Where", [f"going{n + 1}", f"any_id{n}", "minus"], f"id{n}", {}),
        ]
        place = after
    steps += [
        ("Concat", [f"id{n}" for n in range(LEVELS)], "ids", {"axis": 1}),
        ("Cast", ["ids"], "flat", {"to": TensorProto.INT32}),
        ("Reshape", ["flat", "as_grid"], "tokens", {}),
    ]
    return steps
