/**
 * The 3D poses on a canvas, limb by limb from the back to the front.
 *
 * It is Canvas 2D and not WebGL: where there is no GPU, WebGL draws every pixel of the view on the processor, Canvas 2D
 * only those that change. docs/decisions/page-without-webgl.md has the measurement.
 */

import { bodyOf, HEAD_M } from "./body.js";
import { Camera } from "./camera.js";
import { colourOf, css, mix, rgb, themeColours } from "./colours.js";
import { drawGrid, drawPath, drawShadow, drawSteps } from "./ground.js";

const HOVER_PX = 16;
const TALL_M = 1.9;
/** The view follows people whose ways take more ground than this about their middle. */
const FOLLOWED_FROM_M = 2.5;
/** A pelvis above this is not that of somebody on the ground. */
const HIGH_M = 1.3;
/** Of people who are not in the picture at the moment. */
const ABSENT_ALPHA = 0.35;
/** Of the other model of a comparison, where both stand in one place. */
const SECOND_ALPHA = 0.55;
const WHITE = [255, 255, 255];
const BLACK = [0, 0, 0];

export class Stage {
  camera = new Camera();
  showMissing = true;
  showError = false;
  hidden = new Set();
  overlaid = false;
  /** Joint under the pointer: {result, person, joint}. */
  hovered = null;
  #canvas;
  #context;
  #results = [];
  #bodies = [];
  #reach = null;
  #joints = []; // projected joints of the last drawing, for hits
  #theme = themeColours();

  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { willReadFrequently: true });
  }

  /** Show one result, or two that are compared; in the world with the ground that their ways take, as of `reachOf`. */
  show(results, halfWidth, reach = null) {
    this.#results = results;
    this.#reach = reach;
    this.#bodies = results.map(bodyOf);
    this.#joints = [];
    const isFollowed = reach?.radius > FOLLOWED_FROM_M;
    const heights = reach ? results.flatMap(({ people }) => people.map(({ motion }) => 1.1 * motion.height_m)) : [];
    this.camera.extent = [reach && !isFollowed ? reach.radius : halfWidth, Math.max(TALL_M, ...heights)];
    this.camera.target = reach?.centre ?? [0, 0];
    this.camera.lift = 0;
    this.hovered = null;
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
    if (this.#reach?.radius > FOLLOWED_FROM_M) this.#follow(frame);
    this.camera.prepare(width, height);
    drawGrid(context, this.camera, this.#theme);
    if (this.#reach) this.#drawWays(frame);
    const parts = [];
    this.#joints = [];
    for (const [index, result] of this.#results.entries()) {
      for (const [number, person] of result.people.entries()) {
        if (frame < person.frames && !this.hidden.has(number)) this.#collect(parts, index, number, frame);
      }
    }
    parts.sort((one, other) => other.depth - one.depth);
    for (const part of parts) {
      context.globalAlpha = part.alpha;
      part.draw(context);
    }
    context.globalAlpha = 1;
    this.#drawHovered();
  }

  /** The joint nearest to a point of the canvas, or null. */
  jointAt(x, y) {
    let best = null;
    let bestDistance = HOVER_PX;
    for (const joint of this.#joints) {
      const distance = Math.hypot(joint.x - x, joint.y - y);
      if (distance < bestDistance) [best, bestDistance] = [joint, distance];
    }
    return best;
  }

  /** Look at the middle of where people are in a frame, and up or down to those who have left the ground. */
  #follow(frame) {
    const { people } = this.#results[0];
    const at = people.map(({ path, x }) => {
      const start = 3 * Math.min(frame, path.length / 3 - 1);
      return [path[start] + x, path[start + 1], path[start + 2]];
    });
    const [x, y, z] = [0, 1, 2].map((axis) => at.reduce((sum, place) => sum + place[axis], 0) / at.length);
    this.camera.target = [x, z];
    this.camera.lift = Math.min(y, 0) + Math.max(y - HIGH_M, 0);
  }

  #drawWays(frame) {
    for (const [index, { people }] of this.#results.entries()) {
      for (const [number, person] of people.entries()) {
        if (this.hidden.has(number)) continue;
        const colour = rgb(colourOf(number, index === 1));
        drawSteps(this.#context, this.camera, person, frame, colour, this.#theme);
        drawPath(this.#context, this.camera, person, frame, colour);
      }
    }
  }

  #collect(parts, index, number, frame) {
    const result = this.#results[index];
    const person = result.people[number];
    const body = this.#bodies[index];
    const points = this.#project(result, person, frame);
    const absent = person.imputed.subarray(frame * result.joints, (frame + 1) * result.joints).every(Boolean);
    const first = parts.length;
    const isMissing = (joint) => this.showMissing && person.imputed[frame * result.joints + joint] === 1;
    const base = rgb(colourOf(number, index === 1));
    const tone = (depth, right) => this.#tone(base, depth, right);
    drawShadow(this.#context, this.camera, person, body.limbs, 3 * frame * result.joints);
    if (body.trunk && body.trunk.every((joint) => isSeen(points[joint]))) parts.push(trunkPart(body.trunk.map((joint) => points[joint]), tone));
    for (const { from, to, radii, right } of body.limbs) {
      const [a, b] = [points[from], points[to]];
      if (!isSeen(a) || !isSeen(b)) continue;
      const depth = (a[3] + b[3]) / 2;
      const hollow = isMissing(to) || isMissing(from);
      parts.push({ depth, draw: (context) => drawLimb(context, a, b, radii, tone(depth, right), hollow, this.#theme) });
    }
    if (body.head && isSeen(points[body.head.crown]) && isSeen(points[body.head.face])) parts.push(this.#headPart(body.head, points, tone, isMissing(body.head.crown)));
    for (const [joint, point] of points.entries()) {
      if (!isSeen(point)) continue;
      this.#joints.push({ result: index, person: number, joint, x: point[0], y: point[1] });
      const radius = 0.021 * point[2];
      const colour = mix(tone(point[3], body.right[joint]), WHITE, 0.5);
      const missing = isMissing(joint);
      parts.push({ depth: point[3] - 0.09, draw: (context) => drawJoint(context, point, radius, colour, missing, this.#theme) });
      const error = this.showError && person.expected ? person.expected[frame * result.joints + joint] : 0;
      if (error > 0) parts.push({ depth: point[3] + 0.12, draw: (context) => drawError(context, point, error, this.#theme) });
    }
    const alpha = absent ? ABSENT_ALPHA : index === 1 && this.overlaid ? SECOND_ALPHA : 1;
    for (const part of parts.slice(first)) part.alpha = alpha;
  }

  #project(result, person, frame) {
    const points = [];
    for (let joint = 0, at = 3 * frame * result.joints; joint < result.joints; joint++, at += 3) {
      const [x, y, z] = [person.positions[at], person.positions[at + 1], person.positions[at + 2]];
      points.push(this.camera.project(x + person.x, y - person.ground, z, [0, 0, 0, 0]));
    }
    return points;
  }

  #headPart({ crown, face }, points, tone, missing) {
    const [a, b] = [points[crown], points[face]];
    const [x, y, scale, depth] = a.map((value, axis) => (value + b[axis]) / 2);
    const radius = HEAD_M * scale;
    return {
      depth,
      draw: (context) => {
        context.beginPath();
        context.arc(x, y, radius, 0, 2 * Math.PI);
        fill(context, shaded(context, x, y, radius, tone(depth, false)), tone(depth, false), missing, this.#theme);
      },
    };
  }

  /** The colour of a part: farther ones fade into the ground, those of the right side are darker. */
  #tone(base, depth, right) {
    const fade = Math.max(0, Math.min(0.5, (depth - this.camera.distance) * 0.22));
    return mix(right ? mix(base, BLACK, 0.2) : base, this.#theme.ground, fade);
  }

  #drawHovered() {
    const { hovered } = this;
    const found = hovered && this.#joints.find((one) => isSame(one, hovered));
    if (!found) return;
    const context = this.#context;
    context.beginPath();
    context.arc(found.x, found.y, 9, 0, 2 * Math.PI);
    context.lineWidth = 2;
    context.strokeStyle = css(this.#theme.accent);
    context.stroke();
  }
}

function isSeen(point) {
  return Number.isFinite(point[3]);
}

function isSame(one, other) {
  return one.result === other.result && one.person === other.person && one.joint === other.joint;
}

function trunkPart(corners, tone) {
  const depth = corners.reduce((sum, corner) => sum + corner[3], 0) / corners.length;
  return {
    depth: depth + 0.02,
    draw: (context) => {
      context.beginPath();
      for (const [x, y] of corners) context.lineTo(x, y);
      context.closePath();
      context.fillStyle = css(tone(depth, false), 0.55);
      context.fill();
    },
  };
}

/** A limb between two projected joints: the hull of two circles, shaded like a cylinder. */
function drawLimb(context, a, b, [ra, rb], colour, hollow, theme) {
  const [radiusA, radiusB] = [ra * a[2], rb * b[2]];
  const [dx, dy] = [b[0] - a[0], b[1] - a[1]];
  const length = Math.hypot(dx, dy);
  context.beginPath();
  if (length <= Math.abs(radiusA - radiusB)) {
    const [x, y, radius] = radiusA > radiusB ? [a[0], a[1], radiusA] : [b[0], b[1], radiusB];
    context.arc(x, y, radius, 0, 2 * Math.PI);
  } else {
    const along = Math.atan2(dy, dx);
    const spread = Math.acos((radiusA - radiusB) / length);
    context.arc(a[0], a[1], radiusA, along + spread, along - spread);
    context.arc(b[0], b[1], radiusB, along - spread, along + spread);
    context.closePath();
  }
  const radius = Math.max(radiusA, radiusB);
  const [nx, ny] = length ? [-dy / length, dx / length] : [0, 1];
  const flip = nx + 2 * ny > 0 ? -1 : 1; // the light comes from above, and a little from the left
  const [mx, my] = [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
  const [ox, oy] = [flip * nx * radius, flip * ny * radius];
  const across = context.createLinearGradient(mx + ox, my + oy, mx - ox, my - oy);
  across.addColorStop(0, css(mix(colour, WHITE, 0.16)));
  across.addColorStop(0.35, css(mix(colour, WHITE, 0.3)));
  across.addColorStop(1, css(mix(colour, BLACK, 0.32)));
  fill(context, across, colour, hollow, theme);
}

function shaded(context, x, y, radius, colour) {
  const ball = context.createRadialGradient(x - 0.35 * radius, y - 0.45 * radius, 0.1 * radius, x, y, radius);
  ball.addColorStop(0, css(mix(colour, WHITE, 0.42)));
  ball.addColorStop(1, css(mix(colour, BLACK, 0.28)));
  return ball;
}

/** Fill the present path with an edge that parts it from what lies behind; hollow ones were imputed. */
function fill(context, paint, colour, hollow, theme) {
  if (hollow) {
    context.fillStyle = css(mix(colour, theme.ground, 0.72), 0.85);
    context.fill();
    context.setLineDash([4, 3]);
    context.lineWidth = 1.4;
    context.strokeStyle = css(theme.missing);
    context.stroke();
    context.setLineDash([]);
    return;
  }
  context.fillStyle = paint;
  context.fill();
  context.lineWidth = 1;
  context.strokeStyle = css(theme.ground, 0.7);
  context.stroke();
}

function drawJoint(context, [x, y], radius, colour, missing, theme) {
  context.beginPath();
  context.arc(x, y, missing ? 1.7 * radius : radius, 0, 2 * Math.PI);
  context.fillStyle = missing ? css(theme.ground) : css(colour);
  context.fill();
  if (missing) {
    context.lineWidth = 2;
    context.strokeStyle = css(theme.missing);
    context.stroke();
  }
}

/** A disc as large as the expected error. */
function drawError(context, [x, y, scale], error, theme) {
  context.beginPath();
  context.arc(x, y, error * scale, 0, 2 * Math.PI);
  context.fillStyle = css(theme.error, 0.16);
  context.fill();
  context.lineWidth = 1;
  context.strokeStyle = css(theme.error, 0.45);
  context.stroke();
}
