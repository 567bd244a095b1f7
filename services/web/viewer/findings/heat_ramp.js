// The colours of a heat map from 0 to 1: dark violet, red, orange, yellow. Lightness rises all the
// way, so that it reads without colour vision, too.

const STOPS = [
  [0.0, [48, 18, 96]],
  [0.25, [124, 29, 109]],
  [0.5, [203, 57, 72]],
  [0.75, [246, 132, 42]],
  [1.0, [252, 240, 110]],
];

/**
 * Return the colour of a value on the ramp.
 * @param {number} value - 0 to 1
 * @returns {number[]} red, green, blue, 0 to 255
 */
export function rampColor(value) {
  const above = Math.max(1, STOPS.findIndex(([stop]) => stop >= Math.min(1, value)));
  const [low, from] = STOPS[above - 1];
  const [high, to] = STOPS[above];
  const share = (Math.min(1, Math.max(0, value)) - low) / (high - low);
  return from.map((part, channel) => Math.round(part + (to[channel] - part) * share));
}
