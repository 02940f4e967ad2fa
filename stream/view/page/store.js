// What has come, by stream and person, and how much of it was drawn.

import { OwnJoints, Pictures } from "./beside.js";
import { Track } from "./motion.js";

const HISTORY_S = 30;
const MOST_TRACKS = 400;

export class Stream {
  tracks = new Map();
  own = new OwnJoints();
  pictures = new Pictures();
  received = 0; // hops that came to this page
  drawn = 0;
  skipped = 0; // passed without being drawn: while paused, or in a browser too slow
  state = null; // the viewer's last report

  constructor(name) {
    this.name = name;
  }

  track(message) {
    const key = `${message.epoch}/${message.track}`;
    let track = this.tracks.get(key);
    if (!track) {
      track = new Track(key, message.track, message.unit);
      this.tracks.set(key, track);
      if (this.tracks.size > MOST_TRACKS) this.tracks.delete(this.tracks.keys().next().value);
    }
    return track;
  }

  add(hop) {
    if (this.track(hop).add(hop)) this.received++;
  }

  /** [{track, pose}] of everybody who is there at a time, by number; counts what is drawn and what was passed by. */
  draw(time) {
    const present = [];
    for (const track of this.tracks.values()) {
      const pose = track.poseAt(time);
      if (pose) {
        present.push({ track, pose });
        if (!pose.hop.drawn) {
          pose.hop.drawn = true;
          this.drawn++;
        }
      }
      while (track.settled < track.hops.length && track.hops[track.settled].end < time) {
        if (!track.hops[track.settled].drawn) {
          track.hops[track.settled].drawn = true;
          this.skipped++;
        }
        track.settled++;
      }
    }
    return present.sort((a, b) => a.track.number - b.track.number);
  }

  /** Forget what is long past. */
  trim(time) {
    for (const [key, track] of this.tracks) {
      track.forgetBefore(time - HISTORY_S);
      if (!track.hops.length) this.tracks.delete(key);
    }
    this.own.trim(time);
    this.pictures.trim(time);
  }
}
