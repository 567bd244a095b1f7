// Draws the region of an order on the slide and lets it be changed: by mouse, finger and pen
// through OpenSeadragon's events, by keyboard through handles that take the focus.

import {
  HANDLES, areaOf, boxOf, clampPoint, crossesItself, isInside, moveRegion, nearestEdge,
  rectangleBetween, resizeRectangle,
} from "./region_geometry.js";
import { RegionPicture } from "./region_picture.js";

const REACH_PX = { mouse: 10, pen: 14, touch: 24 };
const SAME_PLACE_PX = 4;
const KEY_STEPS = {
  ArrowLeft: { x: -1, y: 0 },
  ArrowRight: { x: 1, y: 0 },
  ArrowUp: { x: 0, y: -1 },
  ArrowDown: { x: 0, y: 1 },
};
const LONG_STEP = 100;

/** The region over a slide. */
export class RegionLayer {
  /**
   * @param {SlideViewer} viewer
   * @param {{onRegion: (region: object|null) => void, onSay: (words: string) => void}} listeners
   */
  constructor(viewer, listeners) {
    this.viewer = viewer;
    this.slide = viewer.slide;
    this.listeners = listeners;
    this.region = null;
    this.mode = "pan";
    this.draft = null; // the corners of a polygon that is not closed yet
    this.grip = null; // what the pointer holds: {kind, …, start, before}
    this.picture = new RegionPicture(viewer, (grip, event) => this.keyOnHandle(grip, event));
    const { osd } = viewer;
    osd.addHandler("canvas-press", (event) => this.press(event));
    osd.addHandler("canvas-drag", (event) => this.drag(event));
    osd.addHandler("canvas-drag-end", (event) => this.release(event));
    osd.addHandler("canvas-release", () => this.let());
    osd.addHandler("canvas-click", (event) => this.click(event));
    osd.addHandler("canvas-double-click", (event) => this.doubleClick(event));
  }

  /** Show a region and say what the pointer does: "pan", "rectangle" or "polygon". */
  show(region, mode) {
    if (mode !== this.mode) {
      this.draft = null;
      this.grip = null;
    }
    this.region = region;
    this.mode = mode;
    this.redraw();
  }

  redraw(pointer = null) {
    const { region, mode, draft } = this;
    this.picture.draw({ region, mode, draft, pointer });
  }

  change(region) {
    this.region = region;
    this.redraw();
    this.listeners.onRegion(region);
  }

  /** Return what a pointer at a place would take hold of, null for nothing. */
  gripAt(position, pointerType = "mouse") {
    const reach = (REACH_PX[pointerType] ?? REACH_PX.mouse) / this.viewer.view().scale;
    const at = this.viewer.toSlide(position);
    if (this.region === null || this.draft !== null) {
      return null;
    }
    if (this.mode === "rectangle" && this.region.points === undefined) {
      return rectangleGrip(this.region, at, reach);
    }
    if (this.mode === "polygon" && this.region.points !== undefined) {
      return polygonGrip(this.region, at, reach);
    }
    return null;
  }

  press({ position, pointerType }) {
    if (this.mode === "pan") {
      return;
    }
    const grip = this.gripAt(position, pointerType);
    const start = this.viewer.toSlide(position);
    this.grip = { kind: "new", ...grip, start, before: this.region };
  }

  drag(event) {
    if (this.grip === null || (this.mode === "polygon" && this.grip.kind === "new")) {
      return;
    }
    event.preventDefaultAction = true;
    const at = this.viewer.toSlide(event.position);
    const step = { x: at.x - this.grip.start.x, y: at.y - this.grip.start.y };
    this.change(this.moved(this.grip, step, at));
  }

  /** Return the region with what is held moved. */
  moved(grip, step, at) {
    const { before } = grip;
    if (grip.kind === "handle") {
      return resizeRectangle(before, grip.handle, step, this.slide);
    }
    if (grip.kind === "vertex") {
      const [x, y] = before.points[grip.vertex];
      const to = clampPoint({ x: x + step.x, y: y + step.y }, this.slide);
      return { points: before.points.with(grip.vertex, [to.x, to.y]) };
    }
    if (grip.kind === "inside") {
      return moveRegion(before, step, this.slide);
    }
    return rectangleBetween(grip.start, at, this.slide);
  }

  release(event) {
    if (this.grip !== null && !(this.mode === "polygon" && this.grip.kind === "new")) {
      event.preventDefaultAction = true; // no throw
      this.check();
    }
    this.grip = null;
  }

  let() {
    // A press without a drag ends with a click, which needs no grip.
    this.grip = null;
  }

  click(event) {
    if (this.mode !== "polygon" || !event.quick) {
      return;
    }
    event.preventDefaultAction = true;
    const at = clampPoint(this.viewer.toSlide(event.position), this.slide);
    const pointerType = event.originalEvent?.pointerType ?? "mouse";
    if (this.draft === null) {
      this.clickOnPolygon(at, event.position, pointerType);
      return;
    }
    const reach = (REACH_PX[pointerType] ?? REACH_PX.mouse) / this.viewer.view().scale;
    const [firstX, firstY] = this.draft[0];
    if (this.draft.length > 2 && Math.hypot(at.x - firstX, at.y - firstY) < reach) {
      this.finish();
      return;
    }
    this.addCorner(at);
  }

  /** A click on an edge adds a corner there, one elsewhere begins another polygon. */
  clickOnPolygon(at, position, pointerType) {
    const grip = this.gripAt(position, pointerType);
    if (grip?.kind === "edge") {
      const points = this.region.points.toSpliced(grip.edge + 1, 0, [at.x, at.y]);
      this.change({ points });
    } else if (grip === null) {
      this.draft = [[at.x, at.y]];
      this.redraw();
    }
  }

  /** Add a corner to the polygon that is being drawn. */
  addCorner({ x, y }) {
    const last = this.draft?.at(-1);
    const scale = this.viewer.view().scale;
    if (last && Math.hypot(x - last[0], y - last[1]) * scale < SAME_PLACE_PX) {
      return;
    }
    this.draft = [...(this.draft ?? []), [x, y]];
    this.redraw();
    this.listeners.onSay(`Corner ${this.draft.length}: x ${x}, y ${y}`);
  }

  doubleClick(event) {
    if (this.draft !== null) {
      event.preventDefaultAction = true;
      this.finish();
    }
  }

  /** Close the polygon; it needs three corners. */
  finish() {
    if (this.draft === null) {
      return;
    }
    if (this.draft.length < 3) {
      this.listeners.onSay("A polygon needs three corners.");
      return;
    }
    const points = this.draft;
    this.draft = null;
    this.change({ points });
    this.check();
  }

  check() {
    if (this.region?.points !== undefined && crossesItself(this.region.points)) {
      this.listeners.onSay("The polygon crosses itself: move a corner until it does not.");
    }
  }

  /** Give up what is being drawn; return whether there was anything. */
  cancel() {
    if (this.grip !== null && this.mode === "rectangle") {
      this.change(this.grip.before);
      this.grip = null;
      return true;
    }
    if (this.draft !== null) {
      this.draft = null;
      this.redraw();
      return true;
    }
    return false;
  }

  /** Follow the pointer: the open end of a polygon, and the cursor over handles. */
  hover(position, pointerType) {
    if (this.mode === "pan") {
      return;
    }
    if (this.draft !== null) {
      this.redraw(this.viewer.toSlide(position));
      return;
    }
    this.picture.setCursor(this.gripAt(position, pointerType), this.mode);
  }

  /** Answer a key of the stage while drawing; return whether it was meant for the region. */
  key(event) {
    if (this.mode === "pan") {
      return false;
    }
    if (event.key === "Enter" && this.draft !== null) {
      this.finish();
      return true;
    }
    if (event.key === "Enter" && this.mode === "rectangle" && this.region === null) {
      this.change(this.middleOfView());
      return true;
    }
    if (event.key === " " && this.mode === "polygon") {
      const { x, y } = this.viewer.view();
      this.addCorner(clampPoint({ x, y }, this.slide));
      return true;
    }
    if ((event.key === "Backspace" || event.key === "Delete") && this.draft !== null) {
      this.draft = this.draft.length > 1 ? this.draft.slice(0, -1) : null;
      this.redraw();
      return true;
    }
    return false;
  }

  middleOfView() {
    const { left, top, width, height } = this.viewer.view();
    const from = { x: left + width / 4, y: top + height / 4 };
    const to = { x: left + (3 * width) / 4, y: top + (3 * height) / 4 };
    return rectangleBetween(from, to, this.slide);
  }

  /** Move the handle or corner that has the focus: 1 px a key, 100 with Shift. */
  keyOnHandle(grip, event) {
    const direction = KEY_STEPS[event.key];
    if (direction !== undefined) {
      event.preventDefault();
      event.stopPropagation();
      const length = event.shiftKey ? LONG_STEP : 1;
      const step = { x: direction.x * length, y: direction.y * length };
      this.change(this.moved({ ...grip, before: this.region }, step));
      return;
    }
    if ((event.key === "Delete" || event.key === "Backspace") && grip.kind === "vertex") {
      event.preventDefault();
      event.stopPropagation();
      this.deleteCorner(grip.vertex);
    }
  }

  deleteCorner(vertex) {
    if (this.region.points.length <= 3) {
      this.listeners.onSay("A polygon needs three corners.");
      return;
    }
    this.change({ points: this.region.points.toSpliced(vertex, 1) });
  }

  close() {
    this.picture.close();
  }
}

function rectangleGrip(rectangle, at, reach) {
  const { x, y, width, height } = rectangle;
  for (const handle of HANDLES) {
    const far = Math.max(Math.abs(x + width * handle.x - at.x), Math.abs(y + height * handle.y - at.y));
    if (far <= reach) {
      return { kind: "handle", handle };
    }
  }
  return isInside(rectangle, at) ? { kind: "inside" } : null;
}

function polygonGrip(region, at, reach) {
  const vertex = region.points.findIndex(([x, y]) => Math.hypot(x - at.x, y - at.y) <= reach);
  if (vertex >= 0) {
    return { kind: "vertex", vertex };
  }
  const { edge, distance } = nearestEdge(region.points, at);
  if (distance <= reach) {
    return { kind: "edge", edge };
  }
  return isInside(region, at) ? { kind: "inside" } : null;
}

export { areaOf, boxOf };
