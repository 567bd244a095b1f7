// The numbers of a result as people read them: "labelling_index_pct": 72.165 becomes
// "Labelling index", "72.17 %". Nothing that stands elsewhere in the panel is repeated.

import { formatNumber } from "./scale_bar.js";

const DENSITY = "_per_mm2";
const UNITS = [
  ["_mm2", "mm²"],
  ["_um2", "µm²"],
  ["_um", "µm"],
  ["_px", "px"],
  ["_pct", "%"],
  ["_s", "s"],
];
const MOST_ROWS = 8;
const DIGITS = 4;

/**
 * Return the rows of a summary: its plain values but the counts of classes, at most eight.
 * @param {{summary: object|null, classes: {name: string}[]}} document - findings.json
 * @returns {{name: string, label: string, value: string}[]}
 */
export function summaryRows({ summary, classes }) {
  const names = new Set(classes.map(({ name }) => name));
  const rows = Object.entries(summary ?? {}).filter(([name, value]) => {
    return !names.has(name) && name !== "headline" && isPlain(value);
  });
  return rows.slice(0, MOST_ROWS).map(([name, value]) => rowOf(name, value));
}

function isPlain(value) {
  return ["number", "string", "boolean"].includes(typeof value);
}

function rowOf(name, value) {
  if (name.endsWith(DENSITY)) {
    // beside a row of the same name without it
    return { name, label: `${labelOf(name.slice(0, -DENSITY.length))} per mm²`, value: valueWords(value) };
  }
  const [suffix, unit] = UNITS.find(([ending]) => name.endsWith(ending)) ?? ["", ""];
  const label = labelOf(name.slice(0, name.length - suffix.length));
  return { name, label, value: [valueWords(value), unit].filter(Boolean).join(" ") };
}

function labelOf(name) {
  const words = name.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function valueWords(value) {
  if (typeof value === "boolean") {
    return value ? "yes" : "no";
  }
  if (typeof value !== "number") {
    return value;
  }
  if (Number.isInteger(value) || Math.abs(value) >= 1000) {
    return formatNumber(Math.round(value), 15);
  }
  return formatNumber(value, DIGITS);
}
