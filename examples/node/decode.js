// Prints the joints of a producer's packets, a JSON object a line: node decode.js ADDRESS TOKENIZER_FOLDER
import { Subscriber } from "zeromq";
import { Decoder } from "./decoder.js";
import { read } from "./wire.js";

const [address, folder] = process.argv.slice(2);
const decoder = await Decoder.open(folder); // before anything is heard, so that the first packet need not wait
const stream = new Subscriber({ receiveHighWaterMark: 10000, maxMessageSize: 1048576 });
stream.connect(address);
stream.subscribe("ctl/", "tok/");

for await (const [frame] of stream) {
  try {
    const message = read(frame);
    if (message.type === "goodbye") break;
    if (message.type === "status") continue;
    const { joints, confidence } = await decoder.decode(message);
    const { stream: name, track, seq, unit } = message;
    console.log(JSON.stringify({ stream: name, track: Number(track), seq: Number(seq), unit, joints, confidence }));
  } catch (error) {
    console.error(`left out: ${error.message}`);
  }
}
stream.close();
