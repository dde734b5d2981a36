/** The strip above the slider: expected error over the frames, and where joints were imputed. */

import { css, themeColours } from "./colours.js";

export class Strip {
  #canvas;
  #summary = null;

  constructor(canvas) {
    this.#canvas = canvas;
  }

  show(summary) {
    this.#summary = summary;
    this.draw();
  }

  /** Drawn once for a clip and a size; the slider shows the present frame. */
  draw() {
    const ratio = Math.min(2, devicePixelRatio);
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    this.#canvas.width = Math.round(width * ratio);
    this.#canvas.height = Math.round(height * ratio);
    const context = this.#canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (!this.#summary) return;
    const theme = themeColours();
    const { errors, imputed } = this.#summary;
    const at = (frame) => (imputed.length > 1 ? (frame / (imputed.length - 1)) * width : 0);
    if (errors) drawErrors(context, errors, at, height, theme);
    const wide = Math.max(1.5, width / imputed.length);
    imputed.forEach((share, frame) => {
      if (!share) return;
      context.fillStyle = css(theme.missing, Math.min(1, 0.35 + share));
      context.fillRect(at(frame) - wide / 2, height - 4, wide, 4);
    });
  }
}

function drawErrors(context, errors, at, height, theme) {
  // From half of the least on, so that its course is seen.
  const [least, most] = [Math.min(...errors) / 2, Math.max(0.02, ...errors) * 1.05];
  const y = (error) => height - 6 - ((error - least) / (most - least)) * (height - 8);
  const line = () => {
    context.beginPath();
    errors.forEach((error, frame) => context.lineTo(at(frame), y(error)));
  };
  line();
  context.lineTo(at(errors.length - 1), height - 5);
  context.lineTo(0, height - 5);
  context.fillStyle = css(theme.accent, 0.16);
  context.fill();
  line();
  context.lineWidth = 1.5;
  context.strokeStyle = css(theme.accent, 0.8);
  context.stroke();
}
