"""Publish motion from a source of your own: any code that gives 17 joints per frame.

python examples/python/own_source.py tcp://127.0.0.1:5555 &
python -m stream.subscriber --decode --once
"""

import sys
import time

import numpy as np

from stream import Tokenizer
from stream.publish.publisher import Publisher
from stream.sources.demo import demo_pose

FPS, SECONDS = 30, 4

tokenizer = Tokenizer("heatmap3d-f8")
encoder = tokenizer.stream()
with Publisher(sys.argv[1], "mine") as publisher:
    publisher.wait_for_subscriber(60)
    begin = time.monotonic()
    for frame in range(FPS * SECONDS):
        time.sleep(max(0.0, begin + frame / FPS - time.monotonic()))
        joints: np.ndarray = demo_pose(1, frame / FPS).joints  # your own: float [17, 3], cm, y down
        for hop in encoder.push(joints, time.monotonic()):
            publisher.publish(
                track=0,
                frame=hop.frame,
                t=hop.captured_ns,
                wall=time.time_ns() - (time.monotonic_ns() - hop.captured_ns),
                fps=tokenizer.fps,
                hop=tokenizer.hop,
                tokenizer=tokenizer.label,
                ids=hop.ids,
                box=hop.box,
                unit="cm",
                observed=hop.observed,
                reset=hop.reset,
            )
    publisher.goodbye("that was it")
