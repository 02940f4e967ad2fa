// Plays a log: loads the span around the playhead, piece by piece.

const PIECE_S = 10;

export class LogSource {
  #pieces = new Map(); // number -> true once it is there
  problem = "";

  constructor(length, take) {
    this.length = length;
    this.take = take;
  }

  /** Load what is needed around a time; true when what comes next is there. */
  ready(time) {
    const here = Math.floor(time / PIECE_S);
    for (const piece of [here, here - 1, here + 1]) {
      if (piece >= 0 && piece * PIECE_S <= this.length && !this.#pieces.has(piece)) this.#load(piece);
    }
    return this.#pieces.get(here) === true;
  }

  async #load(piece) {
    this.#pieces.set(piece, false);
    try {
      let from = piece * PIECE_S;
      const to = from + PIECE_S;
      while (from < to) {
        const response = await fetch(`log?from=${from}&to=${to}`);
        if (!response.ok) throw new Error(await response.text());
        const { messages, until } = await response.json();
        messages.forEach(this.take);
        from = Math.max(until, from + 0.001);
      }
      this.#pieces.set(piece, true);
      this.problem = "";
    } catch (error) {
      this.problem = error.message;
      setTimeout(() => this.#pieces.delete(piece), 1000);
    }
  }

  /** Forget the pieces far from a time. */
  trim(time) {
    const here = Math.floor(time / PIECE_S);
    for (const piece of this.#pieces.keys()) if (this.#pieces.get(piece) && Math.abs(piece - here) > 3) this.#pieces.delete(piece);
  }
}
