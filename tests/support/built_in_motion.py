"""Makes engine/motion.npz, the built-in windows of the engine's commands, from the live system's demo.

PYTHONPATH=.:tests/support python tests/support/built_in_motion.py
"""

import numpy as np
from numpy.typing import NDArray

from engine.sample_windows import BUILT_IN, HOP
from stream.motion import box as boxes
from stream.sources.demo import demo_pose

PEOPLE, HOPS, FPS = 6, 40, 30


def make() -> tuple[NDArray[np.float16], NDArray[np.float32], NDArray[np.float32]]:
    """Return joints [people, frames, 17, 3] in the pipeline's box; the box's centre [people, hops, 3] and side, cm."""
    joints, centres, sides = [], [], []
    for person in range(PEOPLE):
        box, inside, centre, side = boxes.Box.fresh(1, 3), [], [], []
        for hop in range(HOPS):
            poses = [demo_pose(person, (hop * HOP + frame) / FPS) for frame in range(HOP)]
            window = np.stack([pose.joints for pose in poses])[None]
            confidence = np.ones(window.shape[:-1], np.float32)
            box = boxes.advance(box, window, confidence)
            inside.append(boxes.to_keypoints(window, confidence, box)[0, ..., :3])
            centre.append(box.centre[0])
            side.append(box.side[0])
        joints.append(np.concatenate(inside))
        centres.append(centre)
        sides.append(side)
    return np.stack(joints).astype(np.float16), np.array(centres, np.float32), np.array(sides, np.float32)


if __name__ == "__main__":
    made = make()
    np.savez_compressed(BUILT_IN, joints=made[0], centre=made[1], side=made[2])
    print(f"{BUILT_IN}: {BUILT_IN.stat().st_size} bytes")
