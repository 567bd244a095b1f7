// Reads a tile of findings: docs/formats.md describes the bytes. A tile holds an outline part
// (SLF1 or SLF2) and a second part (SLD1 or SLD2: counts, SLG1: the squares of a heat map),
// each its own gzip member. Every length is checked against the bytes that came: a tile comes from
// the network. Runs in the worker and on the page alike: no DOM.

const HEADER_BYTES = 16;
const QUARTERS = 4;
const MOST_BYTES = 256 * 2 ** 20;

/**
 * Split the payload of a tile into its two parts, still compressed.
 * @param {ArrayBuffer} payload - u32 length of the outline part, that part, the rest
 * @returns {{outlines: Uint8Array, grid: Uint8Array}} either may be empty
 */
export function splitParts(payload) {
  if (payload.byteLength < 4) {
    throw new Error(`a tile of ${payload.byteLength} bytes is too short`);
  }
  const bytes = new Uint8Array(payload);
  const length = new DataView(payload).getUint32(0, true);
  if (4 + length > bytes.length) {
    throw new Error(`a tile names ${length} bytes of outlines and has ${bytes.length - 4}`);
  }
  return { outlines: bytes.subarray(4, 4 + length), grid: bytes.subarray(4 + length) };
}

/**
 * Decompress one gzip member, at most 256 MiB of it.
 * @param {Uint8Array} part
 * @returns {Promise<ArrayBuffer>}
 */
export async function gunzip(part) {
  const stream = new Blob([part]).stream().pipeThrough(new DecompressionStream("gzip"));
  const reader = stream.getReader();
  const chunks = [];
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) {
      break;
    }
    length += value.length;
    if (length > MOST_BYTES) {
      await reader.cancel();
      throw new Error("a tile of findings is larger than 256 MiB");
    }
    chunks.push(value);
  }
  const whole = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole.buffer;
}

/**
 * Return the outlines of a part. Coordinates are pixels of the tile's zoom from the tile's corner.
 * @param {ArrayBuffer} buffer - an SLF1 or SLF2 part, decompressed
 * @returns {{count: number, numbers: Uint32Array, classes: Uint8Array|Uint16Array,
 *   scores: Uint8Array, starts: Uint32Array, points: Float32Array, boxes: Float32Array}}
 *   a row for each ring; the holes of a finding follow its outline and have its number. `starts`
 *   has count + 1 entries: the points of ring i are starts[i] to starts[i + 1] - 1. `boxes` is
 *   left, top, right, bottom of each.
 */
export function readOutlines(buffer) {
  const { magic, first: count, second: pointCount } = readHeader(buffer, ["SLF1", "SLF2"]);
  let classBytes = count;
  if (magic === "SLF2") {
    classBytes = 2 * count;
  }
  const padded = magic === "SLF2" ? 4 * Math.ceil(classBytes / 4) : classBytes;
  const needed = HEADER_BYTES + 10 * count + padded + count + 4 * pointCount;
  if (buffer.byteLength < needed) {
    throw new Error(`outlines need ${needed} bytes and have ${buffer.byteLength}`);
  }
  let at = HEADER_BYTES;
  const numbers = new Uint32Array(buffer, at, count);
  at += 4 * count;
  const firstX = new Int16Array(buffer, at, count);
  at += 2 * count;
  const firstY = new Int16Array(buffer, at, count);
  at += 2 * count;
  const lengths = new Uint16Array(buffer, at, count);
  at += 2 * count;
  const classes = readClasses(buffer, at, count, magic);
  at += padded;
  const scores = new Uint8Array(buffer, at, count);
  at += count;
  const deltas = new Int16Array(buffer.slice(at, at + 4 * pointCount));
  const walked = walkPoints({ firstX, firstY, lengths, deltas, pointCount });
  const outlines = { count, numbers, classes, scores, ...walked };
  turnHoles(outlines);
  return outlines;
}

/**
 * Return whether a ring is a hole: it has the number of the ring before it.
 * @param {{numbers: Uint32Array}} outlines
 * @param {number} ring
 */
export function isHole({ numbers }, ring) {
  return ring > 0 && numbers[ring] === numbers[ring - 1];
}

/** Let holes run against their outline, so that filling both leaves the hole empty. */
function turnHoles(outlines) {
  let outer = 0;
  for (let ring = 0; ring < outlines.count; ring++) {
    if (!isHole(outlines, ring)) {
      outer = ring;
    } else if (twiceArea(outlines, ring) * twiceArea(outlines, outer) > 0) {
      turn(outlines, ring);
    }
  }
}

function twiceArea({ starts, points }, ring) {
  const end = starts[ring + 1];
  let area = 0;
  let fromX = points[2 * end - 2];
  let fromY = points[2 * end - 1];
  for (let at = starts[ring]; at < end; at++) {
    area += fromX * points[2 * at + 1] - points[2 * at] * fromY;
    fromX = points[2 * at];
    fromY = points[2 * at + 1];
  }
  return area;
}

function turn({ starts, points }, ring) {
  for (let low = starts[ring], high = starts[ring + 1] - 1; low < high; low++, high--) {
    for (const axis of [0, 1]) {
      const kept = points[2 * low + axis];
      points[2 * low + axis] = points[2 * high + axis];
      points[2 * high + axis] = kept;
    }
  }
}

function readClasses(buffer, at, count, magic) {
  if (magic === "SLF1") {
    return new Uint8Array(buffer, at, count);
  }
  return new Uint16Array(buffer.slice(at, at + 2 * count));
}

/** Turn first points and steps into points, and find the box of each outline. */
function walkPoints({ firstX, firstY, lengths, deltas, pointCount }) {
  const count = lengths.length;
  const points = new Float32Array(2 * pointCount);
  const starts = new Uint32Array(count + 1);
  const boxes = new Float32Array(4 * count);
  let at = 0;
  for (let i = 0; i < count; i++) {
    const end = at + lengths[i];
    if (end > pointCount) {
      throw new Error(`outlines name more points than the ${pointCount} that came`);
    }
    let x = firstX[i];
    let y = firstY[i];
    let left = x;
    let right = x;
    let top = y;
    let bottom = y;
    starts[i] = at;
    for (let first = true; at < end; at++, first = false) {
      if (!first) {
        x += deltas[2 * at];
        y += deltas[2 * at + 1];
      }
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = Math.max(bottom, y);
      points[2 * at] = x / QUARTERS;
      points[2 * at + 1] = y / QUARTERS;
    }
    boxes[4 * i] = left / QUARTERS;
    boxes[4 * i + 1] = top / QUARTERS;
    boxes[4 * i + 2] = right / QUARTERS;
    boxes[4 * i + 3] = bottom / QUARTERS;
  }
  starts[count] = at;
  return { points, starts, boxes };
}

/**
 * Return the counts of a density part.
 * @param {ArrayBuffer} buffer - an SLD1 or SLD2 part, decompressed
 * @param {number} classCount
 * @returns {{edge: number, counts: Uint16Array|Uint32Array}} `counts` by class, row, column
 */
export function readDensity(buffer, classCount) {
  const { magic, first: edge } = readHeader(buffer, ["SLD1", "SLD2"]);
  const Counts = magic === "SLD1" ? Uint16Array : Uint32Array;
  const cells = classCount * edge * edge;
  if (edge > 4096 || buffer.byteLength < HEADER_BYTES + Counts.BYTES_PER_ELEMENT * cells) {
    throw new Error(`a density of ${edge} cells a side has ${buffer.byteLength} bytes`);
  }
  return { edge, counts: new Counts(buffer, HEADER_BYTES, cells) };
}

/**
 * Return the lattice of a heat map.
 * @param {ArrayBuffer} buffer - an SLG1 part, decompressed
 * @param {number} classCount
 * @returns {{columns: number, rows: number, values: Uint8Array, looked: Uint8Array}}
 *   `values` by class, row, column, 0 to 255; `looked` by row and column: which part of the cell
 *   the model looked at, 0 for nothing of it
 */
export function readLattice(buffer, classCount) {
  const { first: columns, second: rows } = readHeader(buffer, ["SLG1"]);
  const cells = columns * rows;
  if (buffer.byteLength < HEADER_BYTES + cells * (classCount + 1)) {
    throw new Error(`a heat map of ${columns} x ${rows} cells has ${buffer.byteLength} bytes`);
  }
  return {
    columns,
    rows,
    values: new Uint8Array(buffer, HEADER_BYTES, cells * classCount),
    looked: new Uint8Array(buffer, HEADER_BYTES + cells * classCount, cells),
  };
}

/**
 * Return the four letters that name the format of a part.
 * @param {ArrayBuffer} buffer
 */
export function magicOf(buffer) {
  return String.fromCharCode(...new Uint8Array(buffer, 0, Math.min(4, buffer.byteLength)));
}

/**
 * Return what the header of a part says.
 * @param {ArrayBuffer} buffer
 * @param {string[]} known - the formats that are understood
 * @returns {{magic: string, first: number, second: number}}
 */
export function readHeader(buffer, known) {
  if (buffer.byteLength < HEADER_BYTES) {
    throw new Error(`a part of ${buffer.byteLength} bytes is too short`);
  }
  const view = new DataView(buffer);
  const magic = magicOf(buffer);
  const version = view.getUint32(4, true);
  if (!known.includes(magic) || version !== 1) {
    throw new Error(`this page cannot read findings of format ${magic} ${version}`);
  }
  return { magic, first: view.getUint32(8, true), second: view.getUint32(12, true) };
}
