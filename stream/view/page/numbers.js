// The panel of numbers.

const LIVE = {
  people: "people", vocabulary: "ids in use", tokens: "tokens/s", bits: "bit/s", wire: "bytes/s on the wire",
  rate: "packets/s", p50: "latency p50", p99: "latency p99", error: "decoded off by", received: "received", drawn: "drawn", skipped: "not drawn",
  gaps: "gaps", repaired: "repaired", lost: "lost", restarts: "restarts", frames: "frames/s drawn",
};
const LOG = { people: "people", packets: "packets in the log", missing: "missing", received: "loaded", drawn: "drawn", frames: "frames/s drawn" };

export class Numbers {
  #fields = {};

  constructor(list, mode) {
    for (const [key, label] of Object.entries(mode === "log" ? LOG : LIVE)) {
      const box = document.createElement("div");
      const name = document.createElement("dt");
      const value = document.createElement("dd");
      name.textContent = label;
      value.id = `n-${key}`;
      value.textContent = "–";
      box.append(name, value);
      list.append(box);
      this.#fields[key] = value;
    }
  }

  set(key, value, unit = "") {
    const field = this.#fields[key];
    if (!field) return;
    const text = typeof value === "number" ? value.toLocaleString("en", { maximumFractionDigits: value < 20 ? 1 : 0 }) : value ?? "–";
    if (field.dataset.text === text + unit) return;
    field.dataset.text = text + unit;
    field.textContent = text;
    if (unit && value !== null) {
      const small = document.createElement("small");
      small.textContent = ` ${unit}`;
      field.append(small);
    }
    if (key === "lost" || key === "missing") field.parentElement.classList.toggle("bad", value > 0);
  }

  /** Show the viewer's report of a stream. */
  state(state) {
    this.set("people", state.people);
    this.set("vocabulary", state.used, `of ${state.vocabulary}`);
    this.set("tokens", Math.round(state.tokens_s));
    this.set("bits", Math.round(state.bits_s));
    this.set("wire", Math.round(state.bytes_s));
    this.set("rate", state.packets_s);
    this.set("p50", state.latency_p50, "ms");
    this.set("p99", state.latency_p99, "ms");
    this.set("received", state.received);
    this.set("gaps", state.gaps + state.repaired);
    this.set("repaired", state.repaired);
    this.set("lost", state.gaps);
    this.set("restarts", state.restarts);
  }
}
