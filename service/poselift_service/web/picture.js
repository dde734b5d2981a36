/** The 2D input on a canvas: what the detector saw, in the frame of its picture. */

import { linesOf } from "./body.js";
import { colourOf, css, mix, rgb, themeColours } from "./colours.js";

const MARGIN_PX = 10;

export class Picture {
  hidden = new Set();
  /** The joint whose name is hovered in 3D, and its person. */
  hovered = null;
  /** What is drawn behind the keypoints, or null. */
  backdrop = null;
  #canvas;
  #context;
  #clip = null;
  #lines = [];
  #theme = themeColours();

  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { willReadFrequently: true });
  }

  show(clip) {
    this.#clip = clip;
    this.#lines = clip?.skeleton ? linesOf(clip.skeleton) : [];
  }

  useTheme() {
    this.#theme = themeColours();
  }

  draw(frame) {
    const ratio = Math.min(2, devicePixelRatio);
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (this.#canvas.width !== Math.round(width * ratio) || this.#canvas.height !== Math.round(height * ratio)) {
      this.#canvas.width = Math.round(width * ratio);
      this.#canvas.height = Math.round(height * ratio);
    }
    const context = this.#context;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    if (!this.#clip) return;
    const scale = Math.min((width - 2 * MARGIN_PX) / this.#clip.width, (height - 2 * MARGIN_PX) / this.#clip.height);
    const place = {
      scale,
      x: (width - this.#clip.width * scale) / 2,
      y: (height - this.#clip.height * scale) / 2,
      unit: Math.max(1.6, Math.min(width, height) / 130),
    };
    this.#drawFrame(place);
    for (const [number, person] of this.#clip.people.entries()) {
      if (!this.hidden.has(number) && person.frames[frame]) this.#drawPerson(person.frames[frame], number, place);
    }
  }

  #drawFrame({ x, y, scale }) {
    const context = this.#context;
    context.beginPath();
    context.roundRect(x, y, this.#clip.width * scale, this.#clip.height * scale, 4);
    context.fillStyle = css(this.#theme.line, 0.16);
    context.fill();
    context.lineWidth = 1;
    context.strokeStyle = css(this.#theme.line);
    context.stroke();
    if (this.backdrop) context.drawImage(this.backdrop, x, y, this.#clip.width * scale, this.#clip.height * scale);
  }

  #drawPerson(points, number, { x, y, scale, unit }) {
    const context = this.#context;
    const colour = rgb(colourOf(number));
    const at = (point) => [x + point[0] * scale, y + point[1] * scale];
    context.lineCap = "round";
    context.lineWidth = unit * 1.1;
    context.strokeStyle = css(colour, 0.75);
    context.beginPath();
    for (const [from, ...ends] of this.#lines) {
      const seen = ends.map((end) => points[end]).filter(Boolean);
      if (!points[from] || seen.length < ends.length) continue;
      const mean = [0, 1].map((axis) => seen.reduce((sum, point) => sum + point[axis], 0) / seen.length);
      context.moveTo(...at(points[from]));
      context.lineTo(...at(mean));
    }
    context.stroke();
    for (const point of points) {
      if (!point) continue;
      context.beginPath();
      context.arc(...at(point), unit * 1.25, 0, 2 * Math.PI);
      // The less certain, the nearer to the ground.
      context.fillStyle = css(mix(this.#theme.ground, mix(colour, [255, 255, 255], 0.3), 0.25 + 0.75 * point[2]));
      context.fill();
    }
    const marked = this.hovered?.person === number ? points[this.hovered.joint] : null;
    if (!marked) return;
    context.beginPath();
    context.arc(...at(marked), unit * 3, 0, 2 * Math.PI);
    context.lineWidth = 2;
    context.strokeStyle = css(this.#theme.accent);
    context.stroke();
  }
}
