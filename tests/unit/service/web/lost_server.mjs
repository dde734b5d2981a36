/**
 * What the webcam's streams do, and tell, when their server is gone for longer than they try.
 *
 * node lost_server.mjs FOLDER; FOLDER has the page's modules. Prints what was seen as JSON.
 */

import { join } from "node:path";
import { pathToFileURL } from "node:url";

const { LivePoses } = await import(pathToFileURL(join(process.argv[2], "webcam", "live.js")));
const FRAME_MS = 50;
const GONE_MS = 90_000;
let nowMs = 0;
let timers = [];
let opened = 0;

// Time passes as we say, so that a minute takes no minute.
Date.now = () => nowMs;
globalThis.setTimeout = (work, milliseconds, ...given) => {
  const timer = { at: nowMs + milliseconds, work: () => work(...given) };
  timers.push(timer);
  return timer;
};
globalThis.clearTimeout = (cleared) => (timers = timers.filter((timer) => timer !== cleared));

async function pass(milliseconds) {
  const until = nowMs + milliseconds;
  for (;;) {
    await new Promise(setImmediate);
    const next = timers.reduce((one, other) => (one && one.at <= other.at ? one : other), null);
    if (!next || next.at > until) break;
    clearTimeout(next);
    nowMs = next.at;
    next.work();
  }
  nowMs = until;
}

globalThis.fetch = async () => {
  if (nowMs < GONE_MS) throw new TypeError("refused");
  opened++;
  return new Promise(() => {});
};

let poses = null;
let begun = 0;
const errors = [];
const options = { skeletons: new Map(), onPose() {}, onError: ({ code }) => errors.push(code) };
while (nowMs < GONE_MS) {
  // As the panel does, until it is told.
  if (poses && !poses.follows(nowMs)) poses = poses.end() ?? null;
  if (!poses) begun++;
  poses ??= new LivePoses("http://server/", { skeleton: "one" }, [0, 5], options);
  if (!errors.length) poses.send([[0, 0, 1]], nowMs);
  await pass(FRAME_MS);
}
await pass(GONE_MS);
process.stdout.write(`${JSON.stringify({ begun, errors, opened })}\n`, () => process.exit());
