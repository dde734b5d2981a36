/** From a file to its answer, asking for what the file does not say; and from a file to one of poses. */

import { convertFile, liftFile } from "./client.js";
import { askForOptions } from "./dialogs.js";
import { saveAs } from "./files.js";
import { modelOf, optionsOf } from "./lifting.js";
import { withKey } from "./working.js";

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

/** Save the poses of a file in a form; `saved` is where they lie already, otherwise they are lifted with `query`. */
export async function savePoses(server, { source, saved, way }, form, query) {
  const response = saved
    ? await fetch(new URL(form, saved))
    : await withKey((options) => convertFile(server, source.bytes,
        { ...source.query, ...query, ...(optionsOf(way) ?? optionsOf(modelOf(way))), format: form },
        { ...options, mediaType: source.mediaType }));
  const zipped = response.headers.get("content-type")?.startsWith("application/zip");
  saveAs(await response.blob(), `${source.name.replace(/\.[^.]+$/, "")}-poses.${form}${zipped ? ".zip" : ""}`);
}
