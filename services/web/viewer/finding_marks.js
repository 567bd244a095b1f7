// Marks single findings on the slide: the one under the pointer and the one that is selected, as
// lines over the layer of findings, and says in words what they are.

import { DENSITY, HEAT } from "./findings/query_kinds.js";
import { formatNumber } from "./scale_bar.js";

const SVG = "http://www.w3.org/2000/svg";

/** The marks of one viewer. */
export class FindingMarks {
  /** @param {SlideViewer} viewer */
  constructor(viewer) {
    this.viewer = viewer;
    this.found = { hovered: null, selected: null };
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.setAttribute("class", "viewer-marks");
    this.paths = {};
    for (const name of ["hovered", "selected"]) {
      const under = document.createElementNS(SVG, "path");
      under.setAttribute("class", "viewer-mark-under");
      const line = document.createElementNS(SVG, "path");
      line.setAttribute("class", `viewer-mark-${name}`);
      this.svg.append(under, line);
      this.paths[name] = [under, line];
    }
    viewer.osd.canvas.append(this.svg);
  }

  /**
   * Mark what was found.
   * @param {"hovered"|"selected"} name
   * @param {object|null} found - an answer of the worker
   */
  show(name, found) {
    this.found[name] = found;
    this.place();
  }

  /** Put the marks where the slide is now. */
  place() {
    const { left, top, scale } = this.viewer.view();
    for (const [name, paths] of Object.entries(this.paths)) {
      const steps = outlineOf(this.found[name]).map(([x, y]) => {
        return `${((x - left) * scale).toFixed(1)} ${((y - top) * scale).toFixed(1)}`;
      });
      const path = steps.length > 0 ? `M${steps.join("L")}Z` : "";
      paths.forEach((element) => element.setAttribute("d", path));
    }
  }

  close() {
    this.svg.remove();
  }
}

function outlineOf(found) {
  if (found === null) {
    return [];
  }
  if (found.outline !== undefined) {
    return found.outline;
  }
  const { left, top, right, bottom } = found.box;
  return [[left, top], [right, top], [right, bottom], [left, bottom]];
}

/**
 * Say what was found: "#1,234 · Positive · score 0.93".
 * @param {object} found - an answer of the worker
 * @param {object} document - findings.json
 * @returns {string[]} lines
 */
export function foundWords(found, document) {
  const names = document.classes.map((entry) => entry.title || entry.name);
  if (found.kind === HEAT) {
    return found.values.map((value, number) => `${names[number]} ${value.toFixed(2)}`);
  }
  if (found.kind === DENSITY) {
    return found.counts.flatMap((count, number) => {
      return count > 0 ? [`${names[number]} ${formatNumber(count)}`] : [];
    });
  }
  const score = `score ${found.score.toFixed(2)}`;
  return [`#${found.number.toLocaleString("en")} · ${names[found.class]} · ${score}`];
}
