/** Calls of the server: with the key of this tab, one after the other, and with a word about what goes on. */

import { apiKey, askForKey, say } from "./dialogs.js";

const get = (id) => document.getElementById(id);
const TIMEOUT_S = 60;
let latest = 0;

/** Call the server with the key of this tab; ask for one if it is needed. */
export async function withKey(work) {
  for (;;) {
    try {
      return await work({ key: apiKey(), timeoutS: TIMEOUT_S });
    } catch (error) {
      if (error.code !== "unauthenticated" || !(await askForKey())) throw error;
    }
  }
}

/** Say what is being done. */
export function sayDoing(what) {
  get("busy").textContent = what;
}

/** Do something that takes a moment, and say so; what fails is said in a sentence. Later work takes the place of it. */
export async function working(work, what = "Lifting…") {
  const mine = ++latest;
  say(null);
  sayDoing(what);
  get("busy").hidden = false;
  get("stage").setAttribute("aria-busy", "true");
  try {
    await work(() => mine === latest);
  } catch (error) {
    if (mine !== latest) return;
    say(error.message);
  } finally {
    if (mine === latest) {
      get("busy").hidden = true;
      get("stage").removeAttribute("aria-busy");
    }
  }
}
