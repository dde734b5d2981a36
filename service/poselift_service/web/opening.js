/** From a file to its answer, asking for what the file does not say; and from a file to one of poses. */

import { liftFile, refineFile } from "./client.js";
import { askForOptions } from "./dialogs.js";
import { saveAs } from "./files.js";
import { optionsOf } from "./lifting.js";
import { withKey } from "./working.js";
import { asRequested, withKnown } from "./world.js";

// Fields that the dialog for a file's options has, and errors about which it can mend.
const ASKED = new Set(["fps", "image_size", "skeleton", "coordinates", "keypoints", "person_choice"]);

/** The answer of `POST /lift/file` with its keypoints, or null if somebody was asked and did not say. */
export async function liftSource(server, source, way, skeletons) {
  const fields = optionsOf(way) ?? {};
  for (let asked = null; ;) {
    try {
      return await withKey((options) =>
        liftFile(server, source.bytes, { ...source.query, ...fields, keypoints: true }, { ...options, mediaType: source.mediaType }));
    } catch (error) {
      // What was asked for and did not help is not asked for again.
      if (!ASKED.has(error.path?.split("[")[0]) || error.message === asked) throw error;
      asked = error.message;
      const query = await askForOptions(error.message, skeletons, source.query);
      if (!query) return null;
      source.query = query;
    }
  }
}

/**
 * Save the poses that are shown in a form; `saved` is where they lie already, otherwise the server writes them, with what
 * is `known` of their world.
 */
export async function savePoses(server, { source, saved, request, answer, clip }, form, { isInWorld, ...known }) {
  const response = saved ? await fetch(new URL(form, saved)) : await withKey((options) => {
    const { name, version } = answer.model;
    const body = { ...withKnown(request, known), model: `${name}@${version}` };
    const query = { format: form, world: isInWorld || null, first_frame: clip.firstFrame };
    return refineFile(server, body, asRequested(request, answer), query, options);
  });
  const zipped = response.headers.get("content-type")?.startsWith("application/zip");
  saveAs(form === "json" && !saved ? await withWarnings(response, answer) : await response.blob(), `${source.name.replace(/\.[^.]+$/, "")}-poses.${form}${zipped ? ".zip" : ""}`);
}

/** A document of poses with the warnings about its keypoints, which only the answer has. */
async function withWarnings(response, { warnings = [] }) {
  return new Blob([JSON.stringify({ ...(await response.json()), warnings })], { type: "application/json" });
}
