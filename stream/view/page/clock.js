// Where on the timeline the page is: it follows a live stream one hop behind, evenly, or plays a log at a speed.

const WINDOW_S = 2; // of arrivals: the slowest tells how far behind to stay, so that nobody runs out of motion
const MARGIN_S = 0.08;
const JUMP_S = 5; // what is further behind is left out

/** now: seconds of the page's own clock throughout. */
export class LiveClock {
  #samples = [];
  #longest = 0;
  #shortest = 1;
  #last = null;
  time = null;
  paused = false;

  /** A hop that ends at `end`, `seconds` long, has come. */
  arrived(end, seconds, now) {
    this.#samples.push([now, end - now]);
    while (this.#samples[0][0] < now - WINDOW_S) this.#samples.shift();
    this.#longest = Math.max(this.#longest * 0.999, seconds);
    this.#shortest = seconds;
    this.time ??= end - seconds; // from the first packet on: the rest is caught up with
  }

  restart() {
    this.#samples = [];
    this.#longest = 0;
    this.time = null;
  }

  advance(now) {
    const passed = this.#last === null ? 0 : now - this.#last;
    this.#last = now;
    if (this.paused || !this.#samples.length) return;
    const ahead = Math.min(...this.#samples.map((sample) => sample[1]));
    const target = now + ahead - this.#longest - MARGIN_S;
    const behind = target - this.time;
    if (Math.abs(behind) > JUMP_S) this.time = target;
    else {
      // At most a little less than a hop at a time, so that a slow browser draws every packet, and never back.
      const step = passed + Math.max(-passed / 2, (behind - passed) * Math.min(1, 4 * passed));
      this.time += Math.min(Math.max(0, step), this.#shortest * 0.9);
    }
  }

  step(seconds) {
    if (this.time !== null) this.time += seconds;
  }
}

export class LogClock {
  #last = null;
  time = 0;
  paused = false;
  speed = 1;
  ready = false; // what comes next is there

  constructor(length) {
    this.length = length;
  }

  advance(now) {
    const passed = this.#last === null ? 0 : Math.min(now - this.#last, 0.2);
    this.#last = now;
    if (!this.paused && this.ready) this.time = Math.min(this.time + passed * this.speed, this.length);
    if (this.time >= this.length) this.paused = true;
  }

  step(seconds) {
    this.time = Math.min(Math.max(0, this.time + seconds), this.length);
  }
}
