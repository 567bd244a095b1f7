// How classes of findings are told apart: a colour that reads on stained tissue, a letter and a
// dash pattern for each. Recoloured classes are kept in this browser, by algorithm and class.

const DASHES = [[], [7, 3], [2.5, 2.5], [9, 3, 2.5, 3]];
const FALLBACK_COLORS = [
  "#4aa3ff", "#ff5f4a", "#3fd08b", "#f2b632", "#c58bff", "#2fd3d3", "#ff86c2", "#b4c64a",
];
const STORE = "slidelane.colors";
const LIGHTEST_DARK = 0.62;

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
 * Return the class's colour, lightened until it reads on haematoxylin and DAB.
 * @param {string|number[]|null} color - of the card
 * @param {number} number - of the class, for one without a colour
 */
export function readableColor(color, number) {
  const given = Array.isArray(color) ? toHex(color) : color;
  if (!isColor(given)) {
    return FALLBACK_COLORS[number % FALLBACK_COLORS.length];
  }
  const [red, green, blue] = toRgb(given);
  const lightness = (Math.max(red, green, blue) + Math.min(red, green, blue)) / 510;
  if (lightness >= LIGHTEST_DARK) {
    return given.toLowerCase();
  }
  const share = (LIGHTEST_DARK - lightness) / (1 - lightness);
  return toHex([red, green, blue].map((part) => Math.round(part + (255 - part) * share)));
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
