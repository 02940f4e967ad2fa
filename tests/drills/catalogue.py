"""The drills by name, in the order of the table."""

from collections.abc import Callable

from . import camera, clock, curve, damage, flood, garbage, joins, kills, link, power, slow, soak, stops
from .result import Figure, Plan

DRILLS: dict[str, Callable[[Plan], list[Figure]]] = {
    "kills": kills.run,
    "power": power.run,
    "damage": damage.run,
    "garbage": garbage.run,
    "slow": slow.run,
    "link": link.run,
    "joins": joins.run,
    "camera": camera.run,
    "curve": curve.run,
    "flood": flood.run,
    "stops": stops.run,
    "clock": clock.run,
    "soak": soak.run,
}
