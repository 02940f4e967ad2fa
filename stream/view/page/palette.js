// Colours: of tokens, by id, and of the theme, from the style sheet.

const PLACE = 0.6180339887; // ids that follow each other get colours far apart

/** [r, g, b] of an id: from blue over violet and rose to amber, evenly light. */
export function tokenColour(id) {
  const share = (id * PLACE) % 1;
  const hue = 230 + share * 190;
  const light = 0.5 + 0.16 * ((id * 0.7548776662) % 1);
  return hslToRgb((hue % 360) / 360, 0.66, light);
}

function hslToRgb(h, s, l) {
  const a = s * Math.min(l, 1 - l);
  const part = (n) => {
    const k = (n + h * 12) % 12;
    return Math.round(255 * (l - a * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [part(0), part(8), part(4)];
}

/** The theme's colours as [r, g, b], by name; read anew when the theme changes. */
export function themeColours() {
  const probe = document.createElement("i");
  document.body.append(probe);
  const colours = {};
  for (const name of ["card", "line", "ink", "soft", "left", "right"]) {
    probe.style.color = `var(--${name})`;
    colours[name] = getComputedStyle(probe).color.match(/[\d.]+/g).slice(0, 3).map(Number);
  }
  probe.remove();
  return colours;
}

export const css = ([r, g, b], alpha = 1) => `rgba(${r | 0},${g | 0},${b | 0},${alpha})`;
export const mix = (a, b, share) => a.map((each, i) => each + (b[i] - each) * share);

const sizes = new WeakMap(); // of canvases, as they change: asking at every frame would lay out the page each time
const watcher = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) sizes.set(target, [contentRect.width, contentRect.height]);
});

/** [width, height] of a canvas in CSS pixels; the same array until they change. */
export function sizeOf(canvas) {
  if (!sizes.has(canvas)) {
    sizes.set(canvas, [canvas.clientWidth, canvas.clientHeight]);
    watcher.observe(canvas);
  }
  return sizes.get(canvas);
}

/** A canvas fitted to its place on the page, at the screen's resolution; {context, width, height} in CSS pixels. */
export function fitted(canvas) {
  const scale = Math.min(window.devicePixelRatio || 1, 2);
  const [width, height] = sizeOf(canvas);
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}
