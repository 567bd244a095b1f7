// The tiles of findings that this page holds: fetched once, decompressed when first needed, the
// least recently used dropped. Runs in the worker.

import {
  gunzip, magicOf, readDensity, readLattice, readOutlines, splitParts,
} from "./tile_format.js";

const MOST_TILES = 600;

/** Tiles of one result, at most 600 held. */
export class TileStore {
  /**
   * @param {string} base - "/v1/orders/ID/scans/SCAN"
   * @param {object} document - findings.json
   */
  constructor(base, document) {
    this.base = base;
    this.document = document;
    this.parts = new Map();
  }

  /** Return the outlines of a tile, null where it has none. @returns {Promise<object|null>} */
  async outlines(z, x, y) {
    const entry = await this.entry(z, x, y);
    if (entry === null || entry.outlines.length === 0) {
      return null;
    }
    entry.readOutlines ??= gunzip(entry.outlines).then(readOutlines);
    return entry.readOutlines;
  }

  /** Return the outlines of a tile unless the density says that there are none. */
  async outlinesIfAny(z, x, y) {
    const counted = this.document.Z - 2;
    if (z < counted || counted < 0) {
      return this.outlines(z, x, y);
    }
    const down = z - counted;
    const grid = await this.grid(counted, x >> down, y >> down);
    if (grid === null || !countsAny(grid, down, x, y)) {
      return null;
    }
    return this.outlines(z, x, y);
  }

  /** Return the density or lattice of a tile, null where it has none. */
  async grid(z, x, y) {
    const entry = await this.entry(z, x, y);
    if (entry === null || entry.grid.length === 0) {
      return null;
    }
    entry.readGrid ??= gunzip(entry.grid).then((buffer) => this.decodeGrid(buffer));
    return entry.readGrid;
  }

  decodeGrid(buffer) {
    const classCount = this.document.classes.length;
    if (magicOf(buffer) === "SLG1") {
      return { kind: "lattice", ...readLattice(buffer, classCount) };
    }
    return { kind: "density", ...readDensity(buffer, classCount) };
  }

  /** Return the compressed parts of a tile, null where the result has nothing. */
  entry(z, x, y) {
    const key = `${z}/${x}/${y}`;
    let wanted = this.parts.get(key);
    if (wanted === undefined) {
      wanted = this.fetchParts(key);
      wanted.catch(() => this.parts.delete(key)); // to be asked for again
    } else {
      this.parts.delete(key);
    }
    this.parts.set(key, wanted); // the newest stands last
    if (this.parts.size > MOST_TILES) {
      this.parts.delete(this.parts.keys().next().value);
    }
    return wanted;
  }

  async fetchParts(key) {
    const response = await fetch(`${this.base}/findings/${key}`, { credentials: "same-origin" });
    if (response.status === 204) {
      return null;
    }
    if (!response.ok) {
      throw new Error(`the findings answer ${response.status}`);
    }
    return splitParts(await response.arrayBuffer());
  }
}

/** Return whether a density counts anything in a tile `down` zooms below its own. */
function countsAny(grid, down, x, y) {
  if (grid.kind !== "density") {
    return true;
  }
  const edge = grid.edge >> down;
  const fromX = (x % 2 ** down) * edge;
  const fromY = (y % 2 ** down) * edge;
  for (let start = 0; start < grid.counts.length; start += grid.edge * grid.edge) {
    for (let row = fromY; row < fromY + edge; row++) {
      const at = start + row * grid.edge + fromX;
      if (grid.counts.subarray(at, at + edge).some((count) => count > 0)) {
        return true;
      }
    }
  }
  return false;
}

/**
 * Return the tiles of a zoom that a box touches.
 * @param {object} document - findings.json
 * @param {number} z
 * @param {{left: number, top: number, right: number, bottom: number}} box - level-0 px
 * @param {number} margin - level-0 px by which the box grows
 * @returns {{z: number, x: number, y: number, left: number, top: number, unit: number}[]}
 *   `unit` is level-0 px per px of the zoom
 */
export function tilesIn(document, z, box, margin) {
  const unit = 2 ** (document.Z - z);
  const size = document.T * unit;
  const lastX = Math.ceil(document.width / size) - 1;
  const lastY = Math.ceil(document.height / size) - 1;
  const fromX = Math.max(0, Math.floor((box.left - margin) / size));
  const fromY = Math.max(0, Math.floor((box.top - margin) / size));
  const toX = Math.min(lastX, Math.floor((box.right + margin) / size));
  const toY = Math.min(lastY, Math.floor((box.bottom + margin) / size));
  const tiles = [];
  for (let y = fromY; y <= toY; y++) {
    for (let x = fromX; x <= toX; x++) {
      tiles.push({ z, x, y, left: x * size, top: y * size, unit });
    }
  }
  return tiles;
}

/**
 * Return the finest zoom whose outlines are drawn at this scale, and that of the density.
 * @param {object} document - findings.json
 * @param {number} scale - canvas px per level-0 px
 * @param {boolean} densityOnly
 * @returns {{outlineZoom: number, densityZoom: number|null}} `densityZoom` is null for outlines
 */
export function zoomsFor(document, scale, densityOnly) {
  const coarsest = document.Z - 2;
  const detailed = scale >= OUTLINES_FROM || coarsest < 0 || isSparse(document);
  if (detailed && !(densityOnly && coarsest >= 0)) {
    return { outlineZoom: document.Z, densityZoom: null };
  }
  const wanted = Math.floor(document.Z + Math.log2((scale * document.T) / 512));
  const densityZoom = Math.max(0, Math.min(coarsest, wanted));
  if (document.output === "mask") {
    const isSmall = totalCount(document) <= FEW_FINDINGS;
    const outlineZoom = isSmall ? document.Z : Math.min(document.Z, densityZoom + 2);
    return { outlineZoom, densityZoom };
  }
  return { outlineZoom: densityZoom, densityZoom };
}

/** Return whether all findings can be outlined at once: a density would hide what they are. */
export function isSparse(document) {
  return OUTLINED.has(document.output) && totalCount(document) <= SPARSE_FINDINGS;
}

function totalCount(document) {
  return document.classes.reduce((sum, { count }) => sum + count, 0);
}

/** Other outputs are heat maps, or have areas whose size decides. */
const OUTLINED = new Set(["objects", "report"]);
const SPARSE_FINDINGS = 500;

/** So many areas of a mask are drawn one by one in every zoom: a density would hide their shape. */
const FEW_FINDINGS = 20_000;

/** From this scale on, in canvas px per level-0 px, each finding is drawn as its outline. */
export const OUTLINES_FROM = 0.2;
