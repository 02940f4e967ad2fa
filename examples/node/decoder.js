// Packets to joints with ONNX Runtime alone, as docs/decoding.md says.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { InferenceSession, Tensor } from "onnxruntime-node";

/** The decoder of one tokenizer: keeps a state for each person of each stream. */
export class Decoder {
  /** Open the tokenizer in a folder: config.json and decoder.onnx. */
  static async open(folder) {
    const config = JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));
    return new Decoder(config, await InferenceSession.create(join(folder, "decoder.onnx")));
  }

  constructor(config, session) {
    this.config = config;
    this.session = session;
    this.label = `${config.name}@${config.weights_hash.slice(0, 12)}`;
    this.people = new Map(); // by stream, track and epoch: the state, and the seq it has come to
  }

  /** Return { joints: [hop][17][2 or 3], confidence: [hop][17] } of a packet, in its unit; give each person's in order. */
  async decode(packet) {
    const { config } = this;
    if (packet.tokenizer !== this.label) throw new Error(`made with ${packet.tokenizer}, this is ${this.label}`);
    if (packet.shape.map(Number).join() !== config.token_grid.join()) throw new Error("another token grid");
    if (packet.ids.some((id) => id >= config.vocabulary)) throw new Error(`an id of ${config.vocabulary} or more`);

    const key = [packet.stream, packet.track, Buffer.from(packet.epoch).toString("hex")].join("/");
    const person = this.people.get(key) ?? { state: this.fresh(), seq: -1n };
    const follows = BigInt(packet.seq) === person.seq + 1n;
    const given = await this.session.run({
      tokens: new Tensor("int32", Int32Array.from(packet.ids), [1, ...config.token_grid]),
      reset: new Tensor("float32", [packet.reset || !follows ? 1 : 0], [1]),
      ...person.state,
    });
    const state = Object.fromEntries(Object.keys(person.state).map((name) => [name, given[`new_${name}`]]));
    this.people.set(key, { state, seq: BigInt(packet.seq) });

    const centre = packet.box.slice(0, -1).map(Number);
    const side = Number(packet.box.at(-1));
    const [, hop, joints, dims] = given.joints.dims;
    const places = given.joints.data;
    const at = (frame, joint) =>
      centre.map((middle, axis) => (places[(frame * joints + joint) * dims + axis] - 0.5) * side + middle);
    const range = (count) => [...Array(count).keys()];
    return {
      joints: range(hop).map((frame) => range(joints).map((joint) => at(frame, joint))),
      confidence: range(hop).map((frame) => [...given.confidence.data.slice(frame * joints, (frame + 1) * joints)]),
    };
  }

  /** Return the state of somebody of whom nothing has been seen: zeros. */
  fresh() {
    const zeros = ([path, shape]) => {
      const size = shape.reduce((product, length) => product * length, 1);
      return [`state.${path}`, new Tensor("float32", new Float32Array(size), [1, ...shape])];
    };
    return Object.fromEntries(Object.entries(this.config.decoder_states).map(zeros));
  }
}
