/**
 * What the webcam's streams draw, and which frames they take.
 *
 * node live_poses.mjs FOLDER; FOLDER has the page's modules. Prints what was seen as JSON.
 */

import { join } from "node:path";
import { pathToFileURL } from "node:url";

const { LivePoses } = await import(pathToFileURL(join(process.argv[2], "webcam", "live.js")));
const OPENING = { skeleton: "one" };
const KEYPOINTS = [[0, 0, 1]];
let stored = [];
let forgetsAt = null; // the frame before which all but the first are lost, once
let isDeaf = () => false;

globalThis.fetch = async (url, { body }) => {
  const { lookahead } = JSON.parse(body);
  const described = { session_id: `s${lookahead}`, model: null, joint_names: ["hip"], skeleton: "one", full_lookahead: 0 };
  return new Response(JSON.stringify(described), { status: 201 });
};

globalThis.WebSocket = class {
  readyState = 0;

  constructor(url) {
    this.isDeaf = isDeaf(url.pathname);
    setTimeout(() => ((this.readyState = 1), this.onopen()), 1);
  }

  send(text) {
    if (!this.isDeaf) setTimeout(() => this.readyState === 1 && this.#answer(JSON.parse(text)), 1);
  }

  close() {
    this.readyState = 3;
    setTimeout(() => this.onclose?.(), 1);
  }

  #answer({ frame_index: index }) {
    if (index === forgetsAt) [stored, forgetsAt] = [stored.slice(0, 1), null];
    if (index > stored.length) {
      const error = { code: "session_conflict", message: "lost", expected_frame_index: stored.length };
      this.onmessage({ data: JSON.stringify({ error }) });
      return this.close();
    }
    stored[index] = index;
    const frames = [{ frame_index: index, pose: [[index, 0, 0]], imputed: [false] }];
    this.onmessage({ data: JSON.stringify({ frames, warnings: [] }) });
  }
};

const later = () => new Promise((resolve) => setTimeout(resolve, 20));

/** Where the hip was drawn, when a store lost frames that came again. */
async function drawn() {
  const places = [];
  const onPose = () => places.push(poses.results[0].people[0].positions[0]);
  const poses = new LivePoses("http://server/", OPENING, [0], { skeletons: new Map(), onPose, onError() {} });
  forgetsAt = 4;
  for (let index = 0; index < 6; index++) {
    poses.send(KEYPOINTS, 100 * index);
    await later();
  }
  while (places.length < 6 || places.at(-1) !== 5) await later();
  return places;
}

/** Whether frames follow what two streams took, of which one takes no more: only the other is asked. */
async function followed() {
  isDeaf = (path) => path.includes("s5");
  const poses = new LivePoses("http://server/", OPENING, [0, 5], { skeletons: new Map(), onPose() {}, onError() {} });
  stored = [];
  const isFirst = poses.follows(1e9);
  for (let at = 0; at < 6000; at += 100) {
    poses.send(KEYPOINTS, at);
    await later();
  }
  return [isFirst, poses.follows(1900 + 5100), poses.follows(5900 + 4900), poses.follows(5900 + 5100)];
}

const seen = { drawn: await drawn(), followed: await followed() };
process.stdout.write(`${JSON.stringify(seen)}\n`, () => process.exit());
