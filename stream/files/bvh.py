"""BVH: a skeleton with bones of constant length and its rotations, frame by frame, as Blender and game engines read it.

The 17 joints have no spine and no bone that says which way it is rolled. The skeleton is therefore: hips in the middle
of the hip joints, neck in the middle of the shoulders, head in the middle of the ears. A joint with several children
(hips, neck, head) takes the rotation that fits all of them best (Kabsch); a limb turns by the shortest way from where
its parent points it, so that it never rolls by itself. Bones have their median length: what a tracked limb stretches
and shrinks is lost, and `BvhSkeleton.error` says how much.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from stream.files.body import Body
from stream.motion.skeleton import JOINTS

Floats = NDArray[np.float64]

UP = np.array([1.0, -1.0, -1.0])
"""Turns our axes (y down) into BVH's (y up), half a turn about x."""


@dataclass(frozen=True)
class _Bone:
    """A joint of the skeleton; position: the mean of these of the 17; rest: where it points from its parent in rest."""

    name: str
    parent: str | None
    of: tuple[str, ...]
    rest: tuple[float, float, float] = (0.0, 0.0, 0.0)
    helper: bool = False  # helps to turn its parent and is not written: many readers take one end a joint


BONES = (
    _Bone("Hips", None, ("l-hip", "r-hip")),
    _Bone("LeftUpLeg", "Hips", ("l-hip",), (1, 0, 0)),
    _Bone("LeftLeg", "LeftUpLeg", ("l-knee",), (0, -1, 0)),
    _Bone("LeftFoot", "LeftLeg", ("l-ankle",), (0, -1, 0)),
    _Bone("RightUpLeg", "Hips", ("r-hip",), (-1, 0, 0)),
    _Bone("RightLeg", "RightUpLeg", ("r-knee",), (0, -1, 0)),
    _Bone("RightFoot", "RightLeg", ("r-ankle",), (0, -1, 0)),
    _Bone("Neck", "Hips", ("l-shoulder", "r-shoulder"), (0, 1, 0)),
    _Bone("LeftArm", "Neck", ("l-shoulder",), (1, 0, 0)),
    _Bone("LeftForeArm", "LeftArm", ("l-elbow",), (1, 0, 0)),
    _Bone("LeftHand", "LeftForeArm", ("l-wrist",), (1, 0, 0)),
    _Bone("RightArm", "Neck", ("r-shoulder",), (-1, 0, 0)),
    _Bone("RightForeArm", "RightArm", ("r-elbow",), (-1, 0, 0)),
    _Bone("RightHand", "RightForeArm", ("r-wrist",), (-1, 0, 0)),
    _Bone("Head", "Neck", ("l-ear", "r-ear"), (0, 1, 0)),
    _Bone("LeftEar", "Head", ("l-ear",), (1, 0, 0), helper=True),
    _Bone("RightEar", "Head", ("r-ear",), (-1, 0, 0), helper=True),
    _Bone("Nose", "Head", ("nose",), (0, 0, 1)),
)
"""From the root on: a bone's parent stands before it. The person faces +z in rest, the own left along +x."""

_INDEX = {bone.name: index for index, bone in enumerate(BONES)}
_PARENT = [-1 if bone.parent is None else _INDEX[bone.parent] for bone in BONES]
_CHILDREN = [[child for child, parent in enumerate(_PARENT) if parent == bone] for bone in range(len(BONES))]


@dataclass(frozen=True)
class BvhSkeleton:
    """offsets: [bones, 3] cm from the parent in rest. root: [T, 3] cm, y up. rotations: [T, bones, 3, 3] to the parent.

    error: mean distance in cm between the joints that went in and where this skeleton has them.
    """

    offsets: Floats
    root: Floats
    rotations: Floats
    error: float

    @classmethod
    def fit(cls, body: Body) -> Self:
        """Fit the skeleton to a body in cm."""
        joints = body.joints.astype(float) * UP
        places = np.stack([joints[:, [JOINTS.index(name) for name in bone.of]].mean(axis=1) for bone in BONES], axis=1)
        vectors = places - places[:, _PARENT]
        lengths = np.median(np.linalg.norm(vectors, axis=-1), axis=0)
        offsets = np.array([bone.rest for bone in BONES]) * lengths[:, None]
        offsets[0] = 0.0
        world = _world_rotations(vectors, offsets)
        local = world.copy()
        for bone in range(1, len(BONES)):
            local[:, bone] = np.swapaxes(world[:, _PARENT[bone]], -1, -2) @ world[:, bone]
        found = _forward(offsets, places[:, 0], local)
        return cls(offsets, places[:, 0], local, float(np.linalg.norm(found - places, axis=-1).mean()))

    @property
    def places(self) -> Floats:
        """Where the bones' joints are: [T, bones, 3] cm, y up."""
        return _forward(self.offsets, self.root, self.rotations)


def bvh_lines(skeleton: BvhSkeleton, fps: float) -> Iterator[str]:
    """Yield the lines of a BVH file: cm, degrees, rotations in the order z, x, y."""
    yield "HIERARCHY"
    yield from _hierarchy(0, skeleton.offsets, "")
    yield "MOTION"
    yield f"Frames: {len(skeleton.root)}"
    yield f"Frame Time: {1 / fps:.8f}"
    moving = [bone for bone in _depth_first(0) if _CHILDREN[bone]]
    angles = np.stack(
        [Rotation.from_matrix(skeleton.rotations[:, bone]).as_euler("ZXY", degrees=True) for bone in moving], axis=1
    )
    for root, row in zip(skeleton.root, angles, strict=True):
        yield " ".join(f"{number:.5f}" for number in (*root, *row.ravel()))


def _depth_first(bone: int) -> Iterator[int]:
    yield bone
    for child in _CHILDREN[bone]:
        yield from _depth_first(child)


def _hierarchy(bone: int, offsets: Floats, indent: str) -> Iterator[str]:
    inner = indent + "\t"
    name = BONES[bone].name
    yield f"{indent}{'ROOT' if _PARENT[bone] < 0 else 'JOINT'} {name}" if _CHILDREN[bone] else f"{indent}End Site"
    yield f"{indent}{{"
    yield f"{inner}OFFSET {' '.join(f'{number:.5f}' for number in offsets[bone])}"
    if _CHILDREN[bone]:
        place = "6 Xposition Yposition Zposition" if _PARENT[bone] < 0 else "3"
        yield f"{inner}CHANNELS {place} Zrotation Xrotation Yrotation"
    for child in _CHILDREN[bone]:
        if not BONES[child].helper:
            yield from _hierarchy(child, offsets, inner)
    yield f"{indent}}}"


def _world_rotations(vectors: Floats, offsets: Floats) -> Floats:
    """Return how far each bone is turned from rest, [T, bones, 3, 3], parents before their children."""
    world = np.tile(np.eye(3), (len(vectors), len(BONES), 1, 1))
    for bone, children in enumerate(_CHILDREN):
        if len(children) > 1:
            world[:, bone] = _best_rotation(offsets[children], vectors[:, children])
        elif children:
            parent = world[:, _PARENT[bone]]
            world[:, bone] = _shortest_turn(parent @ offsets[children[0]], vectors[:, children[0]]) @ parent
    return world


def _best_rotation(rest: Floats, found: Floats) -> Floats:
    """Return the rotations [T, 3, 3] that turn the vectors `rest` [N, 3] best onto `found` [T, N, 3] (Kabsch 1976)."""
    left, _, right = np.linalg.svd(np.swapaxes(found, -1, -2) @ rest)
    mirrored = np.linalg.det(left @ right) < 0
    left[mirrored, :, -1] *= -1
    rotations: Floats = left @ right
    return rotations


def _shortest_turn(start: Floats, end: Floats) -> Floats:
    """Return the rotations [T, 3, 3] that turn `start` onto `end`'s direction by the smallest angle (Rodrigues)."""
    start, end = (each / np.maximum(np.linalg.norm(each, axis=-1, keepdims=True), 1e-9) for each in (start, end))
    axis = np.cross(start, end)
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    # Where both point the opposite way any axis across will do.
    across = np.cross(start, np.where(np.abs(start[:, :1]) < 0.9, np.eye(3)[0], np.eye(3)[1]))
    opposite = (sine < 1e-9) & ((start * end).sum(-1, keepdims=True) < 0)
    unit = np.where(opposite, across, axis)
    unit /= np.maximum(np.linalg.norm(unit, axis=-1, keepdims=True), 1e-12)
    angle = np.arctan2(sine, (start * end).sum(-1, keepdims=True))
    turned: Floats = Rotation.from_rotvec(unit * angle).as_matrix()
    return turned


def _forward(offsets: Floats, root: Floats, rotations: Floats) -> Floats:
    """Return the places [T, bones, 3] of a skeleton's joints (forward kinematics)."""
    places = np.empty((*rotations.shape[:2], 3))
    world = rotations.copy()
    places[:, 0] = root
    for bone in range(1, len(BONES)):
        parent = _PARENT[bone]
        places[:, bone] = places[:, parent] + world[:, parent] @ offsets[bone]
        world[:, bone] = world[:, parent] @ rotations[:, bone]
    return places
