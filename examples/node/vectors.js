// Checks the test vectors: node vectors.js ../../tests/stream/wire/vectors
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { decode } from "@msgpack/msgpack";
import { read } from "./wire.js";

const folder = process.argv[2] ?? "../../tests/stream/wire/vectors";
// JSON has no integers beyond 2^53: those are compared as exactly as JavaScript reads them.
const text = readFileSync(join(folder, "vectors.json"), "utf8");
const listed = JSON.parse(text, (_, value) =>
  typeof value === "number" && Number.isInteger(value) ? BigInt(value) : value,
);
const plain = (value) => {
  if (value instanceof Uint8Array) return { hex: Buffer.from(value).toString("hex") };
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === "number" && Number.isInteger(value)) return BigInt(value);
  if (typeof value === "bigint") return BigInt(Number(value)); // as exact as JSON is here
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plain(each)]));
  }
  return value;
};

let failed = 0;
const fail = (entry, why) => {
  failed += 1;
  console.log(`${entry.file}: ${why}`);
};
for (const entry of listed) {
  const data = readFileSync(join(folder, entry.file));
  let message;
  try {
    message = entry.kind === "frame" ? read(data) : decode(data, { useBigInt64: true });
  } catch (error) {
    if (!entry.refused) fail(entry, `refused: ${error.message}`);
    continue;
  }
  delete message.ids;
  if (entry.refused) fail(entry, `not refused, but should be: ${entry.refused}`);
  else if (!isDeepStrictEqual(plain(message), entry.means)) fail(entry, "means something else");
}
console.log(`${listed.length} vectors, ${failed} failed`);
process.exit(failed ? 1 : 0);
