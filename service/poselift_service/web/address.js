/** What is shown, in the part of the address after `#`, so that it can be sent to others and survives a reload. */

const WRITE_AFTER_MS = 300;

export function readAddress() {
  return Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
}

let timer = null;
let wanted = {};

/** Change some of the values; null removes one. The address is written a little later, not for every frame. */
export function writeAddress(changes) {
  Object.assign(wanted, changes);
  timer ??= setTimeout(() => {
    timer = null;
    const values = { ...readAddress(), ...wanted };
    wanted = {};
    const kept = Object.entries(values).filter(([, value]) => value !== null && value !== "");
    const hash = new URLSearchParams(kept).toString().replaceAll("%2C", ",").replaceAll("%40", "@");
    history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
  }, WRITE_AFTER_MS);
}
