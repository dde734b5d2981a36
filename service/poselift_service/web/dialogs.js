/** The three dialogs, and the line for what went wrong. */

const get = (id) => document.getElementById(id);
const KEY = "poselift-key";

/** The API key that was typed into this tab. */
export function apiKey() {
  return sessionStorage.getItem(KEY) ?? undefined;
}

/** Ask for an API key; false if there is none. */
export async function askForKey() {
  const values = await ask(get("key-dialog"), "use");
  if (!values?.key) return false;
  sessionStorage.setItem(KEY, values.key.trim());
  return true;
}

/** Ask for what a file does not say: options of `POST /lift/file`, or null. */
export async function askForOptions(why, skeletons, query) {
  const dialog = get("reading");
  const { elements } = dialog.querySelector("form");
  if (elements.skeleton.length === 1) {
    for (const name of skeletons.keys()) elements.skeleton.add(new Option(name));
  }
  get("reading-why").textContent = why;
  const [width, height] = query.image_size?.split("x") ?? ["", ""];
  for (const one of elements) {
    const value = { ...query, width, height }[one.name] ?? "";
    if (one.type === "checkbox") one.checked = value === "true";
    else if (one.name) one.value = value;
  }
  const given = await ask(dialog, "lift");
  if (!given) return null;
  const { width: wide, height: high, track, ...others } = given;
  return { ...others, ...(track && { track: "true" }), ...(wide && high && { image_size: `${wide}x${high}` }) };
}

/** Show a dialog; resolves to its fields, or to null if it was left by another button than the one with this value. */
function ask(dialog, wanted) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const form = dialog.querySelector("form");
      resolve(dialog.returnValue === wanted ? Object.fromEntries(new FormData(form)) : null);
    }, { once: true });
  });
}

export function say(text) {
  get("message-text").textContent = text ?? "";
  get("message").hidden = !text;
}
