// From the room or the image to the canvas: a flat view that frames everybody, or a camera that orbits them.

const EASE = 2.5; // per second: how fast the frame follows

function framed(people, dims) {
  const low = Array(dims).fill(Infinity);
  const high = Array(dims).fill(-Infinity);
  for (const { pose } of people) {
    const side = pose.hop.box[dims];
    for (let axis = 0; axis < dims; axis++) {
      low[axis] = Math.min(low[axis], pose.hop.box[axis] - side / 2);
      high[axis] = Math.max(high[axis], pose.hop.box[axis] + side / 2);
    }
  }
  return { low, high };
}

function ease(from, to, share) {
  return from ? from.map((each, i) => each + (to[i] - each) * share) : to;
}

export class FlatCamera {
  #frame = null; // centre x, y and half of width and height

  /** Frame the picture, if there is one, else these people. */
  follow(people, seconds, width, height, picture) {
    if (people.length || picture) {
      const { low, high } = picture ? { low: [0, 0], high: [picture.width, picture.height] } : framed(people, 2);
      const goal = [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, (high[0] - low[0]) / 2, (high[1] - low[1]) / 2];
      this.#frame = ease(this.#frame, goal, Math.min(1, EASE * seconds));
    }
    const [x, y, w, h] = this.#frame ?? [0, 0, 1, 1];
    this.scale = Math.min(width / w, height / h) / 2.12;
    this.left = width / 2 - x * this.scale;
    this.top = height / 2 - y * this.scale;
  }

  /** {x, y, depth, scale} on the canvas. */
  project(joints, i) {
    return { x: joints[2 * i] * this.scale + this.left, y: joints[2 * i + 1] * this.scale + this.top, depth: 0, scale: this.scale };
  }
}

export class OrbitCamera {
  #target = null; // x, y, z of what is looked at, cm, and the radius around it
  #floor = null;
  constructor() {
    this.reset();
  }

  reset() {
    this.yaw = 0.5;
    this.pitch = 0.22;
    this.zoom = 1;
  }

  turn(dx, dy) {
    this.yaw += dx * 0.008;
    this.pitch = Math.min(1.5, Math.max(-0.1, this.pitch + dy * 0.006));
  }

  closer(factor) {
    this.zoom = Math.min(6, Math.max(0.25, this.zoom * factor));
  }

  follow(people, seconds, width, height) {
    if (people.length) {
      const { low, high } = framed(people, 3);
      const radius = Math.hypot(...high.map((each, i) => each - low[i])) / 2;
      const goal = [...low.map((each, i) => (each + high[i]) / 2), radius];
      this.#target = ease(this.#target, goal, Math.min(1, EASE * seconds));
      const feet = people.flatMap(({ pose }) => (pose.joints ? [pose.joints[15 * 3 + 1], pose.joints[16 * 3 + 1]] : []));
      if (feet.length) this.#floor = ease(this.#floor, [Math.max(...feet)], Math.min(1, seconds * EASE));
    }
    [this.x, this.y, this.z, this.radius] = this.#target ?? [0, 0, 0, 150];
    this.floor = (this.#floor?.[0] ?? this.y + 80) + 6;
    this.distance = (this.radius * 1.7) / this.zoom;
    this.focal = Math.min(width, height) * 1.12;
    this.middle = [width / 2, height / 2];
    this.turned = [Math.cos(this.yaw), Math.sin(this.yaw), Math.cos(this.pitch), Math.sin(this.pitch)];
  }

  at(px, py, pz) {
    const [cy, sy, cp, sp] = this.turned;
    const x = px - this.x;
    const y = py - this.y;
    const z = pz - this.z;
    const across = x * cy - z * sy;
    const away = x * sy + z * cy;
    const depth = Math.max(10, away * cp + y * sp + this.distance);
    const down = y * cp - away * sp;
    const scale = this.focal / depth;
    return { x: this.middle[0] + across * scale, y: this.middle[1] + down * scale, depth, scale };
  }

  project(joints, i) {
    return this.at(joints[3 * i], joints[3 * i + 1], joints[3 * i + 2]);
  }
}
