/** The page: puts its parts together and holds what is shown. */

import { readAddress, writeAddress } from "./address.js";
import { VIEWS } from "./camera.js";
import { colourOf } from "./colours.js";
import { describe } from "./client.js";
import { followKeys, followPointers } from "./controls.js";
import { say } from "./dialogs.js";
import { followDrops, sourceOf } from "./files.js";
import { describeClip, differenceOf, listJoints, listPeople, listWarnings, nameViews, numbersOf, showNumbers, showTip } from "./inspector.js";
import { liftBy, loadedModels, modelOf, optionsOf, waysOf } from "./lifting.js";
import { liftSource, savePoses } from "./opening.js";
import { Picture } from "./picture.js";
import { Player } from "./player.js";
import { arrange, byName, clipOf, framesOf, meanDistance, posesOf, summary, timesOf } from "./scene.js";
import { Stage } from "./stage.js";
import { Strip } from "./strip.js";
import { markWebcam, offerWebcam, startWebcam } from "./webcam.js";
import { sayDoing, withKey, working } from "./working.js";
import { reachOf, widestWay } from "./world.js";
import { WorldPanel } from "./world_panel.js";

const get = (id) => document.getElementById(id);
const server = new URL(".", document.baseURI);
const NUMBERS_EVERY_MS = 100;

const stage = new Stage(get("stage"));
const picture = new Picture(get("picture"));
const strip = new Strip(get("strip"));
const player = new Player();
const world = new WorldPanel(server, () => place());
const shown = {
  source: null, request: null, answer: null, clip: null, results: [], distance: null, way: "", other: "", saved: null, live: null,
};
let skeletons = new Map();
let isStale = true;
let numbersAt = 0;

// ---- what is shown

async function start() {
  const address = readAddress();
  applyAddress(address);
  await working(async (isLatest) => {
    if (address.result !== undefined) return showResult(await (await fetch(new URL("result.json", server))).json());
    const tell = (what) => isLatest() && sayDoing(what);
    // First, as a file that is dropped while the server loads its model is drawn with them.
    skeletons = byName(await withKey((options) => describe(server, "skeletons", options)));
    const models = await withKey((options) =>
      loadedModels(server, options, () => tell("The server is loading its model…")));
    tell("Lifting…");
    offerWays(waysOf(models), address);
    offerWebcam(server).catch(() => {});
    await openSample(isLatest, Number(address.frame) || 0);
  });
}

function offerWays(ways, { model, compare }) {
  const values = ways.map(({ value }) => value);
  for (const { value, label } of ways) {
    get("model").add(new Option(label, value));
    get("compare").add(new Option(label, value));
  }
  shown.way = values.includes(model) ? model : (values[0] ?? "");
  shown.other = values.includes(compare) ? compare : "";
  get("model").value = shown.way;
  get("compare").value = shown.other;
}

async function openSample(isLatest, frame = 0) {
  const body = await (await fetch(new URL("page/sample.json", server))).text();
  const source = { name: "sample.json", bytes: body, mediaType: "application/json", query: {} };
  const request = JSON.parse(body);
  await showLatest(isLatest, source, request, await liftAll(request), { frame });
}

/** The answers of the chosen ways to a request; `first` if it is there already. */
async function liftAll(request, first = null) {
  const ways = [shown.way, shown.other].filter((way, index) => index === 0 || way);
  return withKey((options) =>
    Promise.all(ways.map((way, index) => (index === 0 && first) || liftBy(server, request, way, options))));
}

/** Lift a file, and ask for what it does not say. */
async function openSource(source, isLatest) {
  const answer = await liftSource(server, source, shown.way, skeletons);
  if (!answer) return;
  const { request, first_frame: firstFrame, ...rest } = answer;
  const answers = await liftAll(request, optionsOf(shown.way) ? rest : null);
  answers[0].warnings = rest.warnings;
  await showLatest(isLatest, source, request, answers, { firstFrame });
}

/** Show a document of poses that is served beside the page, as `poselift view` does. */
function showResult({ name, skeletons: known, request, answer, forms, first_frame: firstFrame }) {
  skeletons = byName(known);
  document.querySelectorAll("[data-needs=server]").forEach((one) => {
    one.disabled = true;
    one.title = "Needs a server, as `make serve` or `poselift serve` starts one";
  });
  [...get("form").options].forEach((one) => (one.disabled = !forms.includes(one.value)));
  get("model").add(new Option(answer.model ? `${answer.model.name}, version ${answer.model.version}` : "not known"));
  shown.saved = new URL("save/", server);
  world.isServed = false;
  show({ name }, request, [answer], { firstFrame, times: request ? null : timesOf(answer, framesOf(answer)) });
}

/** Show answers, unless something else is wanted by now; in the world, if that is on. */
async function showLatest(isLatest, source, request, answers, more) {
  if (!isLatest()) return;
  const motions = await world.find(request, answers);
  if (isLatest()) show(source, request, answers, { ...more, motions });
}

function show(source, request, answers, { frame = 0, firstFrame = 0, times = null, motions = null } = {}) {
  leaveWebcam();
  const results = answers.map((answer) => posesOf(answer, skeletons));
  const clip = request ? clipOf(request, skeletons, { name: source.name, firstFrame }) : null;
  Object.assign(shown, { source, request, answer: answers[0] });
  world.open(request, answers, results, motions);
  present(clip, results, times ?? clip.times, frame);
  strip.show(summary(results[0], player.frames));
  listWarnings(answers[0].warnings ?? []);
  describeClip(source.name, results[0].people.length, player);
  writeAddress({ frame: player.playing ? null : player.frame });
}

function present(clip, results, times, frame = 0) {
  Object.assign(shown, { clip, results });
  picture.show(clip);
  stage.hidden = picture.hidden = new Set();
  player.load(times, frame);
  get("frame").max = player.frames - 1;
  listPeople(results[0]?.people ?? [], (hidden) => {
    stage.hidden = picture.hidden = hidden;
    isStale = true;
  });
  if (results.length) listJoints(results[0]);
  get("show-error").disabled = !results[0]?.people.some((person) => person.expected);
  document.querySelector(".picture").hidden = clip === null;
  get("picture-facts").textContent = clip ? `${clip.skeleton?.name ?? "keypoints"}, ${clip.width} × ${clip.height} px` : "";
  place();
}

/** What is drawn: the poses in the camera's axes, or in the world. */
function drawn() {
  return world.isShown ? world.results : shown.results;
}

/** Stand people where they belong, for one result or for two. */
function place() {
  const beside = get("beside").checked;
  const results = drawn();
  const sides = beside ? results.length : 1;
  const wider = world.isShown ? Math.max(...results.map(({ people }) => widestWay(people))) : 0;
  const halfWidths = results.map(({ people }, index) => arrange(people, shown.clip, beside ? index : 0, sides, wider));
  stage.overlaid = !beside;
  stage.show(results, Math.max(0, ...halfWidths), world.isShown ? reachOf(results) : null);
  nameViews(world.isShown);
  shown.distance = results.length > 1 && !shown.live ? meanDistance(...shown.results) : null;
  get("beside-field").hidden = results.length < 2;
  for (const [index, id] of ["first-swatch", "second-swatch", "live-swatch", "other-swatch"].entries()) {
    get(id).hidden = results.length < 2 || (index < 2 && shown.live !== null);
    get(id).style.background = colourOf(0, index % 2 === 1);
  }
  isStale = true;
}

// ---- the webcam

async function toggleWebcam() {
  if (shown.live) return showSampleAgain();
  await working(async (isLatest) => {
    const failed = (error) => (showSampleAgain(), say(error.message));
    const changed = () => (isStale = true);
    const page = { server, skeletons, picture, model: () => modelOf(shown.way), show: showWebcam, changed, failed };
    const live = await startWebcam(page);
    if (!isLatest()) return live.stop();
    shown.live = live;
    markWebcam(true);
    live.run();
  }, "Starting the webcam…");
}

/** The camera is given back first: nothing that fails afterwards leaves it on. */
function showSampleAgain() {
  leaveWebcam();
  return working(openSample);
}

/** Show what the webcam sees: no poses at first, then one or two that change. */
function showWebcam(clip, results) {
  Object.assign(shown, { source: null, request: null, answer: null });
  world.close();
  present(clip, results, [0]);
}

function leaveWebcam() {
  if (!shown.live) return;
  shown.live.stop();
  shown.live = null;
  markWebcam(false);
}

// ---- drawing

function tick(now) {
  requestAnimationFrame(tick);
  if (player.advance(now)) isStale = true;
  if (!isStale) return;
  isStale = false;
  stage.draw(player.frame);
  picture.draw(player.frame);
  shown.live?.drawn();
  get("frame").value = player.frame;
  if (now - numbersAt > NUMBERS_EVERY_MS || !player.playing) {
    numbersAt = now;
    tellNumbers();
  }
}

function tellNumbers() {
  const { clip, distance } = shown;
  const results = drawn();
  get("difference").textContent = distance === null ? "" : differenceOf(shown.results, distance, player.frame);
  if (!results.length) return showNumbers([]);
  const number = player.frame + (clip?.firstFrame ?? 0);
  get("time").textContent = `${number} · ${player.time.toFixed(2)} s`;
  get("frame").setAttribute("aria-valuetext", `frame ${number}, ${player.time.toFixed(2)} seconds`);
  const [person, joint] = get("joint").value.split(",").map(Number);
  showNumbers(numbersOf(results[0], clip, person, joint, player.frame));
  world.tell(person, player.frame);
}

function hover(x, y) {
  const found = stage.jointAt(x, y);
  const isChange = found?.joint !== stage.hovered?.joint || found?.person !== stage.hovered?.person;
  stage.hovered = found && { ...found };
  get("tip").hidden = !found;
  if (found) {
    const result = drawn()[found.result];
    const name = result.names[found.joint];
    showTip(found, result, numbersOf(result, shown.clip, found.person, found.joint, player.frame));
    const joint = shown.clip?.skeleton?.joint_names.indexOf(name) ?? -1;
    picture.hovered = { person: found.person, joint };
  } else picture.hovered = null;
  if (isChange) isStale = true;
}

// ---- what can be done

function setPlaying(playing) {
  player.playing = playing;
  get("play").setAttribute("aria-label", playing ? "Pause" : "Play");
  get("play").classList.toggle("playing", playing);
  writeAddress({ paused: playing ? null : 1, frame: playing ? null : player.frame });
}

function seek(frame) {
  player.seek(frame);
  isStale = true;
  writeAddress({ frame: player.playing ? null : player.frame });
}

function turned() {
  isStale = true;
  const { yaw, pitch, zoom } = stage.camera;
  writeAddress({ view: [yaw, pitch, zoom].map((value) => Number(value.toFixed(2))).join(",") });
}

function setSpeed(value) {
  player.speed = Number(value);
  get("speed").value = value;
  writeAddress({ speed: value === "1" ? null : value });
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  get("theme").setAttribute("aria-pressed", String(theme === "light"));
  for (const part of [stage, picture]) part.useTheme();
  strip.draw();
  isStale = true;
}

const act = {
  toggle: () => shown.live || setPlaying(!player.playing),
  step(frames) {
    if (shown.live) return;
    if (player.playing) setPlaying(false);
    seek(player.frame + frames);
  },
  changeSpeed(steps) {
    const select = get("speed");
    const index = Math.max(0, Math.min(select.length - 1, select.selectedIndex + steps));
    setSpeed(select.options[index].value);
  },
  zoom(factor) {
    stage.camera.zoomBy(factor);
    turned();
  },
  view(name) {
    [stage.camera.yaw, stage.camera.pitch] = VIEWS[name];
    turned();
  },
  turned,
  world: () => get("axes").hidden || world.turn(!world.isOn),
};

async function relift() {
  if (shown.live) return shown.live.reopen();
  if (!shown.request) return;
  await working(async (isLatest) => {
    const { source, request, clip } = shown;
    const warnings = get("warnings").hidden ? [] : shown.results[0].warnings;
    const answers = await liftAll(request);
    answers[0].warnings = answers[0].warnings.length ? answers[0].warnings : warnings;
    await showLatest(isLatest, source, request, answers, { frame: player.frame, firstFrame: clip.firstFrame });
  });
}

async function save() {
  if (shown.source) await working(() => savePoses(server, shown, get("form").value, world.known));
}

async function openFiles(files) {
  if (!files.length) return;
  await working(async (isLatest) => openSource(await sourceOf(files), isLatest));
}

function applyAddress({ speed, view, paused, theme, beside, errors, missing, ...others }) {
  const preferred = matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark";
  setTheme(["light", "dark"].includes(theme) ? theme : preferred);
  if (speed) setSpeed(speed);
  const [yaw, pitch, zoom] = (view ?? "").split(",").map(Number);
  if ([yaw, pitch, zoom].every(Number.isFinite) && view) {
    Object.assign(stage.camera, { yaw, pitch });
    stage.camera.zoom = 1;
    stage.camera.zoomBy(zoom);
  }
  get("beside").checked = beside === "1";
  get("show-error").checked = stage.showError = errors === "1";
  get("show-missing").checked = stage.showMissing = missing !== "0";
  setPlaying(paused !== "1");
  world.apply(others);
}

function wire() {
  const on = (id, event, work) => get(id).addEventListener(event, work);
  on("play", "click", act.toggle);
  on("frame", "input", ({ target }) => (setPlaying(false), seek(Number(target.value))));
  on("speed", "change", ({ target }) => setSpeed(target.value));
  on("joint", "change", () => (isStale = true));
  on("model", "change", ({ target }) => ((shown.way = target.value), writeAddress({ model: target.value }), relift()));
  on("compare", "change", ({ target }) => ((shown.other = target.value), writeAddress({ compare: target.value }), relift()));
  on("beside", "change", ({ target }) => (place(), writeAddress({ beside: target.checked ? 1 : null })));
  on("show-missing", "change", ({ target }) =>
    ((stage.showMissing = target.checked), (isStale = true), writeAddress({ missing: target.checked ? null : 0 })));
  on("show-error", "change", ({ target }) =>
    ((stage.showError = target.checked), (isStale = true), writeAddress({ errors: target.checked ? 1 : null })));
  on("theme", "click", () => {
    const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    setTheme(theme);
    writeAddress({ theme });
  });
  on("help", "click", () => get("keys").showModal());
  on("open", "click", () => get("file").click());
  on("open-folder", "click", () => get("folder").click());
  for (const id of ["file", "folder"]) {
    on(id, "change", ({ target }) => {
      openFiles([...target.files]);
      target.value = "";
    });
  }
  on("sample", "click", () => working(openSample));
  on("webcam", "click", toggleWebcam);
  on("save", "click", save);
  on("message-close", "click", () => say(null));
  document.querySelectorAll("[data-view]").forEach((one) => one.addEventListener("click", () => act.view(one.dataset.view)));
  document.querySelectorAll("[data-cancel]").forEach((one) => one.addEventListener("click", () => one.closest("dialog").close()));
  followPointers(get("stage"), stage.camera, { onTurn: turned, onHover: hover });
  followKeys(stage.camera, act);
  followDrops(get("drop"), (files) => shown.saved || openFiles(files));
  new ResizeObserver(() => ((isStale = true), strip.draw())).observe(document.body);
}

wire();
requestAnimationFrame(tick);
start();
