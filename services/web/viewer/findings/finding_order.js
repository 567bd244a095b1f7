// The order of all findings of a result by score, the highest first. Made on the first step, from
// the tiles that hold any; 16 bytes a finding. Runs in the worker.

import { isHole } from "./tile_format.js";
import { tilesIn } from "./tile_store.js";

const AT_ONCE = 4;

/** Steps through the findings of a store by score. */
export class FindingOrder {
  /** @param {TileStore} store */
  constructor(store) {
    this.store = store;
    this.read = null;
    this.sorted = null;
    this.sortedFor = "";
  }

  /**
   * Return the next finding that is shown, after `from` by score and number.
   * @param {object} style
   * @param {number|null} from - the number of a finding, null to begin
   * @param {number} by - 1 or -1
   * @returns {Promise<object|null>} {number, class, score, x, y, place, of}, null without any
   */
  async step(style, from, by) {
    this.read ??= this.readAll();
    const all = await this.read;
    const order = this.orderFor(all, style);
    if (order.length === 0) {
      return null;
    }
    const place = nextPlace(all, order, from, by);
    const index = order[place];
    return {
      number: all.numbers[index],
      class: all.classes[index],
      score: all.scores[index] / 255,
      x: all.x[index],
      y: all.y[index],
      place: place + 1,
      of: order.length,
    };
  }

  orderFor(all, style) {
    const key = JSON.stringify([style.shown, style.threshold]);
    if (this.sortedFor !== key) {
      this.sorted = sortByScore(all, style);
      this.sortedFor = key;
    }
    return this.sorted;
  }

  async readAll() {
    const { document } = this.store;
    const whole = { left: 0, top: 0, right: document.width - 1, bottom: document.height - 1 };
    const tiles = [];
    for (let z = 0; z <= document.Z; z++) {
      tiles.push(...tilesIn(document, z, whole, 0));
    }
    const parts = [];
    const next = tiles[Symbol.iterator]();
    const readSome = async () => {
      for (const tile of next) {
        const outlines = await this.store.outlinesIfAny(tile.z, tile.x, tile.y);
        if (outlines !== null) {
          parts.push({ tile, outlines });
        }
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, readSome));
    return columnsOf(parts);
  }
}

function columnsOf(parts) {
  const count = parts.reduce((sum, { outlines }) => sum + outlines.count, 0); // holes, too
  const all = {
    numbers: new Uint32Array(count),
    classes: new Uint16Array(count),
    scores: new Uint8Array(count),
    x: new Float32Array(count),
    y: new Float32Array(count),
    isHole: new Uint8Array(count),
  };
  let at = 0;
  for (const { tile, outlines } of parts) {
    all.numbers.set(outlines.numbers, at);
    all.classes.set(outlines.classes, at);
    all.scores.set(outlines.scores, at);
    for (let i = 0; i < outlines.count; i++) {
      all.isHole[at + i] = isHole(outlines, i) ? 1 : 0;
      const box = outlines.boxes.subarray(4 * i, 4 * i + 4);
      all.x[at + i] = tile.left + ((box[0] + box[2]) / 2) * tile.unit;
      all.y[at + i] = tile.top + ((box[1] + box[3]) / 2) * tile.unit;
    }
    at += outlines.count;
  }
  return all;
}

/** Return the indices of the findings shown: the highest score first, then the lowest number. */
function sortByScore(all, style) {
  const least = style.threshold * 255;
  const keys = [];
  for (let i = 0; i < all.numbers.length; i++) {
    if (style.shown[all.classes[i]] && all.scores[i] >= least && all.isHole[i] === 0) {
      keys.push(i);
    }
  }
  const order = Uint32Array.from(keys);
  order.sort((one, other) => {
    return all.scores[other] - all.scores[one] || all.numbers[one] - all.numbers[other];
  });
  return order;
}

function nextPlace(all, order, from, by) {
  const at = order.findIndex((index) => all.numbers[index] === from);
  if (from === null || at < 0) {
    return by > 0 ? 0 : order.length - 1;
  }
  return (at + by + order.length) % order.length;
}
