// The tiles of findings that this page holds: fetched once, decompressed when first needed, the
// least recently used dropped. Runs in the worker.

import { gunzip, magicOf, readDensity, readOutlines, splitParts } from "./tile_format.js";
import { readLattice } from "./lattice_format.js";

const MOST_TILES = 400;

/** Tiles of one result, at most 400 held. */
export class TileStore {
  /**
   * @param {string} base - "/v1/orders/ID/scans/SCAN"
   * @param {object} document - findings.json
   */
  constructor(base, document) {
    this.base = base;
    this.document = document;
    this.parts = new Map();
    this.answered = 0;
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
    this.answered += 1;
    return splitParts(await response.arrayBuffer());
  }
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
  const detailed = scale >= OUTLINES_FROM || coarsest < 0;
  if (detailed && !(densityOnly && coarsest >= 0)) {
    return { outlineZoom: document.Z, densityZoom: null };
  }
  const wanted = Math.floor(document.Z + Math.log2((scale * document.T) / 512));
  const densityZoom = Math.max(0, Math.min(coarsest, wanted));
  if (document.output === "mask") {
    return { outlineZoom: Math.min(document.Z, densityZoom + 2), densityZoom };
  }
  return { outlineZoom: densityZoom, densityZoom };
}

/** From this scale on, in canvas px per level-0 px, each finding is drawn as its outline. */
export const OUTLINES_FROM = 0.2;
