/** What is drawn: the people of a clip, their keypoints, and the poses that one or two models gave. */

const GROUND_QUANTILE = 0.03;
const SPACING_M = 1.15;
const NOWHERE = [NaN, NaN, NaN];
/** How the axes of answers are told, and their signs against what is drawn. */
const AXES = [["x, right", 1], ["y, down", -1], ["z, away", -1]];

/** The skeletons of `GET /skeletons`, as what is drawn looks them up. */
export function byName(skeletons) {
  return new Map(skeletons.map((one) => [one.name, one]));
}

/**
 * The 2D input: a body of `POST /lift`, as people with frames of keypoints.
 *
 * `skeletons` are as of `byName`.
 */
export function clipOf(request, skeletons, { name, firstFrame = 0 } = {}) {
  const tracks = request.tracks ?? [{ track_id: null, keypoints: request.keypoints }];
  const [width, height] = request.image_size;
  const scale = request.coordinates === "normalised" ? [width, height] : [1, 1];
  return {
    name,
    firstFrame,
    width,
    height,
    skeleton: skeletons.get(request.skeleton) ?? null,
    times: timesOf(request, Math.max(...tracks.map((track) => track.keypoints.length))),
    people: tracks.map((track) => ({ id: track.track_id, frames: track.keypoints.map((frame) => points(frame, scale)) })),
  };
}

/** Joints of `[x, y, score]` in pixels, null where missing. */
function points(frame, [sx, sy]) {
  return frame?.map((joint) => {
    if (!joint || joint[0] === null || joint[1] === null || joint[2] === null || joint[2] < 0) return null;
    if (joint[0] === joint[1] && (joint[0] === 0 || joint[0] === -1)) return null;
    return [joint[0] * sx, joint[1] * sy, Math.min(1, joint[2] ?? 1)];
  });
}

/** Seconds from the first frame on. */
export function timesOf({ fps, timestamps_s: timestamps }, frames) {
  if (timestamps) return timestamps.map((time) => time - timestamps[0]);
  return Array.from({ length: frames }, (_, index) => index / (fps ?? 30));
}

/** How many frames an answer of `POST /lift` has. */
export function framesOf(answer) {
  return Math.max(...(answer.tracks ?? [answer]).map((track) => track.poses.length));
}

/** The poses of an answer of `POST /lift`, in typed arrays; x to the right, y up, z towards the camera. */
export function posesOf(answer, skeletons) {
  const tracks = answer.tracks ?? [{ track_id: null, ...answer }];
  const names = answer.joint_names;
  const joints = names.length;
  return {
    model: answer.model,
    names,
    joints,
    axes: AXES,
    parents: skeletons.get(answer.skeleton)?.parents ?? names.map(() => -1),
    warnings: answer.warnings ?? [],
    people: tracks.map((track) => personOf(track, joints)),
  };
}

function personOf(track, joints) {
  const frames = track.poses.length;
  const positions = new Float32Array(frames * joints * 3);
  const imputed = new Uint8Array(frames * joints);
  const expected = track.expected_error_m ? new Float32Array(frames * joints) : null;
  const lowest = new Float32Array(frames);
  let at = 0;
  for (let frame = 0; frame < frames; frame++) {
    let low = Infinity;
    for (let joint = 0; joint < joints; joint++, at++) {
      const [x, y, z] = isGiven(track.poses[frame]?.[joint]) ? track.poses[frame][joint] : NOWHERE;
      positions.set([x, -y, -z], 3 * at);
      imputed[at] = track.imputed?.[frame]?.[joint] ? 1 : 0;
      if (expected) expected[at] = track.expected_error_m[frame][joint];
      if (-y < low) low = -y;
    }
    lowest[frame] = low;
  }
  return { id: track.track_id, frames, positions, imputed, expected, ground: quantile(lowest, GROUND_QUANTILE), x: 0 };
}

/** Joints of poses that are still to be completed may be missing. */
function isGiven(joint) {
  return Boolean(joint) && joint.every(Number.isFinite);
}

/** A quantile of a typed array, those that are not finite left out. */
export function quantile(values, share) {
  const sorted = values.filter(Number.isFinite).sort();
  return sorted.length ? sorted[Math.floor(share * (sorted.length - 1))] : 0;
}

/**
 * Place people beside each other in the order of the picture: where they stand cannot be seen in one camera.
 *
 * `sides` is how many columns of people there are beside each other: two for a comparison side by side. `wider` is how
 * many metres they are to be farther apart than people who stand.
 */
export function arrange(people, clip, side = 0, sides = 1, wider = 0) {
  const spacing = SPACING_M + wider;
  const order = people.map((_, index) => index);
  if (clip) order.sort((one, other) => medianX(clip.people[one]) - medianX(clip.people[other]));
  const places = people.length * sides + (sides - 1) * 0.4;
  order.forEach((index, place) => {
    const column = side * (people.length + 0.4) + place;
    people[index].x = spacing * (column - (places - 1) / 2);
  });
  return (spacing * Math.max(0, places - 1)) / 2;
}

function medianX(person) {
  const seen = (person?.frames ?? []).flatMap((frame) => frame?.filter(Boolean).map(([x]) => x) ?? []);
  return seen.length ? seen.sort((one, other) => one - other)[seen.length >> 1] : 0;
}

/** Mean distance in metres between the poses of two results: in one frame, or in all. */
export function meanDistance(one, other, frame = null) {
  let sum = 0;
  let count = 0;
  for (const [index, person] of one.people.entries()) {
    const second = other.people[index];
    if (!second || one.joints !== other.joints) return null;
    const frames = frame === null ? Math.min(person.frames, second.frames) : frame + 1;
    for (let at = (frame ?? 0) * one.joints; at < frames * one.joints && 3 * at < person.positions.length; at++) {
      const [a, b] = [person.positions, second.positions];
      sum += Math.hypot(a[3 * at] - b[3 * at], a[3 * at + 1] - b[3 * at + 1], a[3 * at + 2] - b[3 * at + 2]);
      count++;
    }
  }
  return count ? sum / count : null;
}

/** For each frame of a result, the mean expected error in metres (or null) and the share of imputed joints. */
export function summary(result, frames) {
  const errors = result.people.some((person) => person.expected) ? new Float32Array(frames) : null;
  const imputed = new Float32Array(frames);
  for (let frame = 0; frame < frames; frame++) {
    let count = 0;
    for (const person of result.people) {
      if (frame >= person.frames) continue;
      for (let at = frame * result.joints; at < (frame + 1) * result.joints; at++, count++) {
        if (errors) errors[frame] += person.expected[at];
        imputed[frame] += person.imputed[at];
      }
    }
    if (errors && count) errors[frame] /= count;
    if (count) imputed[frame] /= count;
  }
  return { errors, imputed };
}
