// Answers about findings without the server: which one lies at a place, how many of each class are
// in view, which comes next by score. Runs in the worker.

import { DENSITY, FINDING, HEAT } from "./query_kinds.js";
import { isHole } from "./tile_format.js";
import { tilesIn, zoomsFor } from "./tile_store.js";

/**
 * Return what lies at a place: the smallest finding around it, else the nearest within reach, a
 * square of a heat map, the counts of a density's cell; null where nothing is shown.
 * @param {TileStore} store
 * @param {object} style
 * @param {{x: number, y: number, scale: number, reach: number}} place - level-0 px
 */
export async function findAt(store, style, { x, y, scale, reach }) {
  const { document } = store;
  const box = { left: x, top: y, right: x, bottom: y };
  const { outlineZoom, densityZoom } = zoomsFor(document, scale, style.density);
  const finding = await findingAt(store, style, { x, y, reach, box, outlineZoom });
  if (finding !== null) {
    return finding;
  }
  if (document.output === "tiles" || document.output === "slide") {
    return heatAt(store, style, x, y);
  }
  if (densityZoom === null || document.output === "mask") {
    return null;
  }
  return densityAt(store, style, { x, y, z: densityZoom, box });
}

/**
 * Return the finding of a number whose centre lies at a place; null if there is none.
 * @param {TileStore} store
 * @param {number} number
 * @param {{x: number, y: number}} place - level-0 px
 */
export async function findNumber(store, number, { x, y }) {
  const { document } = store;
  const box = { left: x, top: y, right: x, bottom: y };
  for (let z = document.Z; z >= 0; z--) {
    for (const tile of tilesIn(document, z, box, 1)) {
      const outlines = await store.outlines(z, tile.x, tile.y);
      const index = outlines === null ? -1 : outlines.numbers.indexOf(number);
      if (index >= 0) {
        const score = outlines.scores[index] / 255;
        const found = { kind: FINDING, number, class: outlines.classes[index], score };
        return { ...found, ...placed(outlines, index, tile) };
      }
    }
  }
  return null;
}

async function findingAt(store, style, { x, y, reach, box, outlineZoom }) {
  const { document } = store;
  let best = null;
  for (let z = 0; z <= outlineZoom; z++) {
    const margin = document.reach * 2 ** (document.Z - z) + reach;
    for (const tile of tilesIn(document, z, box, margin)) {
      const outlines = await store.outlines(z, tile.x, tile.y);
      if (outlines === null) {
        continue;
      }
      const near = nearest(outlines, tile, style, { x, y, reach });
      if (near !== null && (best === null || isCloser(near, best))) {
        best = near;
      }
    }
  }
  return best;
}

function isCloser(one, other) {
  if (one.distance !== other.distance) {
    return one.distance < other.distance;
  }
  return one.size < other.size;
}

/** Return the finding of a tile that the place is in or next to; distance 0 inside. */
function nearest(outlines, tile, style, { x, y, reach }) {
  const { count, classes, scores, boxes, numbers } = outlines;
  const atX = (x - tile.left) / tile.unit;
  const atY = (y - tile.top) / tile.unit;
  const within = reach / tile.unit;
  let best = null;
  for (let i = 0; i < count; i++) {
    const at = 4 * i;
    if (
      atX < boxes[at] - within ||
      atX > boxes[at + 2] + within ||
      atY < boxes[at + 1] - within ||
      atY > boxes[at + 3] + within ||
      !isShown(style, classes[i], scores[i]) ||
      isHole(outlines, i)
    ) {
      continue;
    }
    const distance = distanceTo(outlines, i, atX, atY) * tile.unit;
    const size = (boxes[at + 2] - boxes[at]) * (boxes[at + 3] - boxes[at + 1]) * tile.unit ** 2;
    if (distance > reach || (best !== null && !isCloser({ distance, size }, best))) {
      continue;
    }
    best = { index: i, number: numbers[i], class: classes[i], score: scores[i] / 255, distance };
    best.size = size;
  }
  if (best === null) {
    return null;
  }
  return { kind: FINDING, ...best, ...placed(outlines, best.index, tile) };
}

function isShown(style, number, score) {
  return style.shown[number] && score >= style.threshold * 255;
}

/** Return the outline and the box of a finding in level-0 px. */
function placed(outlines, index, tile) {
  const { starts, points, boxes } = outlines;
  const outline = [];
  for (let at = 2 * starts[index]; at < 2 * starts[index + 1]; at += 2) {
    outline.push([points[at] * tile.unit + tile.left, points[at + 1] * tile.unit + tile.top]);
  }
  const [left, top, right, bottom] = boxes.subarray(4 * index, 4 * index + 4);
  const box = {
    left: left * tile.unit + tile.left,
    top: top * tile.unit + tile.top,
    right: right * tile.unit + tile.left,
    bottom: bottom * tile.unit + tile.top,
  };
  return { outline, box };
}

/** Return 0 inside a finding and out of its holes, else the distance to its lines, in tile px. */
function distanceTo(outlines, index, x, y) {
  let { inside, least } = distanceToRing(outlines, index, x, y);
  for (let hole = index + 1; hole < outlines.count && isHole(outlines, hole); hole++) {
    const ring = distanceToRing(outlines, hole, x, y);
    inside = inside !== ring.inside;
    least = Math.min(least, ring.least);
  }
  return inside ? 0 : least;
}

function distanceToRing({ starts, points }, ring, x, y) {
  const start = starts[ring];
  const end = starts[ring + 1];
  let inside = false;
  let least = Infinity;
  let fromX = points[2 * (end - 1)];
  let fromY = points[2 * (end - 1) + 1];
  for (let at = start; at < end; at++) {
    const toX = points[2 * at];
    const toY = points[2 * at + 1];
    if (fromY > y !== toY > y && x < fromX + ((y - fromY) / (toY - fromY)) * (toX - fromX)) {
      inside = !inside;
    }
    const stepX = toX - fromX;
    const stepY = toY - fromY;
    const length = stepX * stepX + stepY * stepY || 1;
    const share = Math.min(1, Math.max(0, ((x - fromX) * stepX + (y - fromY) * stepY) / length));
    least = Math.min(least, Math.hypot(x - fromX - share * stepX, y - fromY - share * stepY));
    fromX = toX;
    fromY = toY;
  }
  return { inside, least };
}

async function densityAt(store, style, { x, y, z, box }) {
  const { document } = store;
  const [tile] = tilesIn(document, z, box, 0);
  const grid = tile === undefined ? null : await store.grid(z, tile.x, tile.y);
  if (grid === null) {
    return null;
  }
  const size = (document.T * tile.unit) / grid.edge;
  const column = Math.floor((x - tile.left) / size);
  const row = Math.floor((y - tile.top) / size);
  const counts = document.classes.map((_, number) => {
    return style.shown[number] ? cellCount(grid, number, row, column) : 0;
  });
  if (counts.every((count) => count === 0)) {
    return null;
  }
  const left = tile.left + column * size;
  const top = tile.top + row * size;
  return { kind: DENSITY, counts, box: { left, top, right: left + size, bottom: top + size } };
}

function cellCount(grid, number, row, column) {
  return grid.counts[(number * grid.edge + row) * grid.edge + column];
}

async function heatAt(store, style, x, y) {
  const { document } = store;
  const box = { left: x, top: y, right: x, bottom: y };
  const [tile] = tilesIn(document, document.Z, box, 0);
  const grid = tile === undefined ? null : await store.grid(tile.z, tile.x, tile.y);
  if (grid === null) {
    return null;
  }
  const width = document.T / grid.columns;
  const height = document.T / grid.rows;
  const column = Math.floor((x - tile.left) / width);
  const row = Math.floor((y - tile.top) / height);
  const cell = row * grid.columns + column;
  if (grid.looked[cell] === 0) {
    return null;
  }
  const cells = grid.columns * grid.rows;
  const values = document.classes.map((_, number) => grid.values[number * cells + cell] / 255);
  const left = tile.left + column * width;
  const top = tile.top + row * height;
  return { kind: HEAT, values, box: { left, top, right: left + width, bottom: top + height } };
}

/**
 * Return how many findings of each class lie in a box, by the centre of each.
 * @returns {Promise<{counts: number[], exact: boolean}>} not exact where cells of a density were
 *   counted
 */
export async function countInView(store, style, box, scale) {
  const { document } = store;
  const counts = document.classes.map(() => 0);
  if (document.output === "tiles" || document.output === "slide") {
    return { counts, exact: true };
  }
  const { outlineZoom, densityZoom } = zoomsFor(document, scale, style.density);
  if (densityZoom !== null && document.output !== "mask") {
    await addDensity(store, style, { box, z: densityZoom, counts });
    return { counts, exact: false };
  }
  for (let z = 0; z <= outlineZoom; z++) {
    const read = tilesIn(document, z, box, 0).map(async (tile) => {
      const outlines = await store.outlinesIfAny(z, tile.x, tile.y);
      if (outlines !== null) {
        addOutlines(outlines, tile, style, box, counts);
      }
    });
    await Promise.all(read);
  }
  return { counts, exact: outlineZoom === document.Z };
}

function addOutlines(outlines, tile, style, box, counts) {
  const { count, classes, scores, boxes } = outlines;
  const left = 2 * ((box.left - tile.left) / tile.unit);
  const right = 2 * ((box.right - tile.left) / tile.unit);
  const top = 2 * ((box.top - tile.top) / tile.unit);
  const bottom = 2 * ((box.bottom - tile.top) / tile.unit);
  for (let i = 0; i < count; i++) {
    const x = boxes[4 * i] + boxes[4 * i + 2];
    const y = boxes[4 * i + 1] + boxes[4 * i + 3];
    const isIn = x >= left && x < right && y >= top && y < bottom;
    if (isIn && isShown(style, classes[i], scores[i]) && !isHole(outlines, i)) {
      counts[classes[i]] += 1;
    }
  }
}

async function addDensity(store, style, { box, z, counts }) {
  const { document } = store;
  for (const tile of tilesIn(document, z, box, 0)) {
    const grid = await store.grid(z, tile.x, tile.y);
    if (grid === null) {
      continue;
    }
    const size = (document.T * tile.unit) / grid.edge;
    const from = (edge, corner) => Math.max(0, Math.round((edge - corner) / size));
    const to = (edge, corner) => Math.min(grid.edge, Math.round((edge - corner) / size));
    for (let row = from(box.top, tile.top); row < to(box.bottom, tile.top); row++) {
      for (let column = from(box.left, tile.left); column < to(box.right, tile.left); column++) {
        for (let number = 0; number < counts.length; number++) {
          counts[number] += style.shown[number] ? cellCount(grid, number, row, column) : 0;
        }
      }
    }
  }
}
