/**
 * Lifts 2D keypoints through a Poselift server: whole clips, detectors' files, and live streams.
 *
 * It depends on `fetch` and `WebSocket` alone, so it runs in browsers and in Node.js (before Node.js 22, pass a class as
 * the option `WebSocket`). What a stream does when connections, servers or Redis fail is in docs/streaming.md.
 */

/** Why there are no poses: `code` for programs, `message` for people, `path` of the field at fault. */
export class PoseliftError extends Error {
  constructor({ code, message, path, status = 0, retry_after_s = null, expected_frame_index = null }) {
    super(message);
    this.name = "PoseliftError";
    Object.assign(this, { code, path, status });
    this.retryAfterS = retry_after_s;
    this.expectedFrameIndex = expected_frame_index;
  }
}

const RETRIED = new Set(["not_ready", "overloaded", "session_store_down", "connection_lost"]);
const PROXY_STATUSES = new Set([502, 503, 504]);
const MAX_PAUSE_S = 5;
const LATE = new Error("too late");
/** Resends of this many unanswered frames are always accepted. */
const WINDOW_FRAMES = 32;
/** Frames with times that are kept after their answers: 20 s at 60 frames per second. */
const KEPT_FRAMES = 1200;
const NETWORK_FAILURES = new Set(["deadline_exceeded", "engine_failed"]);
/** Failures of the network for the same frame, after which a stream ends. */
const MAX_FAILURES = 3;
const BODILESS = new Set([204, 205, 304]);

/**
 * Lift a clip: a body of `POST /lift`.
 *
 * Options: `key` (an API key), `timeoutS` (of all tries together), `signal` (an AbortSignal), `fetch`.
 * Resolves to the answer, and rejects with a PoseliftError, once what may be tried again was tried again.
 */
export function lift(url, request, options = {}) {
  return callJson(new URL("lift", url), JSON.stringify(request), "application/json", options);
}

/** Put an answer of `lift` into the world again: `request` is its body, with another `camera`, `person` or `world`. */
export function refine(url, request, answer, options = {}) {
  return callJson(new URL("refine", url), JSON.stringify({ request, answer: kept(answer) }), "application/json", options);
}

/**
 * Write an answer of `lift` to a file: `query` has `format`, and the other options of `POST /refine`. Resolves to the
 * response, whose body is the file.
 */
export function refineFile(url, request, answer, query, options = {}) {
  const body = JSON.stringify({ request, answer: kept(answer, true) });
  return call(withQuery("refine", url, query), { method: "POST", body }, "application/json", options);
}

/** What `POST /refine` reads of an answer; `imputed` is for files. */
function kept({ track_id, poses, imputed, expected_error_m, tracks, world }, isForFile = false) {
  const network = world?.gravity?.network;
  return {
    track_id, poses, expected_error_m, ...(isForFile && { imputed }), world: network && { gravity: { network } },
    tracks: tracks?.map((track) => kept(track, isForFile)),
  };
}

/** Lift a file of keypoints in any form that `poselift lift` reads; `query` has the options of `POST /lift/file`. */
export function liftFile(url, bytes, query = {}, options = {}) {
  return callJson(withQuery("lift/file", url, query), bytes, options.mediaType ?? "application/octet-stream", options);
}

/** Get a description, such as `models` or `skeletons`. */
export async function describe(url, what, options = {}) {
  return documentOf(await call(new URL(what, url), {}, null, options));
}

function withQuery(path, url, query) {
  const given = Object.entries(query).filter(([, value]) => (value ?? "") !== "");
  return new URL(`${path}?${new URLSearchParams(given)}`, url);
}

async function callJson(url, body, mediaType, options) {
  return documentOf(await call(url, { method: "POST", body }, mediaType, options));
}

/** A proxy may answer with something else than JSON, or with nothing. */
function documentOf(response) {
  return response.json().catch(() => Promise.reject(unexpected(response)));
}

async function call(url, init, mediaType, { key, timeoutS = 60, signal, fetch = globalThis.fetch }) {
  const headers = { ...(mediaType && { "content-type": mediaType }), ...(key && { authorization: `Bearer ${key}` }) };
  const givingUp = Date.now() + 1000 * timeoutS;
  for (let failures = 0; ; failures++) {
    let error;
    try {
      const response = await within(givingUp - Date.now(), signal, (stop) => fetch(url, { ...init, headers, signal: stop }));
      if (response.ok) return response;
      error = await refusal(response);
    } catch (reason) {
      if (signal?.aborted) throw reason;
      error = lost(reason === LATE ? "The server did not answer in time." : "The server cannot be reached.");
    }
    const pauseS = pauseAfter(error, failures);
    if (!RETRIED.has(error.code) || Date.now() + 1000 * pauseS >= givingUp) throw error;
    await sleep(pauseS, signal);
  }
}

/**
 * A response with its whole body, so that one that is cut fails here; rejects with `LATE` after a time.
 *
 * The timer is our own: in Node.js, `AbortSignal.timeout` may be collected, with all that waits for it, before it fires.
 */
function within(milliseconds, signal, request) {
  signal?.throwIfAborted();
  const stop = new AbortController();
  return new Promise((resolve, reject) => {
    const giveUp = (reason) => (reject(reason), stop.abort(reason));
    const timer = setTimeout(giveUp, milliseconds, LATE);
    const leave = () => giveUp(signal.reason);
    signal?.addEventListener("abort", leave, { once: true });
    const done = (settle) => (result) => (clearTimeout(timer), signal?.removeEventListener("abort", leave), settle(result));
    request(stop.signal)
      .then(async (response) => new Response(BODILESS.has(response.status) ? null : await response.blob(), response))
      .then(done(resolve), done(reject));
  });
}

async function refusal(response) {
  const said = (await response.json().catch(() => null))?.error;
  if (!said) return unexpected(response);
  const hint = Number.parseFloat(response.headers.get("retry-after"));
  return new PoseliftError({ ...said, status: response.status, retry_after_s: Number.isNaN(hint) ? null : hint });
}

function unexpected({ status }) {
  const code = PROXY_STATUSES.has(status) ? "connection_lost" : "unexpected_response";
  return new PoseliftError({ code, message: `The answer is not one of Poselift's: status ${status}.`, status });
}

const lost = (message) => new PoseliftError({ code: "connection_lost", message });

/** Seconds to wait before the next try: what the server asks for, or else longer each time; with jitter. */
function pauseAfter(error, failures) {
  const pauseS = error?.retryAfterS ?? Math.min(MAX_PAUSE_S, 0.1 * 2 ** failures);
  return pauseS * (1 + Math.random() / 2);
}

function sleep(seconds, signal) {
  return new Promise((resolve, reject) => {
    const leave = () => (clearTimeout(timer), reject(signal.reason));
    const timer = setTimeout(() => (signal?.removeEventListener("abort", leave), resolve()), 1000 * seconds);
    signal?.addEventListener("abort", leave, { once: true });
  });
}

/**
 * One person's live stream. It outlives its connections, servers and sessions: frames without an answer are sent again,
 * and the pose of every frame is handed over once.
 *
 *     const session = new LiveSession("http://127.0.0.1:8000/", {skeleton, image_size, fps, lookahead: 5}, {onFrames});
 *     for await (const keypoints of camera) await session.send(keypoints);
 *     await session.end();
 *
 * Without `fps` in the opening, every frame is sent with its time in seconds: `session.send(keypoints, timeS)`. With
 * `world` in it, each of the frames has its `world`, and `answer.world` is what these have in common.
 *
 * Options: `onFrames(frames, answer)` receives poses in order, numbered as they were sent; after a loss of the store some
 * come again and have `replaces: true`. `onState({connected, reconnects, unanswered})`. `key`. `giveUpAfterS`: time
 * without any answer after which the stream fails. `WebSocket`, `fetch`.
 */
export class LiveSession {
  #url;
  #opening;
  #options;
  #session = null; // the server's description of it
  #socket = null;
  #history = []; // the last frames, those without an answer among them
  #start = 0; // index of the first of them
  #base = 0; // index of the frame that the present session calls 0
  #next = 0; // index of the next frame that is given
  #answered = 0; // index of the first frame without an answer
  #sent = 0; // index of the next frame to send over the present connection
  #rewound = 0; // answers to frames before this one replace earlier poses
  #delivered = -1; // index of the last pose that was handed over
  #final = 0; // earlier poses are not replaced: they come again from a session that has fewer frames before them
  #ending = false;
  #endSent = false;
  #stop = new AbortController(); // aborted by what fails it
  #settle;
  #wake = () => {};
  #reconnects = 0;
  #lastAnswer = 0;
  /** Settles as what `end` returns, and does not end the session. */
  done = new Promise((resolve, reject) => (this.#settle = { resolve, reject }));

  constructor(url, opening, options = {}) {
    this.#url = new URL(url);
    this.#opening = opening;
    this.#options = { giveUpAfterS: 60, onFrames() {}, onState() {}, WebSocket: globalThis.WebSocket, ...options };
    this.done.catch(() => {}); // told by `send` and `end`
    this.#run().then(this.#settle.resolve, (error) => this.#fail(error));
  }

  /** Frames that were given and have no answer yet. */
  get unanswered() {
    return this.#next - this.#answered;
  }

  /** The server's description of the session, once it is open: `lookahead`, `joint_names` and so on. */
  get description() {
    return this.#session;
  }

  /**
   * Send the next frame: joints of `[x, y, score]`, or null; and the time at which it was taken, if the session has no
   * frame rate. Resolves to its index once there is room for another.
   */
  async send(keypoints, timeS) {
    this.#stop.signal.throwIfAborted();
    if (this.#ending) throw new Error("The session has ended.");
    const index = this.#next++;
    this.#history.push({ keypoints: [keypoints], time_s: timeS });
    if (this.unanswered === 1) this.#lastAnswer = Date.now();
    this.#pump();
    this.#wake();
    while (this.unanswered >= WINDOW_FRAMES && !this.#stop.signal.aborted) await this.#change();
    this.#stop.signal.throwIfAborted();
    return index;
  }

  /** End the session; resolves when the pose of every frame has been handed over. */
  end() {
    if (!this.#ending) {
      this.#ending = true;
      this.#lastAnswer = Date.now();
      this.#pump();
      this.#wake();
    }
    return this.done;
  }

  /** Leave at once, without the poses that are still to come. */
  close() {
    this.#fail(new Error("The session was closed."));
    this.#socket?.close();
  }

  async #run() {
    for (let failures = 0, networkFailures = 0; ; ) {
      while (!this.#stop.signal.aborted && !this.#ending && this.unanswered === 0) await this.#change();
      this.#stop.signal.throwIfAborted();
      const before = this.#answered;
      const error = await this.#connected().catch((reason) => reason);
      if (error === null) return;
      failures = this.#answered > before ? 0 : failures + 1;
      networkFailures = this.#answered > before ? 0 : networkFailures + Number(NETWORK_FAILURES.has(error.code));
      if (!this.#recovers(error) || networkFailures >= MAX_FAILURES) throw error;
      if (Date.now() - this.#lastAnswer > 1000 * this.#options.giveUpAfterS) throw error;
      this.#reconnects++;
      await sleep(pauseAfter(error, failures));
    }
  }

  /** Time without any answer after which a connection, or a call, is replaced by another one. */
  get #silenceS() {
    return this.#options.giveUpAfterS / 4;
  }

  /** One connection, from its opening to its end; resolves to null at the end of the session, or else to what ended it. */
  async #connected() {
    this.#session ??= await this.#open();
    if (this.#stop.signal.aborted) return this.#stop.signal.reason;
    return new Promise((resolve) => {
      let error = lost("The connection was lost.");
      const socket = this.#connect();
      const begun = Date.now();
      const ended = () => {
        socket.onopen = socket.onmessage = socket.onclose = socket.onerror = null;
        clearInterval(timer);
        this.#socket = null;
        this.#tellState();
        resolve(error);
      };
      // A network may swallow a connection without a word, its end included: so that is not waited for.
      const timer = setInterval(() => {
        const waits = this.unanswered > 0 || this.#ending;
        if (!waits || Date.now() - Math.max(begun, this.#lastAnswer) < 1000 * this.#silenceS) return;
        ended();
        socket.close();
      }, 250);
      socket.onopen = () => {
        if (this.#stop.signal.aborted) return socket.close();
        this.#socket = socket;
        this.#sent = this.#answered;
        this.#endSent = false;
        this.#pump();
        this.#tellState();
      };
      socket.onmessage = ({ data }) => {
        const answer = JSON.parse(data);
        if (answer.error) error = new PoseliftError(answer.error);
        else if (this.#take(answer)) error = null;
      };
      // In Node.js with undici 6, no `close` follows the error of a connection that could not be opened.
      socket.onclose = socket.onerror = ended;
    });
  }

  #connect() {
    const address = new URL(`sessions/${this.#session.session_id}/stream`, this.#url);
    address.protocol = address.protocol.replace("http", "ws");
    const { key, WebSocket } = this.#options;
    return new WebSocket(address, key ? ["poselift", `bearer.${key}`] : ["poselift"]);
  }

  async #open() {
    const { key, fetch } = this.#options;
    const options = { key, timeoutS: this.#silenceS, signal: this.#stop.signal, ...(fetch && { fetch }) };
    return callJson(new URL("sessions", this.#url), JSON.stringify(this.#opening), "application/json", options);
  }

  /** Send what fits into the window, and the end once every frame has its answer. */
  #pump() {
    if (!this.#socket || this.#socket.readyState !== 1) return;
    while (this.#sent < this.#next && this.#sent - this.#answered < WINDOW_FRAMES) {
      const frame = this.#history[this.#sent - this.#start];
      this.#socket.send(JSON.stringify({ frame_index: this.#sent - this.#base, ...frame }));
      this.#sent++;
    }
    if (this.#ending && !this.#endSent && this.unanswered === 0) {
      this.#endSent = true;
      this.#socket.send(JSON.stringify({ end: true, next_frame_index: this.#next - this.#base }));
    }
  }

  /** Take an answer; true if it was that to the end. */
  #take(answer) {
    this.#lastAnswer = Date.now();
    const isEnd = this.#endSent;
    const isRewound = this.#answered < this.#rewound;
    if (!isEnd) this.#answered++;
    const frames = [];
    for (const frame of answer.frames) {
      const frameIndex = frame.frame_index + this.#base;
      const isKnown = frameIndex <= this.#delivered;
      if (isKnown && (!isRewound || frameIndex < this.#final)) continue;
      frames.push({ ...frame, frame_index: frameIndex, ...(isKnown && { replaces: true }) });
      this.#delivered = Math.max(this.#delivered, frameIndex);
    }
    this.#trim();
    this.#pump();
    this.#wake();
    if (frames.length || answer.warnings.length) this.#options.onFrames(frames, answer);
    return isEnd;
  }

  /** Keep the frames of two windows before the first pose that is still to come. */
  #trim() {
    const kept = Math.min(this.#answered, this.#delivered + 1) - this.#contextFrames;
    if (kept > this.#start + 256) {
      this.#history.splice(0, kept - this.#start);
      this.#start = kept;
    }
  }

  /** How many frames before its own a pose may depend on; not known where frames have times, so all that are kept. */
  get #contextFrames() {
    const lookahead = this.#session.full_lookahead;
    return lookahead === null ? KEPT_FRAMES : WINDOW_FRAMES + 2 * lookahead;
  }

  /** Prepare what follows an error; false if nothing can. */
  #recovers({ code, expectedFrameIndex }) {
    if (code === "unknown_session") {
      this.#base = Math.max(this.#start, this.#delivered + 1 - this.#contextFrames);
      this.#answered = this.#base;
      this.#final = this.#delivered + 1;
      this.#session = null;
      return true;
    }
    if (code !== "session_conflict") return RETRIED.has(code) || NETWORK_FAILURES.has(code) || code === "stream_idle";
    const expected = expectedFrameIndex + this.#base;
    this.#rewound = Math.max(this.#rewound, this.#answered);
    // Higher than the last answer, the store has found again what it had lost; or somebody else has sent frames.
    const resumed = Math.min(expected, this.#rewound);
    if (resumed === this.#answered || expected < this.#start || expected > this.#next) return false;
    this.#answered = resumed;
    return true;
  }

  /** The next call of `send` or `end`, the next answer, or the end. */
  #change() {
    return new Promise((resolve) => {
      const others = this.#wake;
      this.#wake = () => {
        this.#wake = () => {};
        others();
        resolve();
      };
    });
  }

  #tellState() {
    const { unanswered } = this;
    this.#options.onState({ connected: this.#socket !== null, reconnects: this.#reconnects, unanswered });
  }

  #fail(error) {
    this.#stop.abort(error);
    this.#settle.reject(error);
    this.#wake();
  }
}
