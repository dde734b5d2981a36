/** Which frame of a clip is shown: time that runs, stands still, or is set. */

export class Player {
  #times = [0];
  #time = 0;
  #last = null;
  frame = 0;
  playing = false;
  speed = 1;

  /** Begin anew with the times of a clip's frames, in seconds. */
  load(times, frame = 0) {
    this.#times = times;
    this.seek(frame);
  }

  get frames() {
    return this.#times.length;
  }

  get time() {
    return this.#times[this.frame];
  }

  /** How long the clip is, its last frame included. */
  get duration() {
    const { length } = this.#times;
    return length > 1 ? (this.#times[length - 1] * length) / (length - 1) : 1 / 30;
  }

  seek(frame) {
    this.frame = Math.max(0, Math.min(this.frames - 1, Math.round(frame)));
    this.#time = this.time;
  }

  /** Advance to a moment of the display, in milliseconds; true if another frame is to be shown. */
  advance(now) {
    const elapsed = this.#last === null ? 0 : (now - this.#last) / 1000;
    this.#last = now;
    if (!this.playing) return false;
    this.#time += Math.min(elapsed, 0.25) * this.speed; // a hidden tab does not run on
    if (this.#time >= this.duration) this.#time %= this.duration;
    const before = this.frame;
    this.frame = this.#indexAt(this.#time + 1e-6);
    return this.frame !== before;
  }

  #indexAt(time) {
    let [low, high] = [0, this.frames - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#times[middle] <= time) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
