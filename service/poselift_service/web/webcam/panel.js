/** The webcam on the page: its panel, and what runs between the camera and the drawing. */

import { apiKey } from "../dialogs.js";
import { listWarnings, showNumbers } from "../inspector.js";
import { clipOf } from "../scene.js";
import { Webcam } from "./camera.js";
import { LivePoses, MEASURED_MS } from "./live.js";

const get = (id) => document.getElementById(id);
const SKELETON = "mediapipe33";
const TOLD_EVERY_MS = 500;

/**
 * Start the camera; `run` lifts what it sees until `stop`.
 *
 * `page` has what is needed of it: `server`, `skeletons`, `picture`, `model()`, `show(clip, results)` for something new to
 * draw, `changed()` for something that moved, and `failed(error)`. Raises an error that says why there is no webcam.
 */
export async function startLive(page) {
  const webcam = new Webcam();
  try {
    await webcam.start();
  } catch (error) {
    webcam.stop();
    throw error;
  }
  return new Live(page, webcam);
}

class Live {
  #page;
  #webcam;
  #poses = null;
  #clip = null;
  #moments = []; // when frames went out, for their rate
  #isSeen = false;
  #timer = setInterval(() => this.#tell(), TOLD_EVERY_MS);
  #listening = new AbortController();

  constructor(page, webcam) {
    this.#page = page;
    this.#webcam = webcam;
    const { signal } = this.#listening;
    for (const id of ["lookahead", "other-lookahead"]) get(id).addEventListener("change", () => this.reopen(), { signal });
    get("live").hidden = false;
    this.#tell();
  }

  async run() {
    try {
      for await (const frame of this.#webcam.frames()) this.#take(frame);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Begin anew, with other lookaheads or another model. */
  reopen() {
    this.#poses?.end();
    this.#poses = null;
  }

  /** To be called after each drawing. */
  drawn() {
    this.#poses?.drawn(performance.now());
  }

  stop() {
    this.#webcam.stop();
    this.reopen();
    clearInterval(this.#timer);
    this.#listening.abort();
    get("live").hidden = true;
    this.#showPicture(null);
  }

  #take({ bitmap, keypoints, takenMs }) {
    const { width, height } = bitmap;
    const isTurned = width !== this.#clip?.width || height !== this.#clip?.height;
    this.#isSeen = keypoints !== null;
    const request = { skeleton: SKELETON, image_size: [width, height], keypoints: [keypoints] };
    const clip = clipOf(request, this.#page.skeletons, { name: "Webcam" });
    this.#showPicture(bitmap);
    if (isTurned) {
      this.reopen();
      this.#clip = clip;
      this.#page.show(clip, []);
    } else this.#clip.people = clip.people;
    if (this.#poses && !this.#poses.follows(takenMs)) this.reopen();
    if (!this.#poses && this.#isSeen) this.#open(width, height);
    this.#poses?.send(keypoints, takenMs);
    this.#moments.push(performance.now());
    this.#page.changed();
  }

  #open(width, height) {
    const lookaheads = [get("lookahead").value, get("other-lookahead").value].filter(Boolean);
    const model = this.#page.model();
    const opening = { skeleton: SKELETON, image_size: [width, height], ...(model && { model }) };
    const poses = new LivePoses(
      this.#page.server,
      opening,
      lookaheads.map((value) => (value === "full" ? value : Number(value))),
      {
        key: apiKey(),
        skeletons: this.#page.skeletons,
        onPose: (isFirst) => (isFirst ? this.#page.show(this.#clip, poses.results) : this.#page.changed()),
        onError: (error) => this.#fail(error),
      },
    );
    this.#poses = poses;
  }

  #showPicture(bitmap) {
    const { picture } = this.#page;
    const before = picture.backdrop;
    picture.backdrop = bitmap;
    before?.close();
  }

  #tell() {
    const now = performance.now();
    this.#moments = this.#moments.filter((moment) => moment > now - MEASURED_MS);
    const rate = (this.#moments.length / MEASURED_MS) * 1000;
    const [first, second] = this.#poses?.latenciesMs ?? [];
    const ms = (value) => (value === null || value === undefined ? "–" : `${Math.round(value)} ms`);
    const rows = [["frames", this.#moments.length ? `${rate.toFixed(1)} per second` : "–"], ["latency", ms(first)]];
    if (second !== undefined) rows.push(["of the other", ms(second)]);
    if (this.#moments.length && !this.#isSeen) rows.push(["", "nobody is in the picture"]);
    showNumbers(rows, "live-numbers");
    listWarnings([...(this.#poses?.warnings.values() ?? [])]);
  }

  #fail(error) {
    this.stop();
    this.#page.failed(error);
  }
}
