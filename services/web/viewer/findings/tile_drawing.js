// Draws findings into the canvas of one tile: outlines, densities, heat maps. Runs in the worker.
// All coordinates of `target` are level-0 pixels: {left, top, scale, edge}, where `scale` is canvas
// px per level-0 px and `edge` the canvas's width and height.

import { dashOf, toRgb } from "../finding_style.js";
import { rampColor } from "./heat_ramp.js";

// One path with all outlines of a tile takes 26 times as long as paths of 64.
const MOST_OUTLINES_PER_PATH = 64;
const SHORTEST_LINE_PX = 1.5; // shorter ones are left out: outlines of nuclei far out
const FILL_ALPHA = 0.35;
const DASHES_FROM = 1;

/**
 * Draw the outlines of some tiles that are shown by class and score.
 * @param {OffscreenCanvasRenderingContext2D} context
 * @param {object} target
 * @param {{outlines: object, left: number, top: number, unit: number}[]} tiles
 * @param {object} style
 */
export function drawOutlines(context, target, tiles, style) {
  const pens = style.colors.map((color, number) => new Pen(context, color, number, target, style));
  for (const tile of tiles) {
    addOutlines(pens, target, tile, style);
  }
  for (const pen of pens) {
    pen.finish();
  }
}

function addOutlines(pens, target, tile, style) {
  const { count, classes, scores, starts, points, boxes } = tile.outlines;
  const least = style.threshold * 255;
  const zoom = tile.unit * target.scale;
  const left = (tile.left - target.left) * target.scale;
  const top = (tile.top - target.top) * target.scale;
  const edge = target.edge + 2; // the width of a line
  for (let i = 0; i < count; i++) {
    const number = classes[i];
    if (!style.shown[number] || scores[i] < least) {
      continue;
    }
    const at = 4 * i;
    if (
      boxes[at + 2] * zoom + left < -2 ||
      boxes[at + 3] * zoom + top < -2 ||
      boxes[at] * zoom + left > edge ||
      boxes[at + 1] * zoom + top > edge
    ) {
      continue;
    }
    pens[number].add(points, starts[i], starts[i + 1], zoom, left, top);
  }
}

/** Gathers the outlines of one class and draws at most 64 of them at a time. */
class Pen {
  constructor(context, color, number, target, style) {
    this.context = context;
    this.color = color;
    this.fills = style.fill;
    this.width = lineWidth(target.scale);
    this.dash = target.scale >= DASHES_FROM ? dashOf(number) : [];
    this.path = new Path2D();
    this.held = 0;
  }

  add(points, start, end, zoom, left, top) {
    const path = this.path;
    let x = points[2 * start] * zoom + left;
    let y = points[2 * start + 1] * zoom + top;
    path.moveTo(x, y);
    for (let at = start + 1; at < end; at++) {
      const nextX = points[2 * at] * zoom + left;
      const nextY = points[2 * at + 1] * zoom + top;
      if (Math.abs(nextX - x) + Math.abs(nextY - y) < SHORTEST_LINE_PX && at < end - 1) {
        continue;
      }
      x = nextX;
      y = nextY;
      path.lineTo(x, y);
    }
    path.closePath();
    this.held += 1;
    if (this.held >= MOST_OUTLINES_PER_PATH) {
      this.finish();
    }
  }

  finish() {
    if (this.held === 0) {
      return;
    }
    const context = this.context;
    context.lineWidth = this.width;
    context.lineJoin = "round";
    context.setLineDash(this.dash);
    context.strokeStyle = this.color;
    if (this.fills) {
      context.globalAlpha = FILL_ALPHA;
      context.fillStyle = this.color;
      context.fill(this.path);
      context.globalAlpha = 1;
    }
    context.stroke(this.path);
    this.path = new Path2D();
    this.held = 0;
  }
}

/** A line of one pixel is drawn in less than half the time that one of 1.3 takes. */
function lineWidth(scale) {
  return scale >= 1 ? 1.8 : 1;
}

/**
 * Return a picture of the density under a tile, one pixel a cell: the colour is the share of the
 * classes that are shown, the strength the root of how many findings there are.
 * @param {object} target
 * @param {{grid: object, x: number, y: number, size: number}[]} tiles - of one zoom, `size` in
 *   level-0 px
 * @param {object} style
 * @param {number[]} shares - of each class: the share of its findings that reach the threshold
 * @param {number} full - findings per level-0 px² that are drawn strongest
 * @returns {Promise<{bitmap: ImageBitmap, cell: number, left: number, top: number}>} `cell` is the
 *   edge of a cell in level-0 px, `left` and `top` the corner of the picture
 */
export async function densityPicture(target, tiles, style, shares, full) {
  const cell = tiles[0].size / tiles[0].grid.edge;
  const most = full * cell * cell;
  const rgb = style.colors.map(toRgb);
  // One picture of all cells that touch the canvas and one more around it, so that no seam shows
  // where two tiles meet.
  const fromX = Math.floor(target.left / cell) - 1;
  const fromY = Math.floor(target.top / cell) - 1;
  const span = target.edge / target.scale;
  const width = Math.floor((target.left + span) / cell) + 2 - fromX;
  const height = Math.floor((target.top + span) / cell) + 2 - fromY;
  const picture = new ImageData(width, height);
  for (const tile of tiles) {
    addCells(picture, tile, fromX, fromY, { style, shares, rgb, most });
  }
  const bitmap = await createImageBitmap(picture);
  return { bitmap, cell, left: fromX * cell, top: fromY * cell };
}

/** Draw the picture of a density and let go of it. */
export function drawDensity(context, target, { bitmap, cell, left, top }) {
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  const pixels = cell * target.scale;
  const x = (left - target.left) * target.scale;
  const y = (top - target.top) * target.scale;
  context.drawImage(bitmap, x, y, bitmap.width * pixels, bitmap.height * pixels);
  bitmap.close();
}

function addCells(picture, tile, fromX, fromY, { style, shares, rgb, most }) {
  const { edge, counts } = tile.grid;
  for (let row = 0; row < edge; row++) {
    const y = tile.y * edge + row - fromY;
    if (y < 0 || y >= picture.height) {
      continue;
    }
    for (let column = 0; column < edge; column++) {
      const x = tile.x * edge + column - fromX;
      if (x < 0 || x >= picture.width) {
        continue;
      }
      let sum = 0;
      let red = 0;
      let green = 0;
      let blue = 0;
      for (let number = 0; number < rgb.length; number++) {
        if (!style.shown[number]) {
          continue;
        }
        const count = counts[(number * edge + row) * edge + column] * shares[number];
        sum += count;
        red += count * rgb[number][0];
        green += count * rgb[number][1];
        blue += count * rgb[number][2];
      }
      if (sum > 0) {
        const at = 4 * (y * picture.width + x);
        picture.data[at] = red / sum;
        picture.data[at + 1] = green / sum;
        picture.data[at + 2] = blue / sum;
        picture.data[at + 3] = 255 * Math.min(0.8, 0.15 + 0.65 * Math.sqrt(sum / most));
      }
    }
  }
}

/**
 * Return the picture of a heat map, one pixel a square. With one class shown, the colour is its
 * probability on the ramp; with several, that of the most probable class, the stronger the more
 * probable.
 * @returns {Promise<ImageBitmap>}
 */
export function latticePicture(grid, style) {
  const shown = style.shown.flatMap((on, number) => (on ? [number] : []));
  const rgb = style.colors.map(toRgb);
  const { columns, rows } = grid;
  const picture = new ImageData(columns, rows);
  for (let cell = 0; cell < columns * rows; cell++) {
    paintCell(picture.data, 4 * cell, grid, cell, { shown, rgb, least: style.threshold * 255 });
  }
  return createImageBitmap(picture);
}

/**
 * Draw the pictures of heat maps and let go of them.
 * @param {OffscreenCanvasRenderingContext2D} context
 * @param {object} target
 * @param {{left: number, top: number, size: number}[]} tiles
 * @param {ImageBitmap[]} pictures - of these tiles, in their order
 */
export function drawLattices(context, target, tiles, pictures) {
  context.imageSmoothingEnabled = false; // the squares keep their edges
  tiles.forEach(({ left, top, size }, number) => {
    const x = (left - target.left) * target.scale;
    const y = (top - target.top) * target.scale;
    context.drawImage(pictures[number], x, y, size * target.scale, size * target.scale);
    pictures[number].close();
  });
}

function paintCell(data, at, grid, cell, { shown, rgb, least }) {
  if (grid.looked[cell] === 0) {
    return;
  }
  const cells = grid.columns * grid.rows;
  let best = -1;
  let value = -1;
  for (const number of shown) {
    if (grid.values[number * cells + cell] > value) {
      best = number;
      value = grid.values[number * cells + cell];
    }
  }
  if (best < 0 || value < least) {
    return;
  }
  let color = rgb[best];
  let alpha = 0.1 + 0.45 * (value / 255);
  if (shown.length === 1) {
    color = rampColor(value / 255);
    alpha = 0.25 + 0.45 * (value / 255);
  }
  data[at] = color[0];
  data[at + 1] = color[1];
  data[at + 2] = color[2];
  data[at + 3] = grid.looked[cell] * alpha;
}
