// The large canvas: bodies with their trails, before a floor in 3D.

import { drawBody, drawOwn, placed } from "./body.js";
import { FlatCamera, OrbitCamera } from "./camera.js";
import { css, fitted } from "./palette.js";

const TRAIL_S = 0.8;
const TRAIL_STEPS = 14;
const TRAILED = [9, 10, 15, 16];
const FEW = 8; // people up to whom everybody has trails

export class Stage {
  #cameras = new Map();
  #pointers = new Map();

  constructor(canvas) {
    this.canvas = canvas;
    this.dims = 2;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.#pointers.set(event.pointerId, event);
    });
    canvas.addEventListener("pointermove", (event) => this.#moved(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => this.#pointers.delete(event.pointerId));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.orbit?.closer(Math.exp(-event.deltaY * 0.0012));
    }, { passive: false });
    canvas.addEventListener("dblclick", () => this.orbit?.reset());
  }

  /** The camera that can be turned, where the stream is in 3D. */
  get orbit() {
    return this.dims === 3 ? this.camera : null;
  }

  #moved(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before || !this.orbit) return;
    const others = [...this.#pointers.values()].filter((each) => each.pointerId !== event.pointerId);
    if (others.length) {
      const apart = (one) => Math.hypot(one.clientX - others[0].clientX, one.clientY - others[0].clientY);
      this.orbit.closer(apart(event) / Math.max(1, apart(before)));
    } else this.orbit.turn(event.clientX - before.clientX, event.clientY - before.clientY);
    this.#pointers.set(event.pointerId, event);
  }

  /** people: as Stream.draw gives them; chosen: the key of one, or null; seconds: since the last drawing; own, picture:
   * what came beside the tokens, as at that time. */
  draw(stream, people, chosen, time, seconds, colours, own, picture) {
    const { context, width, height } = fitted(this.canvas);
    if (people.length) this.dims = people[0].track.dims;
    const key = `${stream.name}/${this.dims}`;
    if (!this.#cameras.has(key)) this.#cameras.set(key, this.dims === 3 ? new OrbitCamera() : new FlatCamera());
    this.camera = this.#cameras.get(key);
    const shown = people.filter(({ track, pose }) => track.dims === this.dims && pose.joints);
    const one = shown.filter(({ track }) => track.key === chosen);
    const behind = this.dims === 2 ? picture : null;
    this.camera.follow(one.length ? one : shown, seconds, width, height, behind);
    if (behind) {
      const { left, top, scale } = this.camera;
      context.drawImage(behind.bitmap, left, top, behind.width * scale, behind.height * scale);
    } else if (picture) {
      // Of a stream in 3D the picture has no place in the room: it stands in a corner.
      const wide = Math.min(width, height * (picture.width / picture.height)) * 0.28;
      const tall = (wide * picture.height) / picture.width;
      context.drawImage(picture.bitmap, width - wide - 12, height - tall - 12, wide, tall);
    }
    if (this.dims === 3) this.#floor(context, shown, colours);
    const bodies = shown.map((person) => ({ ...person, points: placed(this.camera, person.pose) }));
    const depths = bodies.flatMap(({ points }) => points.filter(Boolean).map((point) => point.depth));
    const near = Math.min(...depths);
    const far = Math.max(...depths, near + 1);
    const middle = ({ points }) => points.reduce((sum, point) => sum + (point?.depth ?? 0), 0);
    bodies.sort((a, b) => middle(b) - middle(a));
    for (const [joints, confidence] of Object.values(own)) {
      if (joints.length === confidence.length * this.dims) drawOwn(context, placed(this.camera, { joints, confidence }), colours);
    }
    const veil = behind || Object.keys(own).length ? 0.8 : 1; // what is behind shows through
    for (const { track, pose, points } of bodies) {
      const alpha = pose.alpha * veil * (chosen === null || one.length === 0 || track.key === chosen ? 1 : 0.25);
      const size = pose.hop.box[this.dims];
      if (bodies.length <= FEW || track.key === chosen) this.#trails(context, track, time, size, alpha, colours);
      drawBody(context, points, size, colours, alpha, near, this.dims === 3 ? far : near);
      this.#label(context, track, points, size, alpha, colours);
    }
  }

  #trails(context, track, time, size, alpha, colours) {
    const poses = [];
    for (let i = 0; i <= TRAIL_STEPS; i++) poses.push(track.poseAt(time - (i * TRAIL_S) / TRAIL_STEPS));
    context.lineCap = "round";
    for (const joint of TRAILED) {
      let last = null;
      for (let i = 0; i <= TRAIL_STEPS; i++) {
        const pose = poses[i];
        const point = pose?.joints && pose.confidence[joint] >= 0.3 ? this.camera.project(pose.joints, joint) : null;
        if (point && last) {
          const share = 1 - i / TRAIL_STEPS;
          context.strokeStyle = css(joint % 2 ? colours.left : colours.right, 0.45 * share * alpha);
          context.lineWidth = Math.max(1, 0.022 * size * point.scale * share);
          context.beginPath();
          context.moveTo(last.x, last.y);
          context.lineTo(point.x, point.y);
          context.stroke();
        }
        last = point;
      }
    }
  }

  #label(context, track, points, size, alpha, colours) {
    const top = points.filter(Boolean).reduce((best, point) => (point.y < best.y ? point : best), { y: Infinity });
    if (!Number.isFinite(top.y)) return;
    context.globalAlpha = alpha;
    context.fillStyle = css(colours.soft);
    context.font = "600 13px system-ui, sans-serif";
    context.textAlign = "center";
    context.fillText(String(track.number), top.x, Math.max(14, top.y - 0.075 * size * top.scale - 4));
    context.globalAlpha = 1;
  }

  #floor(context, people, colours) {
    const { x, z, radius, floor } = this.camera;
    const cell = radius > 600 ? 200 : 50; // cm
    const reach = Math.ceil((radius * 1.7) / cell) * cell;
    const [cx, cz] = [Math.round(x / cell) * cell, Math.round(z / cell) * cell];
    context.lineWidth = 1;
    for (let at = -reach; at <= reach; at += cell) {
      const alpha = 0.9 * (1 - (Math.abs(at) / reach) ** 2);
      context.strokeStyle = css(colours.line, alpha);
      const half = Math.sqrt(Math.max(0, reach * reach - at * at));
      for (const [a, b] of [[[cx + at, cz - half], [cx + at, cz + half]], [[cx - half, cz + at], [cx + half, cz + at]]]) {
        const from = this.camera.at(a[0], floor, a[1]);
        const to = this.camera.at(b[0], floor, b[1]);
        context.beginPath();
        context.moveTo(from.x, from.y);
        context.lineTo(to.x, to.y);
        context.stroke();
      }
    }
    for (const { pose } of people) {
      const [hx, hz] = [0, 2].map((axis) => (pose.joints[33 + axis] + pose.joints[36 + axis]) / 2);
      context.fillStyle = css([0, 0, 0], 0.16 * pose.alpha);
      context.beginPath();
      for (let turn = 0; turn < 20; turn++) {
        const point = this.camera.at(hx + 34 * Math.cos(turn * 0.314), floor, hz + 34 * Math.sin(turn * 0.314));
        context.lineTo(point.x, point.y);
      }
      context.fill();
    }
  }
}
