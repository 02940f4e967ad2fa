// Tokens as colours: the grid of one hop with what changed marked, and a ribbon of all hops over time.

import { css, fitted, sizeOf, tokenColour } from "./palette.js";

const SECONDS = 12; // of the ribbon
const LANES = 4;
const ABREAST = 4; // levels in a row, where a level has one id alone
const USUAL = 12; // such levels that there is room for, so that the cells of hops with fewer are no larger

/** Which cells differ from the hop before; all where there is none. */
export function changes(hop, before) {
  return hop.ids.map((id, i) => !before || before.seq !== hop.seq - 1 || before.ids[i] !== id);
}

const drawn = new WeakMap(); // what a canvas shows, so that it is drawn once a hop and not at every frame

export function drawGrid(canvas, hop, changed, colours) {
  const now = [hop, colours, sizeOf(canvas), window.devicePixelRatio];
  if (drawn.get(canvas)?.every((each, i) => each === now[i])) return;
  drawn.set(canvas, now);
  const [levels, depth, rows, columns] = hop ? hop.shape : [1, 1, 8, 8];
  const single = depth * rows * columns === 1;
  const across = single ? ABREAST : columns * depth;
  const down = single ? Math.ceil(Math.max(levels, USUAL) / ABREAST) : rows * levels;
  canvas.style.aspectRatio = `${across} / ${down}`;
  const { context, width, height } = fitted(canvas);
  const [w, h] = [width / across, height / down];
  context.font = `500 ${Math.min(12, h * 0.36)}px ui-monospace, monospace`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (let i = 0; i < levels * depth * rows * columns; i++) {
    const level = Math.floor(i / (depth * rows * columns));
    const slice = Math.floor(i / (rows * columns)) % depth;
    const row = single ? Math.floor(i / ABREAST) : level * rows + (Math.floor(i / columns) % rows);
    const x = (single ? i % ABREAST : slice * columns + (i % columns)) * w;
    const fresh = hop && changed[i];
    context.fillStyle = hop ? css(tokenColour(hop.ids[i]), fresh ? 1 : 0.28) : css(colours.line, 0.5);
    context.beginPath();
    context.roundRect(x + 1, row * h + 1, w - 2, h - 2, Math.min(5, w / 6));
    context.fill();
    if (hop && w >= 22) {
      context.fillStyle = fresh ? "#fff" : css(colours.soft);
      context.fillText(hop.ids[i], x + w / 2, row * h + h / 2 + 0.5);
    }
  }
}

/** A hop's tokens as a canvas one pixel wide; those that did not change are pale. */
function strip(hop, before) {
  const canvas = document.createElement("canvas");
  canvas.width = 1;
  canvas.height = Math.max(1, hop.ids.length);
  if (!hop.ids.length) return canvas; // all of it was foretold
  const context = canvas.getContext("2d");
  const image = context.createImageData(1, hop.ids.length);
  changes(hop, before).forEach((changed, i) => image.data.set([...tokenColour(hop.ids[i]), changed ? 255 : 90], 4 * i));
  context.putImageData(image, 0, 0);
  return canvas;
}

export function drawRibbon(canvas, people, time, colours) {
  const { context, width, height } = fitted(canvas);
  const lanes = people.slice(0, LANES);
  const gap = 4;
  const tall = (height - gap * Math.max(0, lanes.length - 1)) / Math.max(1, lanes.length);
  const scale = (width - 26) / SECONDS;
  context.imageSmoothingEnabled = false;
  context.textBaseline = "middle";
  context.font = "600 12px system-ui, sans-serif";
  context.textAlign = "left";
  lanes.forEach(({ track }, lane) => {
    const top = lane * (tall + gap);
    context.fillStyle = css(colours.line, 0.3);
    context.fillRect(26, top, width - 26, tall);
    context.fillStyle = css(colours.soft);
    context.fillText(track.number, 0, top + tall / 2);
    track.hops.forEach((hop, i) => {
      const seconds = hop.hop / hop.fps;
      const right = width - (time - hop.end) * scale;
      if (right < 26 || hop.end - seconds > time) return;
      const wide = Math.min(right, width) - Math.max(26, right - seconds * scale);
      if (wide <= 0) return;
      hop.strip ??= strip(hop, track.hops[i - 1]);
      context.drawImage(hop.strip, Math.max(26, right - seconds * scale), top, Math.max(0.5, wide - 0.7), tall);
    });
  });
}
