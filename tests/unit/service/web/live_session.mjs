/**
 * A stream of client.js against a model of the server whose connections, sessions and answers get lost at random.
 *
 * node live_session.mjs CLIENT SEED FRAMES timed|steady; prints what happened, and what was lost or came twice, as JSON.
 */

import { pathToFileURL } from "node:url";

const [client, seed, frames, timed] = process.argv.slice(2);
const { LiveSession } = await import(pathToFileURL(client));
const LOOKAHEAD = 3;
const CONTEXT = 60; // frames before its own that a pose is computed from
const RESENT = 32; // newest frames that may always be sent again
const KNOWN_LOOKAHEAD = timed === "timed" ? null : CONTEXT / 2; // of a pose that sees all that help
const happened = { cuts: 0, silences: 0, lostSessions: 0, rewinds: 0, found: 0, refusals: 0 };
const sessions = new Map();

// Pauses of the client have no jitter: what happens is a matter of the seed.
Math.random = () => 0;

// The generator mulberry32.
let state = Number(seed);
function chance(share) {
  state = (state + 0x6d2b79f5) | 0;
  let mixed = Math.imul(state ^ (state >>> 15), state | 1);
  mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32 < share;
}

async function open() {
  if (chance(0.1)) throw new TypeError("the network is down");
  if (chance(0.1)) return new Promise(() => {}); // no answer, and deaf to being aborted
  if (chance(0.2)) return new Response(new ReadableStream({ pull: (body) => body.error(new TypeError("cut")) }));
  const id = `s${sessions.size}`;
  sessions.set(id, []);
  return new Response(JSON.stringify({ session_id: id, full_lookahead: KNOWN_LOOKAHEAD }), { status: 201 });
}

class Socket {
  readyState = 0;

  constructor(url) {
    this.id = new URL(url).pathname.split("/")[2];
    if (chance(0.02)) return void this.#fallSilent();
    setTimeout(() => (chance(0.1) ? this.#fail() : ((this.readyState = 1), this.onopen())), 1);
  }

  send(text) {
    setTimeout(() => this.readyState === 1 && this.#answer(JSON.parse(text)), 2);
  }

  close() {
    if (this.readyState === 3 || this.isSilent) return;
    this.readyState = 3;
    happened.cuts++;
    setTimeout(() => this.onclose?.(), 1);
  }

  /** The network swallows the connection. */
  #fallSilent() {
    this.isSilent = true;
    happened.silences++;
  }

  /** As browsers do where a connection cannot be opened, or as Node.js does, which says nothing more after the error. */
  #fail() {
    if (chance(0.5)) this.close();
    this.onerror();
  }

  #say(answer) {
    this.onmessage({ data: JSON.stringify(answer) });
  }

  #refuse(code, more = {}) {
    happened.refusals++;
    this.#say({ error: { code, message: code, ...more } });
    this.close();
  }

  /** The store loses its newest frames, as a replica does that becomes master. */
  #rewind(stored) {
    stored.lost = stored.splice(Math.max(0, stored.length - (chance(0.5) ? 3 : 60)));
    stored.lostAt = stored.length;
    stored.foundAgain = 0;
    happened.rewinds++;
  }

  /** The frames that were lost last are there after all, unless others have come. */
  #findAgain(stored) {
    if (!stored.lost?.length || stored.length !== stored.lostAt) return;
    stored.push(...stored.lost.splice(0));
    stored.foundAgain = stored.length - RESENT; // the frames before these are no longer taken again
    happened.found++;
  }

  #answer(message) {
    if (chance(0.003)) this.#fallSilent();
    if (this.isSilent) return;
    if (chance(0.005) && sessions.get(this.id)) sessions.set(this.id, null), happened.lostSessions++;
    const stored = sessions.get(this.id);
    if (!stored) return this.#refuse("unknown_session");
    if (chance(0.01)) this.#rewind(stored);
    if (chance(0.2)) this.#findAgain(stored);
    if (chance(0.02)) return this.#refuse(chance(0.5) ? "not_ready" : "session_store_down", { retry_after_s: 0.01 });
    const index = message.end ? message.next_frame_index : message.frame_index;
    const oldest = stored.foundAgain ?? 0;
    const fits = message.end ? index === stored.length : oldest <= index && index <= stored.length;
    if (!fits) return this.#refuse("session_conflict", { expected_frame_index: stored.length });
    if (!message.end && index === stored.length) stored.push([message.keypoints[0][0], message.time_s]);
    if (chance(0.03)) return this.close(); // it is stored, and the answer is lost
    const first = message.end ? Math.max(0, index - LOOKAHEAD) : index - LOOKAHEAD;
    const last = message.end ? index : first + 1;
    const lifted = [];
    for (let at = Math.max(0, first); at < last; at++) {
      lifted.push({ frame_index: at, pose: stored.slice(Math.max(0, at - CONTEXT), at + 1) });
    }
    this.#say({ frames: lifted, warnings: [] });
    if (message.end) this.close();
  }
}

function timeOf(index) {
  return timed === "timed" ? index / 30 : undefined;
}

const poses = new Map();
let doubled = 0;
const session = new LiveSession("http://server/", {}, {
  giveUpAfterS: 8,
  fetch: open,
  WebSocket: Socket,
  onFrames(lifted) {
    for (const { frame_index: index, pose, replaces } of lifted) {
      if (poses.has(index) && !replaces) doubled++;
      poses.set(index, pose);
    }
  },
});
for (let index = 0; index < frames; index++) await session.send([index], timeOf(index));
await session.end();
let lost = 0;
for (let index = 0; index < frames; index++) {
  const seen = poses.get(index) ?? [];
  const first = Math.max(0, index - CONTEXT);
  const isExpected = ([frame, timeS], at) => frame === first + at && timeS === (timeOf(frame) ?? null);
  if (seen.length !== index + 1 - first || !seen.every(isExpected)) lost++;
}
console.log(JSON.stringify({ lost, doubled, ...happened }));
