/** Motion in the world as it is drawn and told: poses on a floor, the way that people went, and where their feet stood. */

/** From this probability on, a foot counts as on the ground. */
const CONTACT = 0.5;
const FEET = ["left", "right"];
const AXES = [["x, left", 1], ["y, up", 1], ["z, forward", 1]];
const DEGREES = 180 / Math.PI;

/**
 * A body of `POST /lift` with what the fields of the page say; null is what they leave to the body.
 *
 * `known` has `heightM`, `fovDeg` and `footLock`.
 */
export function withKnown(request, { heightM, fovDeg, footLock }) {
  const { focal_px, fov_deg, ...camera } = request.camera ?? {};
  const lens = fovDeg === null ? { focal_px, fov_deg } : { fov_deg: fovDeg };
  const isOwn = heightM === null;
  return {
    ...request,
    camera: { ...camera, ...lens },
    person: isOwn ? request.person : { height_m: heightM },
    tracks: isOwn ? request.tracks : request.tracks?.map(({ person, ...track }) => track),
    world: { foot_lock: footLock },
  };
}

/** An answer with its people as its request has them: one of `keypoints` has no tracks. */
export function asRequested(request, answer) {
  return request.tracks || !answer.tracks ? answer : answer.tracks[0];
}

/** The motion of each person of an answer that has `world`; null where it has none. */
export function motionsOf(answer) {
  const motions = (answer.tracks ?? [answer]).map(({ world }) => world);
  return motions.every(Boolean) ? motions : null;
}

/** A result as of `posesOf`, put into the world by the motion of each of its people. */
export function inWorld(result, motions) {
  const ankles = FEET.map((side) => result.names.indexOf(`${side}_ankle`));
  const people = result.people.map((person, index) => {
    const motion = motions[index];
    const positions = yUp(motion.poses.flat(), motion);
    const expected = person.expected?.map((error) => error * motion.scale) ?? null;
    const steps = ankles.includes(-1) ? [] : stepsOf(motion.contacts, positions, result.joints, ankles);
    return { ...person, positions, expected, ground: 0, x: 0, motion, path: yUp(motion.root, motion), steps };
  });
  return { ...result, axes: AXES, people };
}

/** Points in one typed array, y up, whichever axis is up in them. */
function yUp(points, { axes }) {
  const flat = new Float32Array(3 * points.length);
  const isUp = axes.includes("z up");
  points.forEach(([x, y, z], index) => flat.set(isUp ? [x, z, -y] : [x, y, z], 3 * index));
  return flat;
}

/** Where a foot stood, and in which frames: `{foot, first, last, x, z}`. */
function stepsOf(contacts, positions, joints, ankles) {
  return ankles.flatMap((ankle, foot) => {
    const steps = [];
    let step = null;
    contacts.forEach((probabilities, frame) => {
      if (probabilities[foot] < CONTACT) return (step = null);
      if (!step) steps.push((step = { foot, first: frame, last: frame, x: 0, z: 0 }));
      const [at, count] = [3 * (frame * joints + ankle), frame - step.first + 1];
      step.x += (positions[at] - step.x) / count;
      step.z += (positions[at + 2] - step.z) / count;
      step.last = frame;
    });
    return steps;
  });
}

/** The ground that people and their ways take: its middle `[x, z]`, and how far they are from it at most, in metres. */
export function reachOf(results) {
  const [low, high] = [[Infinity, Infinity], [-Infinity, -Infinity]];
  for (const { people } of results) {
    for (const { path, x } of people) {
      for (let at = 0; at < path.length; at += 3) {
        [path[at] + x, path[at + 2]].forEach((value, axis) => {
          low[axis] = Math.min(low[axis], value);
          high[axis] = Math.max(high[axis], value);
        });
      }
    }
  }
  const centre = low.map((value, axis) => (value + high[axis]) / 2);
  return { centre, radius: Math.hypot(high[0] - low[0], high[1] - low[1]) / 2 };
}

/** How wide the widest way of a person is, in metres. */
export function widestWay(people) {
  return Math.max(0, ...people.map(({ path }) => {
    const xs = path.filter((_, at) => at % 3 === 0);
    return xs.reduce((most, x) => Math.max(most, x), -Infinity) - xs.reduce((least, x) => Math.min(least, x), Infinity);
  }));
}

export function fovOf({ camera }, width) {
  return 2 * DEGREES * Math.atan(width / 2 / camera.focal_px);
}

/**
 * What is known of a motion as a whole, as pairs of a name and a text. `width` is that of the picture in pixels, 0 if it
 * is not known; `isHeightGiven` tells whether somebody said it.
 */
export function factsOf(motion, width, isHeightGiven) {
  const { gravity, camera } = motion;
  const [x, y, z] = gravity.direction;
  const pitch = DEGREES * Math.asin(Math.max(-1, Math.min(1, z)));
  const roll = DEGREES * Math.atan2(x, y);
  const given = (isGiven) => (isGiven ? "given" : "assumed");
  return [
    ["height", `${motion.height_m.toFixed(2)} m, ${given(isHeightGiven)}`],
    ["scale", `× ${motion.scale.toFixed(3)}`],
    ["focal length", `${Math.round(camera.focal_px)} px, ${given(camera.given)}`],
    ...(width ? [["field of view", `${fovOf(motion, width).toFixed(1)}°`]] : []),
    ["camera pitch", `${Math.abs(pitch).toFixed(1)}° ${pitch < 0 ? "up" : "down"}`],
    ["camera roll", `${roll.toFixed(1).replace("-", "−")}°`],
    ["gravity", gravity.given ? "given" : `estimated ± ${gravity.uncertainty_deg.toFixed(1)}°`],
  ];
}

/** Which feet are on the ground in a frame, as pairs of a name and a text. */
export function contactsOf({ contacts }, frame) {
  return FEET.map((side, foot) => {
    const probability = contacts[frame]?.[foot];
    if (probability === undefined) return [`${side} foot`, "–"];
    const where = probability < CONTACT ? "in the air" : "on the ground";
    return [`${side} foot`, `${where}, ${Math.round(100 * probability)}\u00a0%`];
  });
}
