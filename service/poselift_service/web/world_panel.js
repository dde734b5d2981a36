/** The world on the page: the switch between it and the camera's axes, its panel, and the calls that find it. */

import { writeAddress } from "./address.js";
import { refine } from "./client.js";
import { showNumbers } from "./inspector.js";
import { asRequested, contactsOf, factsOf, fovOf, inWorld, motionsOf, withKnown } from "./world.js";
import { withKey } from "./working.js";

const get = (id) => document.getElementById(id);
const WAIT_MS = 200;
const FIELDS = { height: "height_m", fov: "fov_deg" };
const MODES = ["auto", "always", "grounding", "off"];
// Which field a refusal is about, by the last part of its path.
const FIELD_OF = { height_m: "height", fov_deg: "fov", focal_px: "fov", foot_lock: "foot-lock" };

export class WorldPanel {
  /** Whether the world is wanted; it is drawn once `results` are there. */
  isOn = false;
  /** As of `posesOf`, in the world; empty while it is not known. */
  results = [];
  /** Whether a server can be asked; without one, only motions that answers have are shown. */
  isServed = true;
  #server;
  #onChange;
  #clip = null; // {request, answers, results} as `open` took them
  #timer = null;
  #call = null;

  /** `onChange` is called when something else is to be drawn. */
  constructor(server, onChange) {
    this.#server = server;
    this.#onChange = onChange;
    for (const one of document.querySelectorAll("[name=axes]")) {
      one.addEventListener("change", () => this.turn(one.value === "world"));
    }
    for (const id of Object.keys(FIELDS)) {
      get(id).addEventListener("input", () => this.#changed());
      get(`${id}-slider`).addEventListener("input", ({ target }) => {
        get(id).value = target.value;
        this.#changed();
      });
    }
    get("foot-lock").addEventListener("change", () => this.#changed());
  }

  /** Take over what an address says. */
  apply({ world, height, fov, feet }) {
    for (const [id, value] of Object.entries({ height, fov })) if (Number(value) > 0) get(id).value = value;
    if (MODES.includes(feet)) get("foot-lock").value = feet;
    this.#show(world === "1");
  }

  /** Whether the world is what is drawn. */
  get isShown() {
    return this.isOn && this.results.length > 0;
  }

  /** What the fields say, as of `withKnown`, and whether the world is shown. */
  get known() {
    return { ...this.#known(), isInWorld: this.isOn };
  }

  /** Switch to the world or back. */
  turn(isOn) {
    this.#show(isOn);
    writeAddress({ world: isOn ? 1 : null });
    if (isOn && !this.results.length) this.#find();
    this.#onChange();
  }

  /** What `open` will show of answers, found first so that both come at once; undefined if it was not looked for. */
  async find(request, answers) {
    if (!this.isOn) return undefined;
    if (this.#clip?.request !== request) this.#forget();
    return this.#refined(request, answers);
  }

  /** Show another clip with what `find` found. */
  open(request, answers, results, motions) {
    if (this.#clip?.request !== request) this.#forget();
    clearTimeout(this.#timer);
    this.#call?.abort();
    this.#clip = { request, answers, results };
    const stored = this.isServed ? [] : answers.map(motionsOf).filter(Boolean);
    const found = motions ?? (stored.length ? stored : null);
    get("axes").hidden = !this.isServed && !found;
    this.#take(found);
    this.#show(this.isOn && !get("axes").hidden);
    if (this.isOn && motions === undefined) this.#find();
  }

  /** Nothing of the clip is shown any longer. */
  close() {
    this.#call?.abort();
    clearTimeout(this.#timer);
    this.#clip = null;
    this.results = [];
    get("axes").hidden = true;
    get("world").hidden = true;
  }

  /** Tell what is known of a person, and of their feet in a frame. */
  tell(person, frame) {
    const motion = this.isShown ? this.results[0].people[person]?.motion : null;
    if (!motion) return showNumbers([], "world-numbers");
    const rows = factsOf(motion, this.#width, this.#isHeightGiven(person));
    showNumbers([...contactsOf(motion, frame), ...rows], "world-numbers");
  }

  get #width() {
    return this.#clip.request?.image_size[0] ?? 0;
  }

  #isHeightGiven(person) {
    const { request } = this.#clip;
    return this.#known().heightM !== null || Boolean((request?.tracks?.[person]?.person ?? request?.person)?.height_m);
  }

  #known() {
    const [heightM, fovDeg] = Object.keys(FIELDS).map((id) => (get(id).value === "" ? null : Number(get(id).value)));
    return { heightM, fovDeg, footLock: get("foot-lock").value };
  }

  #show(isOn) {
    this.isOn = isOn;
    document.querySelector(`[name=axes][value=${isOn ? "world" : "camera"}]`).checked = true;
    get("world").hidden = !isOn;
  }

  #forget() {
    if (this.#clip) for (const id of Object.keys(FIELDS)) get(id).value = "";
    this.results = [];
    this.#refuse(null);
  }

  #changed() {
    const { heightM, fovDeg, footLock } = this.#known();
    writeAddress({ height: heightM, fov: fovDeg, feet: footLock === "auto" ? null : footLock });
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#find(), WAIT_MS);
  }

  /** Find the world of the present clip anew; what is drawn stays until it is there. */
  async #find() {
    const clip = this.#clip;
    if (!clip || !this.isServed) return;
    const motions = await this.#refined(clip.request, clip.answers);
    if (clip !== this.#clip || !motions) return;
    this.#take(motions);
    this.#onChange();
  }

  /** The motions of answers; null if they were refused, which is said, undefined if others are wanted by now. */
  async #refined(request, answers) {
    this.#call?.abort();
    const call = (this.#call = new AbortController());
    const body = withKnown(request, this.#known());
    get("world").setAttribute("aria-busy", "true");
    try {
      const { signal } = call;
      const refined = await withKey((options) =>
        Promise.all(answers.map((answer) => refine(this.#server, body, asRequested(request, answer), { ...options, signal }))));
      this.#refuse(null);
      return refined.map(motionsOf);
    } catch (error) {
      if (call.signal.aborted) return undefined;
      this.#refuse(error);
      return null;
    } finally {
      if (call === this.#call) get("world").removeAttribute("aria-busy");
    }
  }

  #take(motions) {
    if (!motions) return;
    this.results = this.#clip.results.map((result, index) => inWorld(result, motions[index]));
    const [motion] = motions[0];
    const own = { height: motion.height_m, fov: this.#width ? fovOf(motion, this.#width) : 0 };
    for (const [id, value] of Object.entries(own)) {
      const text = value.toFixed(id === "height" ? 2 : 1);
      get(id).placeholder = text;
      get(`${id}-slider`).value = text;
    }
    get("world-status").textContent = `In the world: ${motion.height_m.toFixed(2)} m tall.`;
  }

  /** Say why there is no such world, at the field that it is about; null takes it back. */
  #refuse(error) {
    const about = FIELD_OF[error?.path?.split(".").at(-1)];
    for (const id of new Set(Object.values(FIELD_OF))) {
      if (id === about) get(id).setAttribute("aria-invalid", "true");
      else get(id).removeAttribute("aria-invalid");
    }
    get("world-refusal").textContent = error?.message ?? "";
    get("world-refusal").hidden = !error;
  }
}
