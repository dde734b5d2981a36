/**
 * What calls and streams of client.js do where they are given up, or get an answer without a body.
 *
 * node calls.mjs CLIENT; prints what came of each as JSON.
 */

import { pathToFileURL } from "node:url";

const { LiveSession, lift, refine } = await import(pathToFileURL(process.argv[2]));
const URL_ = "http://server/";
const outcome = (promise) => promise.then(() => "done", (error) => error.code ?? error.message);
const later = () => new Promise((resolve) => setTimeout(resolve, 20));
const until = async (isSo) => {
  while (!isSo()) await later();
};
const opened = () => new Response(JSON.stringify({ session_id: "s", full_lookahead: 0 }), { status: 201 });

class Socket {
  static made = [];
  readyState = 0;
  sent = [];
  closed = false;

  constructor() {
    Socket.made.push(this);
  }

  open() {
    this.readyState = 1;
    this.onopen();
  }

  send(text) {
    this.sent.push(text);
  }

  close() {
    this.closed = true;
    setTimeout(() => this.onclose?.(), 1);
  }
}

async function answered(status) {
  let calls = 0;
  const fetch = async () => (calls++, new Response(null, { status }));
  return [await outcome(lift(URL_, {}, { fetch, timeoutS: 0.5 })), calls];
}

async function refined() {
  const sent = [];
  const fetch = async (url, { body }) => (sent.push(String(url), JSON.parse(body)), new Response('{"world": 1}'));
  const people = [{ track_id: "7", poses: [[0]], imputed: [[false]], world: { poses: [[1]], gravity: { given: false, network: 5 } } }];
  const answer = await refine(URL_, { fps: 60 }, { tracks: people, warnings: [] }, { fetch });
  return [answer, ...sent];
}

async function aborted() {
  let calls = 0;
  const fetch = async () => (calls++, new Response("{}"));
  return [await outcome(lift(URL_, {}, { fetch, signal: AbortSignal.abort(new Error("not wanted")) })), calls];
}

async function closedWhileOpening() {
  let open, asked;
  const fetch = (_, { signal }) => new Promise((resolve) => ((asked = signal), (open = () => resolve(opened()))));
  const session = new LiveSession(URL_, {}, { fetch, WebSocket: Socket });
  session.send([[0, 0, 1]]).catch(() => {});
  await until(() => open);
  session.close();
  open();
  const end = await outcome(session.end());
  await later();
  return [end, Socket.made.length, asked.aborted];
}

async function closedWhileConnecting() {
  const session = new LiveSession(URL_, {}, { fetch: async () => opened(), WebSocket: Socket });
  session.send([[0, 0, 1]]).catch(() => {});
  await until(() => Socket.made.length);
  session.close();
  const [socket] = Socket.made;
  socket.open();
  const end = await outcome(session.end());
  await later();
  return [end, Socket.made.length, socket.sent.length, socket.closed];
}

const found = {
  aborted: await aborted(),
  204: await answered(204),
  304: await answered(304),
  refined: await refined(),
  closedWhileOpening: await closedWhileOpening(),
  closedWhileConnecting: await closedWhileConnecting(),
};
process.stdout.write(`${JSON.stringify(found)}\n`, () => process.exit());
