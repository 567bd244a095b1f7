// Fetches, reads and draws findings away from the page's own thread. Each question has an id and
// gets one answer {id, answer} or {id, error}.

import {
  densityPicture, drawDensity, drawLattices, drawOutlines, latticePicture,
} from "./tile_drawing.js";
import { FindingOrder } from "./finding_order.js";
import { countInView, findAt, findNumber } from "./finding_queries.js";
import { isSparse, TileStore, tilesIn, zoomsFor } from "./tile_store.js";

let store = null;
let style = null;
let order = null;
let fullDensity = null;
let sheet = null;
const dropped = new Set();

const QUESTIONS = {
  open({ base, document, style: first }) {
    store = new TileStore(base, document);
    order = new FindingOrder(store);
    style = first;
    fullDensity = null;
    return null;
  },
  style({ style: next }) {
    style = next;
    return null;
  },
  draw,
  at({ x, y, scale, reach }) {
    return findAt(store, style, { x, y, scale, reach });
  },
  count({ box, scale }) {
    return countInView(store, style, box, scale);
  },
  finding({ number, place }) {
    return findNumber(store, number, place);
  },
  step({ from, by }) {
    return order.step(style, from, by);
  },
};

self.onmessage = async ({ data }) => {
  if (data.question === "drop") {
    dropped.add(data.id);
    return;
  }
  try {
    const answer = await QUESTIONS[data.question](data);
    const moved = answer instanceof ImageBitmap ? [answer] : [];
    self.postMessage({ id: data.id, answer }, moved);
  } catch (error) {
    self.postMessage({ id: data.id, error: error.message ?? String(error) });
  } finally {
    dropped.delete(data.id);
  }
};

/** Draw one tile of the layer and return it as an ImageBitmap, null where nothing is. */
async function draw({ id, target }) {
  const { document } = store;
  const span = target.edge / target.scale;
  const box = {
    left: target.left,
    top: target.top,
    right: target.left + span,
    bottom: target.top + span,
  };
  const { outlineZoom, densityZoom } = zoomsFor(document, target.scale, style.density);
  const [outlines, grids] = await Promise.all([
    outlinesFor(box, outlineZoom),
    gridsFor(box, target, densityZoom),
  ]);
  const full = await fullDensityOnce();
  if (dropped.has(id) || outlines.length + grids.length === 0) {
    return null;
  }
  const lattices = grids.filter(({ grid }) => grid.kind === "lattice");
  const densities = grids.filter(({ grid }) => grid.kind === "density");
  const shares = sharesAbove(document, style.threshold);
  const heat = await Promise.all(lattices.map(({ grid }) => latticePicture(grid, style)));
  let cells = null;
  if (document.output !== "mask" && densities.length > 0) {
    cells = await densityPicture(target, densities, style, shares, full);
  }
  const context = clearedCanvas(target.edge);
  drawLattices(context, target, lattices, heat);
  if (cells !== null) {
    drawDensity(context, target, cells);
  }
  if (lattices.length === 0) {
    drawOutlines(context, target, outlines, style);
  }
  return createImageBitmap(context.canvas);
}

/**
 * Return the context of the one canvas that all tiles are drawn in, empty.
 *
 * The first stroke on a new canvas waits in Chromium until the page's own thread is idle, which is
 * a frame: a canvas for each tile took 100 ms a tile, of which 15 ms were drawing.
 */
function clearedCanvas(edge) {
  if (sheet === null || sheet.canvas.width !== edge) {
    sheet = new OffscreenCanvas(edge, edge).getContext("2d", { willReadFrequently: true });
  }
  sheet.reset();
  return sheet;
}

/** Return the outlines that may touch the box, of this zoom and of all coarser ones. */
async function outlinesFor(box, finest) {
  const { document } = store;
  const wanted = [];
  for (let z = 0; z <= finest; z++) {
    const reach = document.reach * 2 ** (document.Z - z);
    wanted.push(...tilesIn(document, z, box, reach));
  }
  const read = wanted.map(async (tile) => {
    return { ...tile, outlines: await outlinesOf(tile) };
  });
  const tiles = await Promise.all(read);
  return tiles.filter(({ outlines }) => outlines !== null);
}

/** Far out, there are many tiles of which few hold anything: ask for those alone. */
function outlinesOf({ z, x, y }) {
  if (store.document.output === "mask" || isSparse(store.document)) {
    return store.outlinesIfAny(z, x, y);
  }
  return store.outlines(z, x, y);
}

/** Return the densities or heat maps under the box. */
async function gridsFor(box, target, densityZoom) {
  const { document } = store;
  let z = densityZoom;
  if (isHeatMap(document)) {
    z = heatZoom(document, target.scale);
  }
  if (z === null) {
    return [];
  }
  const size = document.T * 2 ** (document.Z - z);
  const read = tilesIn(document, z, box, size / 64).map(async (tile) => {
    return { ...tile, size, grid: await store.grid(tile.z, tile.x, tile.y) };
  });
  const tiles = await Promise.all(read);
  return tiles.filter(({ grid }) => grid !== null);
}

function isHeatMap(document) {
  return document.output === "tiles" || document.output === "slide";
}

function heatZoom(document, scale) {
  const wanted = Math.floor(document.Z + Math.log2((scale * document.T) / 512));
  return Math.max(0, Math.min(document.Z, wanted));
}

/** Find once what `densest` returns; one that failed is found again. */
function fullDensityOnce() {
  fullDensity ??= densest().catch((error) => {
    fullDensity = null;
    throw error;
  });
  return fullDensity;
}

/** Return the findings per level-0 px² of the densest place at the coarsest zoom. */
async function densest() {
  const { document } = store;
  if (document.Z < 2 || isHeatMap(document)) {
    return 1;
  }
  const grid = await store.grid(0, 0, 0);
  if (grid === null) {
    return 1;
  }
  const cells = grid.edge * grid.edge;
  let most = 1;
  for (let cell = 0; cell < cells; cell++) {
    let sum = 0;
    for (let at = cell; at < grid.counts.length; at += cells) {
      sum += grid.counts[at];
    }
    most = Math.max(most, sum);
  }
  const size = (document.T * 2 ** document.Z) / grid.edge;
  return most / (size * size);
}

/** Return for each class the share of its findings whose score reaches the threshold. */
function sharesAbove(document, threshold) {
  return document.classes.map(({ histogram }) => {
    const all = histogram.reduce((sum, count) => sum + count, 0);
    if (all === 0 || threshold === 0) {
      return 1;
    }
    const from = Math.floor(threshold * histogram.length);
    return histogram.slice(from).reduce((sum, count) => sum + count, 0) / all;
  });
}
