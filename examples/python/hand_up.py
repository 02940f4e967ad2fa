"""Say when somebody raises a hand above the nose, by the joints that a live stream decodes to.

python -m stream.producer --demo &
python examples/python/hand_up.py tcp://127.0.0.1:5555
"""

import sys

from stream import TokenStream

NOSE, WRISTS = 0, [9, 10]

up: dict[int, bool] = {}
with TokenStream(sys.argv[1], decode=True, once=True, timeout=60) as stream:
    for packet, motion in stream.motions():
        nose, wrists = motion.joints[-1, NOSE], motion.joints[-1, WRISTS]
        now = bool((wrists[:, 1] < nose[1]).any())  # y points down
        if now and not up.get(packet.track):
            print(f"person {packet.track} raises a hand, {packet.frame / packet.fps:.1f} s into the stream")
        up[packet.track] = now
