// The region as it is seen: lines, handles and its size, over the slide. Lines keep their
// width in every zoom; positions follow each frame of OpenSeadragon.

import { HANDLES, areaOf, boxOf } from "./region_geometry.js";
import { formatNumber, sizeWords } from "../scale_bar.js";

const SVG = "http://www.w3.org/2000/svg";
const HANDLE_PX = 10;
const LABEL_GAP_PX = 10;

/** Draws one region. `onKey(grip, event)` is told keys on a handle that has the focus. */
export class RegionPicture {
  constructor(viewer, onKey) {
    this.viewer = viewer;
    this.onKey = onKey;
    this.shown = { region: null, mode: "pan", draft: null, pointer: null };
    this.svg = make("svg", { class: "viewer-region" });
    this.under = this.add(make("path", { class: "viewer-region-under" }));
    this.line = this.add(make("path", { class: "viewer-region-line" }));
    this.label = document.createElement("div");
    this.label.className = "viewer-region-label";
    this.handles = [];
    viewer.osd.canvas.append(this.svg, this.label);
  }

  add(element) {
    this.svg.append(element);
    return element;
  }

  /** Show what is given: {region, mode, draft, pointer}. */
  draw(shown) {
    this.shown = shown;
    this.syncHandles();
    this.place();
  }

  /** Put everything where the slide is now. */
  place() {
    const { region, draft, pointer } = this.shown;
    const view = this.viewer.view();
    const onScreen = ([x, y]) => [(x - view.left) * view.scale, (y - view.top) * view.scale];
    let corners = [];
    if (draft !== null) {
      const end = pointer === null ? [] : [[pointer.x, pointer.y]];
      corners = [...draft, ...end].map(onScreen);
    } else if (region !== null) {
      corners = cornersOf(region).map(onScreen);
    }
    const path = pathOf(corners, draft === null);
    this.under.setAttribute("d", path);
    this.line.setAttribute("d", path);
    this.grips().forEach(({ at }, number) => {
      const [x, y] = onScreen(at);
      this.handles[number].setAttribute("transform", `translate(${x.toFixed(1)} ${y.toFixed(1)})`);
    });
    this.placeLabel(corners);
  }

  placeLabel(corners) {
    const { region, draft } = this.shown;
    if (region === null || draft !== null) {
      this.label.textContent = "";
      return;
    }
    this.label.textContent = regionWords(region, this.viewer.slide);
    const { clientWidth, clientHeight } = this.viewer.osd.canvas;
    const xs = corners.map(([x]) => x);
    const ys = corners.map(([, y]) => y);
    const middle = (Math.max(0, Math.min(...xs)) + Math.min(clientWidth, Math.max(...xs))) / 2;
    const below = Math.max(...ys) + LABEL_GAP_PX;
    const most = clientHeight - this.label.offsetHeight;
    const half = this.label.offsetWidth / 2;
    const left = Math.max(0, Math.min(clientWidth - 2 * half, middle - half));
    const top = Math.max(0, Math.min(most, below));
    this.label.style.transform = `translate(${left.toFixed(0)}px, ${top.toFixed(0)}px)`;
  }

  /** Return what can be taken hold of, each with its place in level-0 px. */
  grips() {
    const { region, mode, draft } = this.shown;
    if (draft !== null) {
      return draft.map((at, vertex) => ({ kind: "corner", at, vertex }));
    }
    if (region === null) {
      return [];
    }
    if (mode === "rectangle" && region.points === undefined) {
      const { x, y, width, height } = region;
      return HANDLES.map((handle) => {
        return { kind: "handle", handle, at: [x + width * handle.x, y + height * handle.y] };
      });
    }
    if (mode === "polygon" && region.points !== undefined) {
      return region.points.map((at, vertex) => ({ kind: "vertex", at, vertex }));
    }
    return [];
  }

  /** Have as many handles as are needed; those that stay keep the focus. */
  syncHandles() {
    const grips = this.grips();
    while (this.handles.length > grips.length) {
      this.handles.pop().remove();
    }
    while (this.handles.length < grips.length) {
      const half = -HANDLE_PX / 2;
      const handle = make("g", { class: "viewer-region-handle" });
      handle.append(make("rect", { x: half, y: half, width: HANDLE_PX, height: HANDLE_PX, rx: 2 }));
      const number = this.handles.length;
      handle.addEventListener("keydown", (event) => this.onKey(this.grips()[number], event));
      this.handles.push(this.add(handle));
    }
    grips.forEach((grip, number) => describe(this.handles[number], grip));
  }

  setCursor(grip, mode) {
    this.viewer.osd.canvas.style.cursor = cursorFor(grip, mode);
  }

  close() {
    this.svg.remove();
    this.label.remove();
    this.viewer.osd.canvas.style.cursor = "";
  }
}

function describe(handle, grip) {
  if (grip.kind === "corner") {
    handle.removeAttribute("tabindex");
    handle.setAttribute("aria-hidden", "true");
    return;
  }
  const [x, y] = grip.at.map(Math.round);
  const name = grip.kind === "handle" ? grip.handle.name : `corner ${grip.vertex + 1}`;
  handle.removeAttribute("aria-hidden");
  handle.setAttribute("tabindex", "0");
  handle.setAttribute("role", "button");
  handle.setAttribute("aria-label", `${name}, x ${x}, y ${y}; move it with the arrow keys`);
}

function cursorFor(grip, mode) {
  if (grip === null) {
    return mode === "pan" ? "" : "crosshair";
  }
  if (grip.kind === "handle") {
    return grip.handle.cursor;
  }
  return grip.kind === "edge" ? "copy" : "move";
}

function cornersOf(region) {
  if (region.points !== undefined) {
    return region.points;
  }
  const { x, y, width, height } = region;
  return [[x, y], [x + width, y], [x + width, y + height], [x, y + height]];
}

function pathOf(corners, isClosed) {
  if (corners.length === 0) {
    return "";
  }
  const steps = corners.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`);
  return `M${steps.join("L")}${isClosed ? "Z" : ""}`;
}

/**
 * Return the size of a region in words: its box, and the area of a polygon.
 * @param {object} region
 * @param {{mpp_x: number|null, mpp_y: number|null|undefined}} slide - pixels need not be square
 */
export function regionWords(region, { mpp_x: mppX, mpp_y: mppY }) {
  const box = boxOf(region);
  const size = sizeWords(box.width, box.height, mppX, mppY ?? mppX);
  if (region.points === undefined) {
    return size;
  }
  const area = areaOf(region);
  if (mppX === null) {
    return `${size} · ${formatNumber(area, 6)} px²`;
  }
  return `${size} · ${formatNumber((area * mppX * (mppY ?? mppX)) / 1e6, 3)} mm²`;
}

function make(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    element.setAttribute(key, value);
  }
  return element;
}
