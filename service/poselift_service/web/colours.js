/** Colours: those of the style sheet for canvases, one for each person, and mixtures. */

// Told apart by people who see few colours, too, and on dark as on light ground.
const PEOPLE = ["#2b9dff", "#ff9d2e", "#22c493", "#e86fb4", "#d9bb1f", "#9d85ff", "#ff6b5e", "#57c7e3"];
const SECOND = ["#ff7a45", "#5fd1ff", "#c38bff", "#9ddc4a", "#7f9cff", "#ffd166", "#36d6c3", "#ff9ecb"];

/** The colour of a person; `second` for the other model of a comparison. */
export function colourOf(person, second = false) {
  const colours = second ? SECOND : PEOPLE;
  return colours[person % colours.length];
}

/** Red, green and blue of `#rrggbb`. */
export function rgb(hex) {
  const value = Number.parseInt(hex.trim().slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

/** A mixture of two colours; share 0 is the first. */
export function mix(one, other, share) {
  return one.map((part, index) => part + (other[index] - part) * share);
}

export function css([r, g, b], alpha = 1) {
  return `rgb(${r | 0} ${g | 0} ${b | 0} / ${alpha})`;
}

/** The colours of the style sheet that canvases are drawn with, for the present theme. */
export function themeColours() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => rgb(style.getPropertyValue(`--${name}`));
  return {
    ground: read("stage"),
    grid: read("grid"),
    text: read("quiet"),
    line: read("line"),
    accent: read("accent"),
    missing: read("missing"),
    error: read("error"),
    contact: read("contact"),
  };
}
