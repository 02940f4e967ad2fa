// The motion of people on a timeline in seconds: hops go in, the pose at any time comes out.

const JOINTS = 17;
const HOLD_S = 0.6; // how long the last pose stays, fading, when no more comes
const STEADY_S = 0.1; // jitter of capture times that is smoothed within a run of hops

/** One person of one run of a producer. Hops are in the order of time and never overlap by more than jitter. */
export class Track {
  constructor(key, number, unit) {
    Object.assign(this, { key, number, unit, dims: unit === "px" ? 2 : 3, hops: [], settled: 0 });
  }

  add(hop) {
    hop.drawn = false;
    const place = placeOf(this.hops, hop.end);
    const before = this.hops[place - 1];
    if (this.hops.some((each) => each.seq === hop.seq)) return false;
    if (before && hop.seq === before.seq + 1 && !hop.reset) {
      const due = before.end + hop.hop / hop.fps;
      if (Math.abs(hop.end - due) < STEADY_S) hop.end = due + 0.1 * (hop.end - due);
    }
    hop.begin = hop.end - (hop.hop - 1) / hop.fps;
    this.hops.splice(place, 0, hop);
    return true;
  }

  forgetBefore(time) {
    while (this.hops.length && this.hops[0].end < time) {
      this.hops.shift();
      this.settled = Math.max(0, this.settled - 1);
    }
  }

  /** The last hop that has begun by `time`; its predecessor is the one before in `hops`. */
  indexAt(time) {
    let low = 0;
    let high = this.hops.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.hops[middle].begin - 1 / this.hops[middle].fps < time) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** {joints, confidence, alpha, hop, index} at a time, null where the person is not there. */
  poseAt(time) {
    const index = this.indexAt(time);
    if (index < 0) return null;
    const hop = this.hops[index];
    const late = time - hop.end;
    if (late > HOLD_S) return null;
    const alpha = late > 0.3 ? 1 - (late - 0.3) / (HOLD_S - 0.3) : 1;
    if (!hop.joints) return { joints: null, alpha, hop, index };
    return { ...blend(hop, this.hops[index - 1], time, this.dims), alpha, hop, index };
  }
}

function placeOf(hops, end) {
  let place = hops.length;
  while (place > 0 && hops[place - 1].end > end) place--;
  return place;
}

/** The pose between two frames of a hop, or between the last frame of the hop before and the first. */
function blend(hop, before, time, dims) {
  const at = Math.min((time - hop.begin) * hop.fps, hop.hop - 1);
  const size = JOINTS * dims;
  let from = hop.joints;
  let start = Math.max(0, Math.floor(at)) * size;
  let share = at - Math.floor(at);
  if (at < 0 && before?.joints && hop.begin - before.end < 2.5 / hop.fps) {
    from = before.joints;
    start = (before.hop - 1) * size;
  } else if (at < 0) share = 0;
  const frame = at < 0 ? 0 : Math.min(Math.floor(at) + 1, hop.hop - 1);
  const joints = new Float32Array(size);
  for (let i = 0; i < size; i++) joints[i] = from[start + i] * (1 - share) + hop.joints[frame * size + i] * share;
  const row = Math.max(0, Math.floor(at)) * JOINTS;
  return { joints, confidence: hop.confidence.slice(row, row + JOINTS) };
}
