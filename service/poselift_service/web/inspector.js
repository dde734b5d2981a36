/** The panels beside the poses: people, warnings, and the numbers of one joint. */

import { colourOf } from "./colours.js";
import { meanDistance } from "./scene.js";

const get = (id) => document.getElementById(id);

function words(name) {
  return name.replaceAll("_", " ");
}

function personName(person, index) {
  return person.id === null || person.id === undefined ? "Person" : `Person ${person.id || index + 1}`;
}

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== null) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/** List the people, each with a box that shows or hides them; `onChange` receives the numbers of the hidden ones. */
export function listPeople(people, onChange) {
  const hidden = new Set();
  const rows = people.map((person, index) => {
    const box = element("input", null, { type: "checkbox" });
    box.checked = true;
    box.addEventListener("change", () => {
      if (box.checked) hidden.delete(index);
      else hidden.add(index);
      onChange(hidden);
    });
    const swatch = element("span", null, { class: "swatch", "aria-hidden": "true" });
    swatch.style.background = colourOf(index);
    const label = element("label", null, { class: "check" });
    label.append(box, swatch, personName(person, index));
    const row = element("li", null);
    row.append(label);
    return row;
  });
  get("people").replaceChildren(...rows);
}

export function describeClip(name, people, { frames, duration }) {
  const rate = frames > 1 ? `${Number((frames / duration).toPrecision(4))} fps` : "";
  const facts = [`${frames} frames`, rate, `${people} ${people === 1 ? "person" : "people"}`];
  get("clip-name").textContent = name;
  get("clip-facts").textContent = facts.filter(Boolean).join(" · ");
}

/** In the world, nobody looks from where the camera was: the first view is that of somebody before the person. */
export function nameViews(inWorld) {
  document.querySelector("[data-view=camera]").textContent = inWorld ? "Front" : "Camera";
}

export function listWarnings(warnings) {
  const rows = warnings.map(({ code, message, path }) => {
    const row = element("li", null);
    row.append(element("strong", words(code)), element("span", message));
    if (path) row.append(element("code", path));
    return row;
  });
  get("warning-list").replaceChildren(...rows);
  get("warnings-title").textContent = warnings.length === 1 ? "1 warning" : `${warnings.length} warnings`;
  get("warnings").hidden = warnings.length === 0;
}

/** Offer the joints of every person whose numbers can be read. */
export function listJoints(result) {
  const several = result.people.length > 1;
  const groups = result.people.map((person, index) => {
    const options = result.names.map((name, joint) => element("option", words(name), { value: `${index},${joint}` }));
    if (!several) return options;
    const group = element("optgroup", null, { label: personName(person, index) });
    group.append(...options);
    return [group];
  });
  get("joint").replaceChildren(...groups.flat());
  const head = result.names.indexOf("head");
  get("joint").value = `0,${head < 0 ? 0 : head}`;
}

/** What is known of a joint in a frame, as pairs of a name and a text. */
export function numbersOf(result, clip, person, joint, frame) {
  const one = result.people[person];
  if (!one || frame >= one.frames) return [["", "not in this frame"]];
  const at = frame * result.joints + joint;
  const [x, y, z] = one.positions.subarray(3 * at, 3 * at + 3);
  if (Number.isNaN(x)) return [["", "missing in this frame"]];
  const rows = result.axes.map(([name, sign], axis) => [name, metres(sign * [x, y, z][axis])]);
  if (one.expected) rows.push(["expected error", `${Math.round(1000 * one.expected[at])} mm`]);
  rows.push(["keypoint", keypoint(result.names[joint], clip, person, frame)]);
  if (one.imputed[at]) rows.push(["", "imputed: the keypoint was missing"]);
  return rows;
}

function metres(value) {
  return `${value < 0 ? "−" : " "}${Math.abs(value).toFixed(3)} m`;
}

function keypoint(name, clip, person, frame) {
  const joint = clip?.skeleton?.joint_names.indexOf(name) ?? -1;
  if (joint < 0) return "derived from others";
  const point = clip.people[person]?.frames[frame]?.[joint];
  return point ? `${Math.round(point[0])}, ${Math.round(point[1])} px, score ${point[2].toFixed(2)}` : "missing";
}

/** By how much two results differ: in a frame, and in the clip, which is known. */
export function differenceOf([one, other], clipDistance, frame) {
  const millimetres = (distance) => (distance === null ? "–" : `${(1000 * distance).toFixed(1)} mm`);
  const here = meanDistance(one, other, frame);
  return `Joints differ by ${millimetres(here)} in this frame, ${millimetres(clipDistance)} in the clip.`;
}

/** Show pairs of a name and a text in a list, which keeps its elements while their number is the same. */
export function showNumbers(rows, id = "numbers") {
  const list = get(id);
  const flat = rows.flatMap(([name, text]) => [
    ["dt", name],
    ["dd", text],
  ]);
  if (list.children.length !== flat.length) list.replaceChildren(...flat.map(([tag]) => element(tag, "")));
  flat.forEach(([, text], index) => {
    const cell = list.children[index];
    if (cell.textContent !== text) cell.textContent = text;
  });
}

/** Show the numbers of a joint beside it. */
export function showTip({ person, joint, x, y }, result, rows) {
  const tip = get("tip");
  const whose = result.people.length > 1 ? `, ${personName(result.people[person], person)}` : "";
  const lines = rows.map(([name, text]) => element("span", `${name} ${text}`.trim()));
  tip.replaceChildren(element("strong", words(result.names[joint]) + whose), ...lines);
  const { clientWidth, clientHeight } = tip.parentElement;
  tip.style.left = `${Math.min(x + 18, clientWidth - 190)}px`;
  tip.style.top = `${Math.min(y + 18, clientHeight - 150)}px`;
}
