// What the corners of the slide say: magnification, scale bar, the place under the cursor.

const BAR_PX = 110; // about how long a scale bar is on the screen
const STEPS = [1, 2, 5];
const UM_PER_PX_AT_1X = 10; // 10 µm a pixel is what is called 1×, 0.25 µm is 40×

/**
 * Return the length and the words of a scale bar: a round number, 60 to 150 screen px long.
 * @param {number} scale - screen px per level-0 px
 * @param {number|null} mpp - µm per level-0 px, null where unknown
 * @returns {{px: number, words: string}}
 */
export function scaleBar(scale, mpp) {
  const perUnit = mpp === null ? scale : scale / mpp;
  const wanted = BAR_PX / perUnit;
  const power = 10 ** Math.floor(Math.log10(wanted));
  const lengths = STEPS.map((step) => step * power).filter((length) => length <= wanted);
  const length = lengths[lengths.length - 1];
  return { px: length * perUnit, words: lengthWords(length, mpp === null) };
}

function lengthWords(length, inPixels) {
  if (inPixels) {
    return `${formatNumber(length)} px`;
  }
  if (length >= 1000) {
    return `${formatNumber(length / 1000)} mm`;
  }
  return `${formatNumber(length)} µm`;
}

/**
 * Return the magnification in words: "5.0×", or "20 %" of the slide's own pixels without an mpp.
 * @param {number} scale - screen px per level-0 px
 * @param {number|null} mpp
 */
export function magnification(scale, mpp) {
  if (mpp === null) {
    return `${formatNumber(scale * 100, 3)} %`;
  }
  const times = (scale * UM_PER_PX_AT_1X) / mpp;
  if (times >= 10) {
    return `${Math.round(times)}×`;
  }
  return times >= 1 ? `${times.toFixed(1)}×` : `${times.toFixed(2)}×`;
}

/**
 * Return a number as people write it here: 94,599.
 * @param {number} value
 * @param {number} [digits] - significant ones at most
 */
export function formatNumber(value, digits = 6) {
  return value.toLocaleString("en", { maximumSignificantDigits: digits });
}

/**
 * Return the size of a region: "1,024 × 512 px · 512 × 256 µm".
 * @param {number} width - level-0 px
 * @param {number} height
 * @param {number|null} mppX - µm per level-0 px
 * @param {number|null} mppY
 */
export function sizeWords(width, height, mppX, mppY) {
  const pixels = `${formatNumber(width, 9)} × ${formatNumber(height, 9)} px`;
  if (mppX === null) {
    return pixels;
  }
  return `${pixels} · ${sideWords(width * mppX, height * mppY)}`;
}

function sideWords(width, height) {
  if (Math.max(width, height) >= 10000) {
    return `${formatNumber(width / 1000, 3)} × ${formatNumber(height / 1000, 3)} mm`;
  }
  return `${formatNumber(Math.round(width), 5)} × ${formatNumber(Math.round(height), 5)} µm`;
}
