/** The poses of a clip by each way that they can be had: a model, its mirrored average, or a live stream. */

import { describe, lift, LiveSession } from "./client.js";

const MIRRORED = "+mirrored";
const LIVE = "+live";
const ASKED_AGAIN_MS = 1000;

/** The models of a server that has its default; one that still loads it is asked again, and `onLoading` is called. */
export async function loadedModels(url, options, onLoading) {
  for (;;) {
    const models = await describe(url, "models", options);
    if (models.some((model) => model.is_default)) return models;
    onLoading();
    await new Promise((resolve) => setTimeout(resolve, ASKED_AGAIN_MS));
  }
}

/** What a clip may be lifted by: `{value, label}`; the first is the server's default. */
export function waysOf(models) {
  const lifting = models.filter((model) => model.task === "lift");
  lifting.sort((one, other) => Number(other.is_default) - Number(one.is_default));
  const references = lifting.map(({ name, version }) => `${name}@${version}`);
  return [
    ...references.map((value) => ({ value, label: value.replace("@", ", version ") })),
    ...references.map((value) => ({ value: value + MIRRORED, label: `${value}, mirrored average` })),
    ...references.map((value) => ({ value: value + LIVE, label: `${value}, live without lookahead` })),
  ];
}

/** The fields of a request, or the options of a file, that stand for a way; null for a live stream. */
export function optionsOf(way) {
  if (way.endsWith(LIVE)) return null;
  const model = modelOf(way);
  return { ...(model && { model }), ...(way.endsWith(MIRRORED) && { mirrored_average: true }) };
}

/** The model of a way, as requests name it. */
export function modelOf(way) {
  return way.replace(MIRRORED, "").replace(LIVE, "");
}

/** The answer to a request by one of these ways; raises as `lift` does. */
export async function liftBy(url, request, way, options) {
  const fields = optionsOf(way);
  return fields ? lift(url, { ...request, ...fields }, options) : streamed(url, request, modelOf(way), options);
}

/** Lift every person as a live stream would be, frame by frame, with no look at what comes later. */
async function streamed(url, request, model, options) {
  if (!request.fps) throw new Error("A live stream needs a constant frame rate, and this clip has none.");
  const { skeleton, image_size, fps, coordinates = "pixels" } = request;
  const opening = { skeleton, image_size, fps, coordinates, lookahead: 0, ...(model && { model }) };
  const people = request.tracks ?? [{ track_id: null, keypoints: request.keypoints }];
  let description = null;
  const tracks = [];
  for (const { track_id, keypoints } of people) {
    const track = { track_id, poses: [], imputed: [], expected_error_m: [] };
    const session = new LiveSession(url, opening, {
      ...options,
      giveUpAfterS: options.timeoutS ?? 30,
      onFrames(frames) {
        for (const { frame_index: at, pose, imputed, expected_error_m: expected } of frames) {
          [track.poses[at], track.imputed[at], track.expected_error_m[at]] = [pose, imputed, expected];
        }
      },
    });
    for (const frame of keypoints) await session.send(frame);
    await session.end();
    description = session.description;
    if (!track.expected_error_m[0]) delete track.expected_error_m;
    tracks.push(track);
  }
  const { model: by, joint_names, skeleton: poses } = description;
  return { model: by, joint_names, skeleton: poses, tracks, warnings: [] };
}
