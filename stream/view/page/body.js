// Draws one body: tapered limbs between soft joints, its own left and right in two colours, what is far away paler.

import { css, mix } from "./palette.js";

const SEEN = 0.3;
// Joint pairs with their widths at both ends, in shares of the body's size.
const LIMBS = [
  [5, 7, 0.031, 0.025], [7, 9, 0.025, 0.018], [6, 8, 0.031, 0.025], [8, 10, 0.025, 0.018],
  [11, 13, 0.042, 0.031], [13, 15, 0.031, 0.021], [12, 14, 0.042, 0.031], [14, 16, 0.031, 0.021],
];
const TORSO = [5, 6, 12, 11];
const OWN = [...LIMBS, [5, 6], [6, 12], [12, 11], [11, 5], [0, 1], [0, 2], [1, 3], [2, 4]];

/** The canvas positions of a pose's joints, null where one is not seen. */
export function placed(camera, pose) {
  return Array.from(pose.confidence, (sure, i) => (sure >= SEEN ? camera.project(pose.joints, i) : null));
}

/** Draw a body. points: from `placed`; size: of the body, px or cm; near, far: depths drawn fully and palest. */
export function drawBody(context, points, size, colours, alpha, near, far) {
  const parts = [];
  const shade = (colour, depth) => mix(colour, colours.card, far > near ? 0.55 * Math.min(1, Math.max(0, (depth - near) / (far - near))) : 0);
  const side = (i) => (i === 0 ? colours.ink : i % 2 ? colours.left : colours.right);
  for (const [a, b, wide, narrow] of LIMBS) {
    if (!points[a] || !points[b]) continue;
    const depth = (points[a].depth + points[b].depth) / 2;
    parts.push([depth, () => limb(context, points[a], points[b], wide * size, narrow * size, css(shade(side(a), depth)))]);
  }
  if (TORSO.every((i) => points[i])) {
    const depth = TORSO.reduce((sum, i) => sum + points[i].depth, 0) / 4;
    parts.push([depth, () => torso(context, points, size, shade(colours.left, depth), shade(colours.right, depth))]);
  }
  const face = points.slice(0, 5).filter(Boolean);
  if (face.length) {
    const depth = face.reduce((sum, each) => sum + each.depth, 0) / face.length;
    parts.push([depth, () => head(context, points, face, size, (colour) => shade(colour, depth), colours)]);
  }
  context.globalAlpha = alpha;
  for (const [, draw] of parts.sort((a, b) => b[0] - a[0])) draw();
  context.globalAlpha = 1;
}

/** Draw the producer's own joints of a person, to stand behind the decoded body. */
export function drawOwn(context, points, colours) {
  context.strokeStyle = css(colours.ink, 0.75);
  context.lineWidth = 2;
  context.lineCap = context.lineJoin = "round";
  context.beginPath();
  for (const [a, b] of OWN) {
    if (!points[a] || !points[b]) continue;
    context.moveTo(points[a].x, points[a].y);
    context.lineTo(points[b].x, points[b].y);
  }
  context.stroke();
}

function limb(context, a, b, wide, narrow, colour) {
  const angle = Math.atan2(b.y - a.y, b.x - a.x);
  context.fillStyle = colour;
  context.beginPath();
  context.arc(a.x, a.y, Math.max(1, wide * a.scale), angle + Math.PI / 2, angle - Math.PI / 2);
  context.arc(b.x, b.y, Math.max(1, narrow * b.scale), angle - Math.PI / 2, angle + Math.PI / 2);
  context.closePath();
  context.fill();
  context.strokeStyle = "rgba(255,255,255,0.16)";
  context.lineWidth = 1;
  context.stroke();
}

function torso(context, points, size, left, right) {
  const [a, b, c, d] = TORSO.map((i) => points[i]);
  const middle = (p, q) => ({ x: (p.x + q.x) / 2, y: (p.y + q.y) / 2 });
  const from = middle(a, d);
  const to = middle(b, c);
  const colour = context.createLinearGradient(from.x, from.y, to.x, to.y);
  colour.addColorStop(0, css(left));
  colour.addColorStop(1, css(right));
  context.fillStyle = context.strokeStyle = colour;
  context.lineJoin = "round";
  context.lineWidth = Math.max(2, 0.06 * size * a.scale);
  context.beginPath();
  for (const point of [a, b, c, d]) context.lineTo(point.x, point.y);
  context.closePath();
  context.fill();
  context.stroke();
}

function head(context, points, face, size, shade, colours) {
  const ears = points[3] && points[4] ? [points[3], points[4]] : face;
  const x = ears.reduce((sum, each) => sum + each.x, 0) / ears.length;
  const y = ears.reduce((sum, each) => sum + each.y, 0) / ears.length;
  const scale = face[0].scale;
  if (points[5] && points[6]) {
    const neck = { x: (points[5].x + points[6].x) / 2, y: (points[5].y + points[6].y) / 2, scale };
    limb(context, neck, { x, y, scale }, 0.026 * size, 0.026 * size, css(shade(mix(colours.ink, colours.card, 0.35))));
  }
  context.fillStyle = css(shade(mix(colours.ink, colours.card, 0.2)));
  context.beginPath();
  context.arc(x, y, Math.max(2, 0.062 * size * scale), 0, 7);
  context.fill();
  for (const [i, colour] of [[1, colours.left], [2, colours.right], [0, colours.card]]) {
    if (!points[i] || Math.hypot(points[i].x - x, points[i].y - y) > 0.09 * size * scale) continue;
    context.fillStyle = css(colour);
    context.beginPath();
    context.arc(points[i].x, points[i].y, Math.max(1, 0.01 * size * scale), 0, 7);
    context.fill();
  }
}
