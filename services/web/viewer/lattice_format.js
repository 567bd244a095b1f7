// Reads the heat map of a tile (SLG1 in docs/formats.md): a lattice of probabilities, 0 to 255, for
// each class, and which of its squares the model looked at.

import { readHeader } from "./tile_format.js";

const HEADER_BYTES = 16;

/**
 * Return the lattice of a part.
 * @param {ArrayBuffer} buffer - an SLG1 part, decompressed
 * @param {number} classCount
 * @returns {{columns: number, rows: number, values: Uint8Array, looked: Uint8Array}}
 *   `values` by class, row, column
 */
export function readLattice(buffer, classCount) {
  const { first: columns, second: rows } = readHeader(buffer, ["SLG1"]);
  const cells = columns * rows;
  const needed = HEADER_BYTES + cells * (classCount + 1);
  if (buffer.byteLength < needed) {
    throw new Error(`a heat map needs ${needed} bytes and has ${buffer.byteLength}`);
  }
  return {
    columns,
    rows,
    values: new Uint8Array(buffer, HEADER_BYTES, cells * classCount),
    looked: new Uint8Array(buffer, HEADER_BYTES + cells * classCount, cells),
  };
}
