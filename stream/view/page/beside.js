// What a producer sends beside its tokens: its own joints, frame by frame, and small pictures; each with its time.

const HISTORY_S = 30;
const MOST = 4000;
const HOLD_S = 0.3; // how long the last one stays where no more comes

class Timeline {
  items = [];

  add(item) {
    let place = this.items.length;
    while (place > 0 && this.items[place - 1].end > item.end) place--;
    this.items.splice(place, 0, item);
    if (this.items.length > MOST) this.items.shift();
  }

  /** Index of the newest by a time; -1 where there is none, or none so recent. */
  indexAt(time) {
    let place = this.items.length;
    while (place > 0 && this.items[place - 1].end > time) place--;
    return place > 0 && time - this.items[place - 1].end <= HOLD_S ? place - 1 : -1;
  }

  trim(time) {
    while (this.items.length && this.items[0].end < time - HISTORY_S) this.items.shift();
  }
}

export class OwnJoints extends Timeline {
  /** {number: [joints, confidence]} at a time, between frames where there are two. */
  at(time) {
    const index = this.indexAt(time);
    if (index < 0) return {};
    const [item, next] = [this.items[index], this.items[index + 1]];
    if (!next || next.end - item.end > HOLD_S || next.dims !== item.dims) return item.people;
    const share = (time - item.end) / (next.end - item.end);
    return Object.fromEntries(Object.entries(item.people).map(([number, [joints, sure]]) => {
      const later = next.people[number]?.[0];
      return [number, [later ? joints.map((each, i) => each + (later[i] - each) * share) : joints, sure]];
    }));
  }
}

export class Pictures extends Timeline {
  #shown = null; // {item, bitmap}
  #opening = null;

  /** {bitmap, width, height} at a time, null where there is none; what is not unpacked yet comes a moment later. */
  at(time) {
    const index = this.indexAt(time);
    if (index < 0) return null;
    const item = this.items[index];
    if (this.#shown?.item !== item && !this.#opening) this.#open(item);
    return this.#shown && { bitmap: this.#shown.bitmap, width: item.width, height: item.height };
  }

  async #open(item) {
    this.#opening = item;
    try {
      const bytes = Uint8Array.from(atob(item.jpeg), (letter) => letter.charCodeAt(0));
      const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/jpeg" }));
      this.#shown?.bitmap.close();
      this.#shown = { item, bitmap };
    } catch {
      this.items = this.items.filter((each) => each !== item); // damaged: the one before stays
    } finally {
      this.#opening = null;
    }
  }
}

/** How far decoded people are from their own joints, on average; null where nobody has both. */
export function meanError(people, own, dims) {
  let sum = 0;
  let count = 0;
  for (const { track, pose } of people) {
    const [joints, sure] = own[track.number] ?? [];
    if (!joints || !pose.joints || joints.length !== pose.joints.length) continue;
    for (let i = 0; i < sure.length; i++) {
      if (sure[i] < 0.3) continue;
      let square = 0;
      for (let axis = 0; axis < dims; axis++) square += (joints[i * dims + axis] - pose.joints[i * dims + axis]) ** 2;
      sum += Math.sqrt(square);
      count++;
    }
  }
  return count ? sum / count : null;
}
