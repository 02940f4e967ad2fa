"""The joint orders that the engine's own commands read; all others live in `stream.motion.skeleton`."""

import numpy as np

FROM_PANOPTIC19 = np.array([1, 15, 17, 16, 18, 3, 9, 4, 10, 5, 11, 6, 12, 7, 13, 8, 14])
"""Index into CMU Panoptic's 19 joints (neck, nose, mid-hip, left arm, left leg, right arm, ...) per joint."""
