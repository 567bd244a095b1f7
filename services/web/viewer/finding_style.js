// How classes of findings are told apart: a colour that reads on stained tissue, a letter and a
// dash pattern for each. Recoloured classes are kept in this browser, by algorithm and class.

const DASHES = [[], [7, 3], [2.5, 2.5], [9, 3, 2.5, 3]];
const FALLBACK_COLORS = [
  "#4aa3ff", "#ff5f4a", "#3fd08b", "#f2b632", "#c58bff", "#2fd3d3", "#ff86c2", "#b4c64a",
];
const STORE = "slidelane.colors";
const LIGHTNESS = 0.64;
const GREYEST = 0.2;

/**
 * Return the style that a result is first shown in.
 * @param {object} document - findings.json
 * @param {string} [algorithm] - the name under which colours were kept
 * @returns {{shown: boolean[], colors: string[], opacity: number, fill: boolean, density: boolean,
 *   threshold: number}}
 */
export function defaultStyle(document, algorithm = "") {
  const kept = keptColors();
  const colors = document.classes.map((entry, number) => {
    return kept[colorKey(algorithm, entry.name)] ?? readableColor(entry.color, number);
  });
  return {
    shown: document.classes.map(() => true),
    colors,
    opacity: 0.9,
    fill: document.output === "mask",
    density: false,
    threshold: 0,
  };
}

/**
 * Keep the colour of a class in this browser.
 * @param {string} algorithm
 * @param {string} name - of the class
 * @param {string} color - "#rrggbb"
 */
export function keepColor(algorithm, name, color) {
  const kept = keptColors();
  kept[colorKey(algorithm, name)] = color;
  try {
    localStorage.setItem(STORE, JSON.stringify(kept));
  } catch {
    // A browser without storage forgets the colour with the page.
  }
}

function colorKey(algorithm, name) {
  return `${algorithm}/${name}`;
}

function keptColors() {
  try {
    const kept = JSON.parse(localStorage.getItem(STORE) ?? "{}");
    const valid = Object.entries(kept).filter(([, color]) => isColor(color));
    return Object.fromEntries(valid);
  } catch {
    return {};
  }
}

/** @param {unknown} color */
export function isColor(color) {
  return typeof color === "string" && /^#[0-9a-f]{6}$/i.test(color);
}

/**
 * Return the class's colour, lighter and stronger where it would not read on haematoxylin and DAB.
 * @param {string|number[]|null} color - of the card
 * @param {number} number - of the class, for one without a colour
 */
export function readableColor(color, number) {
  const given = Array.isArray(color) ? toHex(color) : color;
  if (!isColor(given)) {
    return FALLBACK_COLORS[number % FALLBACK_COLORS.length];
  }
  const { hue, saturation, lightness } = toHsl(toRgb(given));
  if (lightness >= LIGHTNESS) {
    return given.toLowerCase();
  }
  // A grey stays grey; a colour becomes as strong as it can be.
  const strength = saturation < GREYEST ? saturation : Math.max(saturation, 0.95);
  return toHex(fromHsl(hue, strength, LIGHTNESS));
}

function toHsl([red, green, blue]) {
  const most = Math.max(red, green, blue) / 255;
  const least = Math.min(red, green, blue) / 255;
  const span = most - least;
  const lightness = (most + least) / 2;
  if (span === 0) {
    return { hue: 0, saturation: 0, lightness };
  }
  const saturation = span / (1 - Math.abs(2 * lightness - 1));
  let hue = (red - green) / 255 / span + 4;
  if (most === red / 255) {
    hue = (green - blue) / 255 / span + 6;
  } else if (most === green / 255) {
    hue = (blue - red) / 255 / span + 2;
  }
  return { hue: (hue * 60) % 360, saturation, lightness };
}

function fromHsl(hue, saturation, lightness) {
  const strength = saturation * Math.min(lightness, 1 - lightness);
  return [0, 8, 4].map((offset) => {
    const place = (offset + hue / 30) % 12;
    const part = lightness - strength * Math.max(-1, Math.min(place - 3, 9 - place, 1));
    return Math.round(part * 255);
  });
}

/** @param {string} color - "#rrggbb" @returns {number[]} red, green, blue, 0 to 255 */
export function toRgb(color) {
  return [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
}

function toHex(parts) {
  return `#${parts.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
}

/**
 * Return the letter of each class: the first of its name that no class before it has.
 * @param {{name: string, title?: string}[]} classes
 * @returns {string[]}
 */
export function classLetters(classes) {
  const taken = new Set();
  return classes.map((entry, number) => {
    const candidates = [...(entry.title || entry.name).toUpperCase(), ..."ABCDEFGHIJKLMNOPQRSTUVWXYZ"];
    const letter = candidates.find((one) => /\p{L}|\p{N}/u.test(one) && !taken.has(one));
    taken.add(letter);
    return letter ?? String(number + 1);
  });
}

/** @param {number} number - of the class @returns {number[]} a dash pattern, in screen px */
export function dashOf(number) {
  return DASHES[number % DASHES.length];
}
