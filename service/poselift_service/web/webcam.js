/** The webcam's button, and what the page leaves out while it runs. Its other modules are loaded when it is wanted. */

const get = (id) => document.getElementById(id);
const MISSING = "This server has no detector for webcams: `make web` in its checkout fetches one.";

/** Say at the button whether this server has what a webcam needs; where that is not known, starting one tells. */
export async function offerWebcam(server) {
  const { detector } = await (await fetch(new URL("page/webcam/webcam.json", server))).json();
  get("webcam").setAttribute("aria-disabled", String(!detector));
  get("webcam").title = detector ? "" : MISSING;
}

/** Start it, as `startLive` of its panel does; raises an error that says why it cannot. */
export async function startWebcam(page) {
  const button = get("webcam");
  if (button.getAttribute("aria-disabled") === "true") throw new Error(MISSING);
  const hadFocus = document.activeElement === button;
  button.disabled = true;
  try {
    const { startLive } = await import("./webcam/panel.js");
    return await startLive(page);
  } finally {
    button.disabled = false;
    if (hadFocus && document.activeElement === document.body) button.focus();
  }
}

/** A clip can be played, compared and saved; what a webcam sees is gone with the next frame. */
export function markWebcam(isOn) {
  get("webcam").textContent = isOn ? "Stop" : "Webcam";
  get("transport").hidden = isOn;
  for (const id of ["save", "form", "compare"]) get(id).disabled = isOn;
  if (isOn) {
    get("clip-name").textContent = "Webcam";
    get("clip-facts").textContent = "live";
  }
}
