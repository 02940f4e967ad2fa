// Prints the packets of a producer: node reader.js [tcp://127.0.0.1:5555] [how many]
import { decode, encode } from "@msgpack/msgpack";
import { Request, Subscriber } from "zeromq";
import { read } from "./wire.js";

const [address = "tcp://127.0.0.1:5555", count = "0"] = process.argv.slice(2);
const stream = new Subscriber({ receiveHighWaterMark: 10000, maxMessageSize: 1048576 });
stream.connect(address);
stream.subscribe("ctl/", "tok/");

const last = new Map(); // the newest seq of each (stream, track, epoch)
let told = "";
let seen = 0;
let refused = 0;

for await (const [frame] of stream) {
  let message;
  try {
    message = read(frame);
  } catch (error) {
    refused += 1;
    console.error(`refused: ${error.message}`);
    continue;
  }
  if (message.type === "goodbye") {
    console.error(`${message.stream}: goodbye (${message.reason})`);
    break;
  }
  if (message.type === "status") {
    if (message.control?.startsWith("tcp://*:") && told !== message.control) await tell((told = message.control));
    continue;
  }
  const key = [message.stream, message.track, Buffer.from(message.epoch).toString("hex")].join("/");
  const skipped = last.has(key) ? BigInt(message.seq) - last.get(key) - 1n : 0n;
  if (skipped < 0n) continue; // a duplicate, or late
  last.set(key, BigInt(message.seq));
  const ids = message.ids.slice(0, 6).join(" ");
  console.log(`${message.stream}/${message.track}  seq ${message.seq}  lost ${skipped}  ids ${ids} ...`);
  if (++seen === Number(count)) break;
}
console.error(`read ${seen}, refused ${refused}`);
stream.close();

/** Ask the control socket what there is, and say it. */
async function tell(control) {
  const asker = new Request({ receiveTimeout: 2000, linger: 0 });
  asker.connect(address.replace(/:\d+$/, control.slice("tcp://*".length)));
  await asker.send(encode({ v: 1, type: "info", id: 1 }));
  const [reply] = await asker.receive();
  for (const each of decode(reply, { useBigInt64: true }).streams ?? []) {
    console.error(`${each.stream}: ${each.tokenizer}, ${each.packets} packets kept`);
  }
  asker.close();
}
