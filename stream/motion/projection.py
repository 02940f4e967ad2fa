"""From centimetres to pixels: calibrated cameras, and a front view where no calibration is known."""

from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stream.motion.skeleton import Array

Dims = Literal["2d", "3d"]
"""Whether motion is taken as pixels of a view or as centimetres."""

Mask = NDArray[np.bool_]

NEAR = 10.0
"""Points nearer to the camera's plane than this, in cm, or behind it are not seen."""

WIDEST = 4.0
"""Points further from the optical axis than this, as a tangent (76 degrees), are not seen."""


class View(Protocol):
    """A way of looking at the world (cm, y down, floor at y = 0) that gives pixels."""

    size: tuple[int, int]  # width and height of the image, px

    @property
    def label(self) -> str:
        """What the view is, for people."""

    def project(self, points: NDArray[np.floating]) -> tuple[Array, Mask]:
        """Project [N, 3] cm to float32 [N, 2] px; the mask [N] says which points are seen.

        Seen points may lie outside the image. The pixels of points not seen are finite and mean nothing.
        """


class Camera:
    """A pinhole camera with OpenCV's five distortion coefficients.

    K: [3, 3] px, R: [3, 3] and t: [3] cm from world to camera, distortion: [5] as k1, k2, p1, p2, k3,
    size: width and height in px. Raises ValueError when these are not a camera.
    """

    def __init__(
        self,
        name: str,
        K: ArrayLike,
        R: ArrayLike,
        t: ArrayLike,
        distortion: ArrayLike = (0, 0, 0, 0, 0),
        size: tuple[int, int] = (1920, 1080),
    ) -> None:
        self.name = name
        self.size = size
        self.K = _finite("K", K, (3, 3))
        self.R = _finite("R", R, (3, 3))
        self.t = _finite("t", t, (3,))
        self.distortion = _finite("distortion", distortion, (5,))
        if self.K[0, 0] <= 0 or self.K[1, 1] <= 0:
            raise ValueError("the focal length in K is not positive")
        if not np.allclose(self.R @ self.R.T, np.eye(3), atol=1e-3) or np.linalg.det(self.R) < 0:
            raise ValueError("R is not a rotation")
        self._radius2 = _sane_radius2(self.distortion)

    @classmethod
    def aimed(
        cls, name: str, eye: ArrayLike, target: ArrayLike, focal: float, size: tuple[int, int] = (1920, 1080)
    ) -> "Camera":
        """A camera without distortion at `eye` that looks at `target` (cm), upright; `focal` in px."""
        start = _finite("eye", eye, (3,))
        forward = _finite("target", target, (3,)) - start
        right = np.cross((0.0, 1.0, 0.0), forward)
        axes = np.stack([right, np.cross(forward, right), forward])
        R = axes / np.linalg.norm(axes, axis=1, keepdims=True)
        K = np.array([[focal, 0, size[0] / 2], [0, focal, size[1] / 2], [0, 0, 1]])
        return cls(name, K, R, -R @ start, size=size)

    @property
    def label(self) -> str:
        """What the view is, for people."""
        return f"camera {self.name}"

    def project(self, points: NDArray[np.floating]) -> tuple[Array, Mask]:
        """See `View.project`. Beyond the radius where the distortion folds back, points are not seen."""
        x, y, z = (np.asarray(points, np.float64) @ self.R.T + self.t).T
        ahead = z > NEAR
        depth = np.where(ahead, z, 1.0)
        x, y = x / depth, y / depth
        seen = ahead & (x * x + y * y < self._radius2)
        x, y = np.where(seen, x, 0.0), np.where(seen, y, 0.0)

        k1, k2, p1, p2, k3 = self.distortion
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        xd = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
        yd = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
        px = np.stack([xd, yd], axis=1) @ self.K[:2, :2].T + self.K[:2, 2]
        return px.astype(np.float32), seen


class OrthographicFront:
    """The front view without a camera: x and y at 4 px a cm, x = 0 in the middle, the floor near the bottom.

    The view looks along +z, so a person facing it faces -z. Its 1920 x 1080 px show 480 cm by 270 cm, 10 cm
    of them below the floor.
    """

    SCALE = 4.0
    FLOOR = 1040.0

    size = (1920, 1080)
    label = "orthographic front view"

    def project(self, points: NDArray[np.floating]) -> tuple[Array, Mask]:
        """See `View.project`. Every finite point is seen."""
        origin = np.array([self.size[0] / 2, self.FLOOR])
        px = origin + self.SCALE * np.asarray(points, np.float64)[:, :2]
        finite = np.isfinite(px)
        return np.where(finite, px, 0.0).astype(np.float32), finite[:, 0] & finite[:, 1]


def look(view: View, joints: Array, confidence: Array) -> tuple[Array, Array]:
    """See people, joints [P, J, 3] cm and confidence [P, J], through a view: [P, J, 2] px and confidence.

    A joint that the view does not see gets confidence 0.
    """
    px, seen = view.project(joints.reshape(-1, 3))
    visible = seen.reshape(confidence.shape)
    return px.reshape(*joints.shape[:2], 2), np.where(visible, confidence, np.float32(0))


def _finite(what: str, values: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    if array.size != np.prod(shape) or not np.isfinite(array).all():
        raise ValueError(f"{what} is not {' x '.join(map(str, shape))} finite numbers")
    return array.reshape(shape)


def _sane_radius2(distortion: NDArray[np.float64]) -> float:
    """The square of the radius up to which a point further out also lands further out in the image."""
    k1, k2, _, _, k3 = distortion
    # The polynomial r (1 + k1 r^2 + k2 r^4 + k3 r^6) turns back where its slope is 0 for the first time;
    # from there on it folds far points into the image, where they would pass for seen ones.
    r2 = np.linspace(0.0, WIDEST**2, 4001)
    slope = 1 + r2 * (3 * k1 + r2 * (5 * k2 + r2 * 7 * k3))
    folded = np.flatnonzero(slope <= 0)
    return float(r2[folded[0] - 1] if len(folded) else r2[-1])
