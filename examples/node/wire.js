// Frames of kinetoken's wire, version 1, checked as docs/wire.md says. 64-bit integers are BigInt where they may be large.
import { decode } from "@msgpack/msgpack";

const MAX_FRAME = 65536;
const MAX_COUNT = 2n ** 63n - 1n;
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const LABEL = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}@[0-9a-f]{12}$/;

const isInt = (value, low, high) =>
  (typeof value === "bigint" || Number.isInteger(value)) && BigInt(value) >= low && BigInt(value) <= high;
const isCount = (value) => isInt(value, 0n, MAX_COUNT);
const isTime = (value) => isInt(value, -(2n ** 63n), MAX_COUNT);
const isNumber = (value) => (typeof value === "number" || typeof value === "bigint") && Number.isFinite(Number(value));
const isBytes = (value, length) => value instanceof Uint8Array && (length === undefined || value.length === length);
const isSize = (value) => isInt(value, 1n, 65535n);
const isText = (value) => typeof value === "string" && [...value].length <= 200 && !/[\x00-\x1f\x7f-\x9f]/.test(value);

const COMMON = {
  stream: (value) => typeof value === "string" && NAME.test(value),
  epoch: (value) => isBytes(value, 16),
};
const PACKET = {
  ...COMMON,
  track: isCount,
  seq: isCount,
  frame: isCount,
  t: isTime,
  wall: isTime,
  fps: (value) => isNumber(value) && Number(value) >= 1e-3 && Number(value) <= 1e6,
  hop: (value) => isInt(value, 1n, 64n),
  tokenizer: (value) => typeof value === "string" && LABEL.test(value),
  shape: (value) => Array.isArray(value) && value.length === 4 && value.every(isSize),
  tokens: (value) => isBytes(value),
  box: (value) => Array.isArray(value) && value.every(isNumber) && Number(value.at(-1)) > 0,
  unit: (value) => value === "px" || value === "cm",
  observed: (value) => isInt(value, 0n, 2n ** 64n - 1n),
  reset: (value) => typeof value === "boolean",
};
const CONTROL = {
  status: {
    ...COMMON,
    uptime: (value) => isNumber(value) && Number(value) >= 0,
    people: isCount,
    counters: (value) =>
      value !== null &&
      typeof value === "object" &&
      Object.keys(value).length <= 64 &&
      Object.entries(value).every(([name, count]) => isText(name) && isCount(count)),
    tokenizer: (value) => value == null || (typeof value === "string" && LABEL.test(value)),
  },
  goodbye: {
    ...COMMON,
    reason: isText,
    last: (value) =>
      Array.isArray(value) && value.every((pair) => Array.isArray(pair) && pair.length === 2 && pair.every(isCount)),
    more: (value) => value === undefined || typeof value === "boolean",
  },
};

/** Return the map that a frame holds, with its `ids` if it is a packet. Throws an Error that says what is wrong. */
export function read(frame) {
  if (frame.length > MAX_FRAME) throw new Error(`frame of ${frame.length} bytes, more than ${MAX_FRAME}`);
  const end = frame.indexOf(0);
  const topic = end < 0 ? "" : Buffer.from(frame.subarray(0, end)).toString("latin1");
  const kind = topic.slice(0, 4);
  if (kind !== "tok/" && kind !== "ctl/") throw new Error("no topic ended by NUL");
  const limit = MAX_FRAME;
  const message = decode(frame.subarray(end + 1), {
    useBigInt64: true,
    maxStrLength: limit,
    maxBinLength: limit,
    maxArrayLength: 4096,
    maxMapLength: 256,
    maxExtLength: 0,
  });
  if (message === null || typeof message !== "object" || Array.isArray(message)) throw new Error("no map");
  if (BigInt(message.v ?? 0) !== 1n) throw new Error(`wire version ${message.v}, this reader knows 1`);
  const rules = kind === "tok/" ? PACKET : CONTROL[message.type];
  if (!rules) throw new Error(`unknown type ${message.type}`);
  for (const [key, rule] of Object.entries(rules)) {
    if (!rule(message[key])) throw new Error(`${key} is out of order`);
  }
  const expected = kind === "tok/" ? `tok/${message.stream}/${message.track}` : `ctl/${message.stream}`;
  if (topic !== expected) throw new Error(`topic ${topic} does not fit ${expected}`);
  if (kind === "tok/") check(message);
  return message;
}

function check(packet) {
  if (packet.box.length !== (packet.unit === "px" ? 3 : 4)) throw new Error("box does not fit the unit");
  if (BigInt(packet.observed) >> BigInt(packet.hop)) throw new Error("observed has bits beyond the hop");
  const [levels, time, height, width] = packet.shape.map(Number);
  if (packet.tokens.length !== 2 * levels * time * height * width) throw new Error("tokens do not fill the grid");
  const view = new DataView(packet.tokens.buffer, packet.tokens.byteOffset, packet.tokens.length);
  packet.ids = Array.from({ length: packet.tokens.length / 2 }, (_, i) => view.getUint16(2 * i, true));
}
