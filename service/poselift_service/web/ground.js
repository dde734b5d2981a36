/** What lies on the ground of the stage: the grid, shadows, and in the world the way of a person and where feet stood. */

import { css, mix } from "./colours.js";

const GRID_M = 3.5;
const GRID_STEP_M = 0.5;
const STEP_M = 0.085;
const CORNERS = 24;
/** A long way is drawn with at most so many points. */
const PATH_POINTS = 500;
const BLACK = [0, 0, 0];
const LETTERS = ["L", "R"];

/** A grid about the middle of what is seen; its lines stay where they are when that moves. */
export function drawGrid(context, camera, theme) {
  const [x, z] = camera.target;
  const centre = camera.project(x, 0, z, [0, 0, 0, 0]);
  const reach = GRID_M * centre[2];
  const fade = context.createRadialGradient(centre[0], centre[1], 0.15 * reach, centre[0], centre[1], reach);
  fade.addColorStop(0, css(theme.grid, 0.9));
  fade.addColorStop(1, css(theme.grid, 0));
  const [nearX, nearZ] = [x, z].map((value) => Math.round(value / GRID_STEP_M) * GRID_STEP_M);
  context.beginPath();
  for (let at = -GRID_M; at <= GRID_M + 1e-6; at += GRID_STEP_M) {
    line(context, camera, [nearX + at, nearZ - GRID_M], [nearX + at, nearZ + GRID_M]);
    line(context, camera, [nearX - GRID_M, nearZ + at], [nearX + GRID_M, nearZ + at]);
  }
  context.lineWidth = 1;
  context.strokeStyle = fade;
  context.stroke();
}

function line(context, camera, from, to) {
  const [a, b] = [from, to].map(([x, z]) => camera.project(x, 0, z, [0, 0, 0, 0]));
  context.moveTo(a[0], a[1]);
  context.lineTo(b[0], b[1]);
}

/** The shadow of a person below a light from straight above. `at` is where the frame begins in the positions. */
export function drawShadow(context, camera, { positions, x }, limbs, at) {
  let scale = 1;
  context.beginPath();
  for (const limb of limbs) {
    const [from, to] = [at + 3 * limb.from, at + 3 * limb.to];
    line(context, camera, [positions[from] + x, positions[from + 2]], [positions[to] + x, positions[to + 2]]);
    scale = camera.project(positions[from] + x, 0, positions[from + 2], [0, 0, 0, 0])[2];
  }
  context.lineCap = "round";
  context.lineWidth = Math.max(2, 0.075 * scale);
  context.strokeStyle = css(BLACK, 0.16);
  context.stroke();
}

/** The way of a person on the ground: that behind strongly, that ahead faintly. */
export function drawPath(context, camera, { path, x }, frame, colour) {
  const frames = path.length / 3;
  const stride = Math.ceil(frames / PATH_POINTS);
  const at = (index) => camera.project(path[3 * index] + x, 0, path[3 * index + 2], [0, 0, 0, 0]);
  const stroke = (first, last, alpha) => {
    context.beginPath();
    for (let index = first; index < last; index += stride) context.lineTo(...at(index).slice(0, 2));
    context.lineTo(...at(last).slice(0, 2));
    context.lineWidth = 2.5;
    context.strokeStyle = css(colour, alpha);
    context.stroke();
  };
  context.lineJoin = context.lineCap = "round";
  const now = Math.min(frame, frames - 1);
  stroke(now, frames - 1, 0.3);
  stroke(0, now, 0.95);
  const [px, py, scale] = at(now);
  context.beginPath();
  context.arc(px, py, Math.max(3, 0.025 * scale), 0, 2 * Math.PI);
  context.fillStyle = css(colour);
  context.fill();
}

/** Where feet stood: outlines, and in the frames in which one stands there, a disc with its letter. */
export function drawSteps(context, camera, { steps, x }, frame, colour, theme) {
  for (const step of steps) {
    const isNow = step.first <= frame && frame <= step.last;
    const tone = step.foot === 1 ? mix(colour, BLACK, 0.2) : colour;
    let lowest = 0;
    context.beginPath();
    for (let corner = 0; corner < CORNERS; corner++) {
      const angle = (2 * Math.PI * corner) / CORNERS;
      const point = camera.project(step.x + x + STEP_M * Math.cos(angle), 0, step.z + STEP_M * Math.sin(angle), [0, 0, 0, 0]);
      context.lineTo(point[0], point[1]);
      lowest = Math.max(lowest, point[1]);
    }
    context.closePath();
    context.lineWidth = isNow ? 2 : 1;
    context.strokeStyle = css(isNow ? theme.contact : tone, isNow ? 1 : step.last < frame ? 0.75 : 0.35);
    context.fillStyle = css(tone, isNow ? 0.6 : 0.12);
    context.fill();
    context.stroke();
    if (isNow) drawLetter(context, LETTERS[step.foot], camera.project(step.x + x, 0, step.z, [0, 0, 0, 0])[0], lowest, theme);
  }
}

function drawLetter(context, letter, x, above, theme) {
  context.font = "600 12px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "top";
  context.fillStyle = css(theme.text);
  context.fillText(letter, x, above + 4);
}
