/** One person's keypoints through several live sessions that differ in their lookahead, and the newest pose of each. */

import { LiveSession } from "../client.js";
import { posesOf, quantile } from "../scene.js";

/** Over what measurements are taken. */
export const MEASURED_MS = 3000;
/** A server takes frames that are up to 10 s apart; a tab that was hidden begins anew. */
const LONGEST_GAP_MS = 5000;
/** Frames without an answer after which the next ones are left out, as from a camera that drops frames. */
const MOST_UNANSWERED = 20;
/** Poses whose lowest points tell where the ground is. */
const GROUND_POSES = 60;
const GROUND_QUANTILE = 0.1;

export class LivePoses {
  /** For each session a result with one frame, as of `posesOf`; empty before the first pose. */
  results = [];
  warnings = new Map();
  #lanes;
  #options;

  /**
   * `opening` is the body of `POST /sessions` without `lookahead`. Options: `key`, `skeletons` by name, `onPose(isFirst)`,
   * `onError(error)`, after which nothing more comes.
   */
  constructor(url, opening, lookaheads, options) {
    this.#options = options;
    this.#lanes = lookaheads.map((lookahead, index) => {
      const lane = { lookahead, sent: 0, lastMs: null, taken: new Map(), lowest: [], latencies: [], undrawn: null };
      lane.session = new LiveSession(url, { ...opening, lookahead }, {
        key: options.key,
        onFrames: (frames, answer) => this.#take(index, frames, answer),
      });
      lane.session.done.catch((error) => this.#fail(error));
      return lane;
    });
  }

  /** Whether a frame of this time can follow those that were sent; what takes none now is not asked. */
  follows(takenMs) {
    return this.#lanes.every(({ session, lastMs }) =>
      session.unanswered >= MOST_UNANSWERED || lastMs === null || takenMs - lastMs < LONGEST_GAP_MS);
  }

  send(keypoints, takenMs) {
    for (const lane of this.#lanes) {
      if (lane.session.unanswered >= MOST_UNANSWERED) continue;
      lane.lastMs = takenMs;
      lane.taken.set(lane.sent++, takenMs);
      lane.session.send(keypoints, takenMs / 1000).catch(() => {}); // told by `done`
    }
  }

  /** To be called when the newest poses have been drawn, with that time. */
  drawn(nowMs) {
    for (const lane of this.#lanes) {
      if (lane.undrawn !== null) lane.latencies.push({ at: nowMs, ms: nowMs - lane.undrawn });
      lane.undrawn = null;
      while (lane.latencies.length && lane.latencies[0].at < nowMs - MEASURED_MS) lane.latencies.shift();
    }
  }

  /** For each session, the median time from the taking of a frame to its drawn pose in the last seconds, or null. */
  get latenciesMs() {
    return this.#lanes.map(({ latencies }) => {
      const sorted = latencies.map(({ ms }) => ms).sort((one, other) => one - other);
      return sorted[sorted.length >> 1] ?? null;
    });
  }

  /** End the sessions; nothing more is handed over. */
  end() {
    this.#options = { ...this.#options, onPose() {}, onError() {} };
    for (const { session } of this.#lanes) {
      if (session.description === null) session.close();
      else session.end().catch(() => {}); // it expires
    }
  }

  #take(index, frames, answer) {
    for (const warning of answer.warnings) this.warnings.set(warning.code, warning);
    const lane = this.#lanes[index];
    const frame = frames.findLast(({ replaces }) => !replaces); // one that replaces another is no longer the newest
    if (!frame) return;
    const isFirst = this.results.length === 0;
    const { session } = lane;
    if (isFirst) this.results = this.#lanes.map(() => this.#resultOf(session.description, {}));
    const [person] = this.results[index].people;
    const [pose] = this.#resultOf(session.description, frame).people;
    lane.lowest = [...lane.lowest, pose.ground].slice(-GROUND_POSES);
    Object.assign(person, pose, { x: person.x, ground: quantile(Float32Array.from(lane.lowest), GROUND_QUANTILE) });
    lane.undrawn = lane.taken.get(frame.frame_index) ?? null;
    for (const sent of lane.taken.keys()) if (sent <= frame.frame_index) lane.taken.delete(sent);
    this.#options.onPose(isFirst);
  }

  #resultOf({ model, joint_names, skeleton }, { pose = [], imputed, expected_error_m: expected }) {
    const one = { poses: [pose], imputed: [imputed], ...(expected && { expected_error_m: [expected] }) };
    return posesOf({ model, joint_names, skeleton, ...one }, this.#options.skeletons);
  }

  #fail(error) {
    const { onError } = this.#options;
    this.end();
    onError(error);
  }
}
