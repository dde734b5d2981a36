/** Pointer, wheel and keys. */

import { VIEWS } from "./camera.js";

const get = (id) => document.getElementById(id);
const DEGREES_PER_PX = 0.4;
const STEP_DEGREES = 6;

/** Turn and zoom with one or two pointers, and report what is under one that is not pressed. */
export function followPointers(canvas, camera, { onTurn, onHover }) {
  const pressed = new Map();
  let spread = 0;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pressed.set(event.pointerId, event);
    spread = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = pressed.get(event.pointerId);
    if (!before) return onHover(event.offsetX, event.offsetY);
    pressed.set(event.pointerId, event);
    if (pressed.size === 1) {
      camera.turn(-DEGREES_PER_PX * (event.clientX - before.clientX), DEGREES_PER_PX * (event.clientY - before.clientY));
    } else {
      const [one, other] = [...pressed.values()];
      const now = Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
      if (spread) camera.zoomBy(now / spread);
      spread = now;
    }
    onTurn();
  });
  const release = (event) => {
    pressed.delete(event.pointerId);
    spread = 0;
    if (event.type === "pointerup" && event.pointerType === "touch") onHover(event.offsetX, event.offsetY);
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => pressed.size || onHover(-1e3, -1e3));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    camera.zoomBy(1.0015 ** -event.deltaY);
    onTurn();
  }, { passive: false });
}

/** The keys of the page. `act` has a function for each thing that they do. */
export function followKeys(camera, act) {
  const views = Object.keys(VIEWS);
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const { target, key } = event;
    const isTyping = target.matches("select, input:not(#frame, [type=checkbox])");
    if (isTyping) return;
    const presses = key === " " && target.matches("button, input[type=checkbox], a");
    if (presses) return;
    const isTurning = target.id === "stage" && key.startsWith("Arrow");
    const done = isTurning ? turn(camera, key, act) : press(event, views, act);
    if (done) event.preventDefault();
  });
}

function turn(camera, key, act) {
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[key];
  camera.turn(STEP_DEGREES * steps[0], STEP_DEGREES * steps[1]);
  act.turned();
  return true;
}

function press({ key, shiftKey }, views, act) {
  const frames = shiftKey ? 10 : 1;
  const acts = {
    " ": () => act.toggle(),
    ArrowLeft: () => act.step(-frames),
    ArrowRight: () => act.step(frames),
    Home: () => act.step(-Infinity),
    End: () => act.step(Infinity),
    ",": () => act.changeSpeed(-1),
    ".": () => act.changeSpeed(1),
    "+": () => act.zoom(1.15),
    "=": () => act.zoom(1.15),
    "-": () => act.zoom(1 / 1.15),
    o: () => get("open").click(),
    w: () => get("webcam").click(),
    t: () => get("theme").click(),
    g: () => act.world(),
    "?": () => get("help").click(),
  };
  const number = Number(key);
  if (number >= 1 && number <= views.length) acts[key] = () => act.view(views[number - 1]);
  const found = acts[key.length === 1 ? key.toLowerCase() : key];
  found?.();
  return found !== undefined;
}
