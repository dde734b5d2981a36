/** The camera of this device, and the person in its pictures. */

const REASONS = {
  NotAllowedError: "The browser was not allowed to use the camera: allow it beside the address, and try again.",
  NotFoundError: "This device has no camera.",
  NotReadableError: "The camera is in use by another program.",
};

/** Raises an error that says in one sentence why there is no camera. */
async function openCamera() {
  if (!isSecureContext || !navigator.mediaDevices) {
    throw new Error("Browsers lend a camera only to pages that come over TLS, or from the same machine: see docs/page.md.");
  }
  const wanted = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 }, resizeMode: "none" };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: false, video: { ...wanted, facingMode: "user" } });
  } catch (error) {
    throw new Error(REASONS[error.name] ?? `The camera cannot be used: ${error.message}`);
  }
}

/** The worker that finds a person; it is asked for one picture after the other. */
class Detector {
  #worker = new Worker(new URL("./detector.js", import.meta.url));
  #settle = null;
  ready = this.#next();

  constructor() {
    this.#worker.onmessage = ({ data }) => {
      if (data.error) this.#settle.reject(new Error(`The detector failed in this browser: ${data.error}`));
      else this.#settle.resolve(data);
    };
    this.#worker.onerror = () => this.#settle.reject(new Error("The detector cannot be loaded from this server."));
    this.ready.catch(() => {}); // told to who awaits it
  }

  /** Resolves to `{bitmap, keypoints}`; the bitmap is not to be used meanwhile. */
  detect(bitmap) {
    const answer = this.#next();
    this.#worker.postMessage({ bitmap }, [bitmap]);
    return answer;
  }

  close() {
    this.#worker.terminate();
  }

  #next() {
    return new Promise((resolve, reject) => (this.#settle = { resolve, reject }));
  }
}

export class Webcam {
  #video = document.createElement("video");
  #stream = null;
  #detector = null;
  #end = null; // {error}, once there are no more frames
  #settle = () => {}; // what the frames wait for, by that end

  /** Ask for the camera, and load the detector meanwhile; raises an error that says what is missing. */
  async start() {
    this.#detector = new Detector(); // first, so that a browser that refuses it turns no camera on
    this.#stream = await openCamera();
    const lost = new Error("The camera was taken away.");
    for (const track of this.#stream.getTracks()) track.onended = () => this.#finish(lost);
    this.#video.muted = true;
    this.#video.playsInline = true;
    this.#video.srcObject = this.#stream;
    await this.#orEnd(this.#video.play());
    await this.#orEnd(this.#detector.ready);
  }

  /**
   * Frames as fast as the detector is, until `stop`: `{bitmap, keypoints, takenMs}`.
   *
   * `keypoints` are rows of `[x, y, score]` in pixels, or null. `takenMs` is when the frame was taken, on the clock of
   * `performance.now()`; where the browser does not know that, when it arrived.
   */
  async *frames() {
    for (let last = -Infinity; ; ) {
      const takenMs = await this.#orEnd(this.#nextFrame());
      if (takenMs === undefined) return;
      if (takenMs <= last) continue;
      last = takenMs;
      const bitmap = await this.#orEnd(createImageBitmap(this.#video));
      const found = bitmap && (await this.#orEnd(this.#detector.detect(bitmap)));
      if (found === undefined) return;
      yield { ...found, takenMs };
    }
  }

  /** Give the camera back. */
  stop() {
    this.#finish();
    this.#detector?.close();
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.#video.srcObject = null;
  }

  #finish(error = null) {
    this.#end ??= { error };
    this.#settle();
  }

  /** What is awaited, or undefined after `stop`; raises why else frames ended. Nothing of it is kept, as by a race. */
  #orEnd(awaited) {
    return new Promise((resolve, reject) => {
      this.#settle = () => (this.#end.error ? reject(this.#end.error) : resolve());
      awaited.then(resolve, reject);
      if (this.#end) this.#settle();
    });
  }

  #nextFrame() {
    return new Promise((resolve) => {
      this.#video.requestVideoFrameCallback((now, { captureTime }) => resolve(captureTime ?? now));
    });
  }
}
