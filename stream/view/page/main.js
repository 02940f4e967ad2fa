// The page: asks what it shows, takes messages, draws every frame, and does what keys and buttons say.

import { meanError } from "./beside.js";
import { LiveClock, LogClock } from "./clock.js";
import { connect } from "./link.js";
import { LogSource } from "./log.js";
import { Numbers } from "./numbers.js";
import { themeColours } from "./palette.js";
import { Stage } from "./stage.js";
import { Stream } from "./store.js";
import { changes, drawGrid, drawRibbon } from "./tokens.js";

const at = (id) => document.getElementById(id);
const seconds = () => performance.now() / 1000;
const MOST_STREAMS = 64;
const NUMBERS_S = 0.15; // nobody reads faster

const about = await (await fetch("about")).json();
const isLog = about.mode === "log";
const streams = new Map();
const clocks = new Map();
const numbers = new Numbers(at("numbers"), about.mode);
const stage = new Stage(at("stage"));
const logClock = isLog ? new LogClock(about.seconds) : null;
const log = isLog ? new LogSource(about.seconds, take) : null;
let chosenStream = null;
let chosenPerson = null; // its number, which outlives a restart of the producer
let viewerLost = false;
let report = null;
let colours = themeColours();
let paused = false;
let error = null; // of the decoded people, smoothed
const beside = { joints: true, picture: true }; // what is shown of what comes beside the tokens

function streamOf(name) {
  if (!streams.has(name) && streams.size < MOST_STREAMS) {
    streams.set(name, new Stream(name));
    clocks.set(name, logClock ?? new LiveClock());
    clocks.get(name).paused = paused;
    at("stream").append(new Option(name, name));
    at("stream-choice").hidden = streams.size < 2;
    chosenStream ??= name;
  }
  return streams.get(name);
}

function take(message) {
  if (message.type === "state") return takeReport(message);
  const stream = streamOf(message.stream);
  if (!stream) return;
  if (message.type === "joints" || message.type === "picture") {
    at(`show-${message.type}`).hidden = false;
    return (message.type === "joints" ? stream.own : stream.pictures).add(message);
  }
  if (!isLog) {
    const clock = clocks.get(message.stream);
    if (stream.epoch !== undefined && stream.epoch !== message.epoch) clock.restart();
    stream.epoch = message.epoch;
    clock.arrived(message.end, message.hop / message.fps, seconds());
  }
  stream.add(message);
}

function takeReport(message) {
  report = message;
  for (const state of message.streams) {
    const stream = streamOf(state.name);
    if (stream) stream.state = state;
  }
}

function showStatus(stream) {
  let state = "live";
  let text = isLog ? about.source : `${stream?.name} from ${about.source}`;
  let message = "";
  if (viewerLost) {
    [state, text, message] = ["gone", "viewer gone", "The viewer has ended. Start python -m stream.view again; this page comes back by itself."];
  } else if (isLog && log.problem) [state, message] = ["gone", log.problem];
  else if (isLog && !about.packets) message = "The log is empty.";
  else if (!isLog && !stream) {
    [state, text] = ["waiting", `waiting for a producer at ${about.source}`];
    message = `Waiting for a producer at ${about.source}. Start one: python -m stream.producer --demo`;
  } else if (!isLog && stream.state?.gone) {
    [state, text] = ["gone", stream.state.goodbye ? `the producer said goodbye: ${stream.state.goodbye}` : `the producer is gone, silent for ${Math.round(stream.state.silent)} s`];
    message = "The producer is gone. This page goes on when it is back.";
  } else if (!isLog && stream.state && !stream.state.people) message = "Nobody is in the picture.";
  if (!isLog && report?.problem && !viewerLost) message ||= report.problem;
  at("status").dataset.state = state;
  at("status-text").textContent = text;
  at("message").textContent = message;
  at("message").hidden = !message;
}

let shownPeople = "";
function showPeople(people) {
  const key = JSON.stringify([people.map(({ track }) => track.number), chosenPerson]);
  if (key === shownPeople) return;
  shownPeople = key;
  const button = (label, number) => {
    const made = document.createElement("button");
    made.textContent = label;
    made.ariaPressed = String(number === chosenPerson);
    made.onclick = () => choosePerson(number);
    return made;
  };
  at("people").replaceChildren(...(people.length > 1 ? [button("everybody", null), ...people.map(({ track }) => button(people.length > 9 ? track.number : `person ${track.number}`, track.number))] : []));
}

function choosePerson(number) {
  chosenPerson = number === chosenPerson ? null : number;
}

let before = null;
let frames = [];
let trimDue = 0;
let numbersDue = 0;
function frame() {
  const now = seconds();
  const passed = before === null ? 0 : now - before;
  before = now;
  frames.push(now);
  while (frames[0] < now - 2) frames.shift();
  if (log) {
    logClock.ready = log.ready(logClock.time);
    if (logClock.paused !== paused) setPaused(logClock.paused);
    if (document.activeElement !== at("slider") || !paused) at("slider").value = logClock.time;
    at("place").textContent = duration(logClock.time);
  }
  for (const clock of new Set(clocks.values())) clock.advance(now);
  if (log && !clocks.size) logClock.advance(now);
  const stream = streams.get(chosenStream);
  showStatus(stream);
  if (stream) draw(stream, clocks.get(chosenStream), passed);
  if (now > trimDue) {
    trimDue = now + 1;
    for (const [name, each] of streams) if (clocks.get(name).time !== null && !paused) each.trim(clocks.get(name).time);
    log?.trim(logClock.time);
  }
  requestAnimationFrame(frame);
}

function draw(stream, clock, passed) {
  const people = clock.time === null ? [] : stream.draw(clock.time);
  const one = people.find(({ track }) => track.number === chosenPerson);
  const own = beside.joints ? stream.own.at(clock.time) : {};
  const picture = beside.picture ? stream.pictures.at(clock.time) : null;
  stage.draw(stream, people, one?.track.key ?? null, clock.time, passed, colours, own, picture);
  showPeople(people);
  const shown = one ?? people[0];
  const previous = shown?.track.hops[shown.pose.index - 1];
  const changed = shown ? changes(shown.pose.hop, previous) : [];
  drawGrid(at("grid"), shown?.pose.hop, changed, colours);
  at("tokens-of").textContent = shown ? `of person ${shown.track.number}` : "";
  at("changed").textContent = changed.filter(Boolean).length;
  at("cells").textContent = changed.length;
  drawRibbon(at("ribbon"), one ? [one] : people, clock.time, colours);
  const off = meanError(one ? [one] : people, own, stage.dims);
  error = off === null ? null : (error ?? off) + 0.05 * (off - (error ?? off));
  if (before > numbersDue) {
    numbersDue = before + NUMBERS_S;
    showNumbers(stream, people);
  }
  Object.assign(at("stage").dataset, { people: people.length, time: clock.time ?? "", dims: stage.dims, own: Object.keys(own).length, picture: picture ? `${picture.bitmap.width}x${picture.bitmap.height}` : "" });
}

function showNumbers(stream, people) {
  if (stream.state) numbers.state(stream.state);
  else numbers.set("people", people.length);
  if (isLog) {
    numbers.set("packets", about.packets);
    numbers.set("missing", about.missing);
    numbers.set("received", stream.received);
  }
  if (stream.own.items.length) numbers.set("error", error, stage.dims === 3 ? "cm" : "px");
  numbers.set("drawn", stream.drawn);
  numbers.set("skipped", stream.skipped);
  numbers.set("frames", Math.round(frames.length / Math.max(0.5, Math.min(2, frames.at(-1) - frames[0]))));
  const unit = stage.dims === 3 ? "cm, drag to turn" : "px";
  at("caption").textContent = stream.state ? `${stream.state.tokenizer || ""}${stream.state.backend ? ` on ${stream.state.backend}` : ""} · ${unit}` : "";
}

function duration(time) {
  return `${Math.floor(time / 60)}:${(time % 60).toFixed(1).padStart(4, "0")}`;
}

function setPaused(value) {
  paused = value;
  for (const clock of clocks.values()) clock.paused = value;
  if (logClock) {
    if (!value && logClock.time >= logClock.length) logClock.time = 0;
    logClock.paused = value;
  }
  at("pause").textContent = value ? "Play" : "Pause";
}

function step(direction, wholeHop) {
  setPaused(true);
  const clock = clocks.get(chosenStream);
  const hop = [...(streams.get(chosenStream)?.tracks.values() ?? [])].at(-1)?.hops.at(-1);
  clock?.step((direction / (hop?.fps ?? 30)) * (wholeHop ? (hop?.hop ?? 8) : 1));
}

function toggleTheme() {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = localStorage.theme = dark ? "light" : "dark";
  colours = themeColours();
}

function toggleBeside(what) {
  beside[what] = !beside[what];
  at(`show-${what}`).ariaPressed = String(beside[what]);
}

const KEYS = {
  " ": () => setPaused(!paused),
  ArrowLeft: (event) => step(-1, event.shiftKey),
  ArrowRight: (event) => step(1, event.shiftKey),
  0: () => (chosenPerson = null),
  d: toggleTheme,
  j: () => toggleBeside("joints"),
  p: () => toggleBeside("picture"),
  s: () => {
    const names = [...streams.keys()];
    if (names.length) at("stream").value = chosenStream = names[(names.indexOf(chosenStream) + 1) % names.length];
  },
  "?": () => at("keys").showModal(),
};

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || at("keys").open) return;
  if (event.key >= "1" && event.key <= "9") {
    const people = [...at("people").querySelectorAll("button")].slice(1);
    people[event.key - 1]?.click();
  } else if (KEYS[event.key]) KEYS[event.key](event);
  else return;
  event.preventDefault();
});
at("pause").onclick = (event) => {
  setPaused(!paused);
  event.target.blur(); // or the space key would press it again
};
at("theme").onclick = toggleTheme;
for (const what of Object.keys(beside)) at(`show-${what}`).onclick = () => toggleBeside(what);
at("help").onclick = () => at("keys").showModal();
at("stream").onchange = (event) => (chosenStream = event.target.value);
at("slider").oninput = (event) => (logClock.time = Number(event.target.value));
at("speed").onchange = (event) => (logClock.speed = Number(event.target.value));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (colours = themeColours()));
if (localStorage.theme) {
  document.documentElement.dataset.theme = localStorage.theme;
  colours = themeColours();
}
if (isLog) {
  at("slider-box").hidden = false;
  at("slider").max = about.seconds;
  at("length").textContent = duration(about.seconds);
} else connect(take, (lost) => (viewerLost = lost));
requestAnimationFrame(frame);
