// The parts of a stage that are no Preact components: the viewer, the layers over it and the words
// in the corners, which change with every frame. One object for each slide that is shown.

import { FindingMarks, foundWords } from "./finding_marks.js";
import { FindingsLayer } from "./findings/findings_source.js";
import { RegionLayer } from "./regions/region_drawing.js";
import { SlideViewer } from "./slide_viewer.js";
import { formatNumber, magnification, scaleBar } from "./scale_bar.js";
import { zoomsFor } from "./findings/tile_store.js";

const COUNT_MS = 1000; // the words for screen readers change at most once a second
const HOVER_REACH_PX = 4;
const HOVER_SPACE_PX = 260;
const FINDING_ZOOM = 1;

/** What is shown of one slide. */
export class StageParts {
  /**
   * @param {{element: HTMLElement, corners: object, latest: {current: object},
   *   set: (part: object) => void}} stage
   *   `corners`: the elements of the corners by name; `latest.current`: the Stage's properties now;
   *   `set` changes what the Stage shows: trouble, hover, selected, words
   */
  constructor({ element, corners, latest, set }) {
    this.element = element;
    this.corners = corners;
    this.latest = latest;
    this.set = set;
    this.viewer = null;
    this.region = null;
    this.layer = null;
    this.marks = null;
    this.document = null;
    this.isOpen = false;
    this.isClosed = false;
    this.pointer = null;
    this.counting = null;
    this.isAsking = false;
    this.selected = null;
    this.stepping = Promise.resolve();
    this.lastView = null;
  }

  async open(slide) {
    await loadOpenSeadragon();
    if (this.isClosed) {
      return;
    }
    this.viewer = new SlideViewer(this.element, slide, {
      onMove: (view) => this.moved(view),
      onView: (view) => this.tellView(view),
      onTrouble: (trouble) => this.set({ trouble }),
    });
    const { osd } = this.viewer;
    // OpenSeadragon keeps a press from moving the focus; the keys of the slide need it.
    osd.addHandler("canvas-press", () => this.element.parentElement.focus({ preventScroll: true }));
    osd.addHandler("canvas-click", (event) => this.click(event));
    osd.canvas.addEventListener("pointermove", (event) => this.pointTo(event));
    osd.canvas.addEventListener("pointerleave", () => this.pointTo(null));
    if (!(await this.viewer.open()) || this.isClosed) {
      return;
    }
    this.isOpen = true;
    this.set({ isOpen: true });
    this.marks = new FindingMarks(this.viewer);
    this.region = new RegionLayer(this.viewer, {
      onRegion: (region) => this.latest.current.onRegion?.(region),
      onSay: (words) => this.set({ words }),
    });
    const { view, findings, style, region, mode } = this.latest.current;
    this.goTo(view);
    this.showFindings(findings, style);
    this.showRegion(region, mode);
    this.moved(this.viewer.view());
  }

  /** Show the findings of a result, null for none. */
  showFindings(findings, style) {
    if (!this.isOpen) {
      return;
    }
    this.layer?.close();
    this.layer = null;
    this.select(null);
    this.document = findings?.document ?? null;
    if (findings && style) {
      this.tellDrawn(false);
      this.layer = new FindingsLayer(this.viewer, findings, style, {
        onFailure: (title) => this.failed(title),
        onDrawn: (isDrawn) => this.tellDrawn(isDrawn),
      });
      this.countSoon();
    }
  }

  /** Say what is wrong with the findings, null for nothing. */
  failed(title) {
    this.set({ trouble: title && { title, hint: "" } });
    this.latest.current.onLayerFault?.(title);
  }

  /** Say on the element whether all findings in view are drawn. */
  tellDrawn(isDrawn) {
    this.element.dataset.findings = isDrawn ? "drawn" : "drawing";
  }

  setStyle(style) {
    if (this.layer !== null && style) {
      this.layer.setStyle(style);
      this.moved(this.viewer.view());
    }
  }

  showRegion(region, mode) {
    this.region?.show(region, mode);
    this.region?.picture.setCursor(null, mode);
  }

  /** Show a place, unless it is the one that was told last. */
  goTo(view) {
    if (!this.isOpen || !view || sameView(view, this.lastView)) {
      return;
    }
    this.lastView = view;
    this.viewer.goTo(view);
  }

  tellView(view) {
    this.lastView = view;
    this.latest.current.onView?.(view);
  }

  moved(view) {
    this.region?.picture.place();
    this.marks?.place();
    const { mpp_x: mpp } = this.viewer.slide;
    const bar = scaleBar(view.scale, mpp ?? null);
    setText(this.corners.magnification, magnification(view.scale, mpp ?? null));
    setText(this.corners.kind, this.kindWords(view.scale));
    setText(this.corners.barWords, bar.words);
    drawBar(this.corners.bar, bar.px);
    this.placeWords();
    this.countSoon();
  }

  kindWords(scale) {
    if (this.layer === null) {
      return "";
    }
    if (this.document.output === "tiles" || this.document.output === "slide") {
      return "heat map";
    }
    const { densityZoom } = zoomsFor(
      this.document, this.layer.drawnScale(scale), this.layer.style.density,
    );
    return densityZoom === null || this.document.output === "mask" ? "outlines" : "density";
  }

  placeWords() {
    if (this.pointer === null || !this.isOpen) {
      setText(this.corners.place, "");
      return;
    }
    const { x, y } = this.viewer.toSlide(this.pointer);
    setText(this.corners.place, `x ${Math.floor(x)}  y ${Math.floor(y)}`);
  }

  pointTo(event) {
    if (!this.isOpen) {
      return;
    }
    if (event === null) {
      this.pointer = null;
      this.placeWords();
      this.hovered(null);
      return;
    }
    const bounds = this.element.getBoundingClientRect();
    this.pointer = { x: event.clientX - bounds.left, y: event.clientY - bounds.top };
    this.placeWords();
    this.region?.hover(this.pointer, event.pointerType);
    if (event.buttons === 0) {
      this.askHover();
    } else {
      this.hovered(null);
    }
  }

  /** Ask what is under the pointer, one question at a time. */
  async askHover() {
    if (this.isAsking || this.layer === null || this.latest.current.mode !== "pan") {
      return;
    }
    this.isAsking = true;
    let asked = null;
    try {
      while (asked !== this.pointer && this.pointer !== null && !this.isClosed) {
        asked = this.pointer;
        this.hovered(await this.findAt(asked), asked);
      }
    } catch {
      this.hovered(null);
    } finally {
      this.isAsking = false;
    }
  }

  findAt(position) {
    const { scale } = this.viewer.view();
    const { x, y } = this.viewer.toSlide(position);
    const reach = HOVER_REACH_PX / scale;
    return this.layer.ask("at", { x, y, reach, scale: this.layer.drawnScale(scale) });
  }

  hovered(found, position = null) {
    if (this.isClosed || this.marks === null) {
      return;
    }
    this.marks.show("hovered", found);
    if (found === null) {
      this.set({ hover: null });
      return;
    }
    const side = position.x > this.element.clientWidth - HOVER_SPACE_PX ? "is-left" : "is-right";
    this.set({ hover: { ...position, side, lines: foundWords(found, this.document) } });
  }

  async click(event) {
    if (!event.quick || this.layer === null || this.latest.current.mode !== "pan") {
      return;
    }
    const found = await this.findAt(event.position);
    this.select(found);
  }

  /** Select a finding, null for none. */
  select(found, prefix = "") {
    this.selected = found;
    this.marks?.show("selected", found);
    if (found === null) {
      this.set({ selected: null });
      return;
    }
    const selected = prefix + foundWords(found, this.document).join(" · ");
    this.set({ selected, words: selected });
  }

  /** Select the next finding by score, or the one before, and show it: one step after another. */
  step(by) {
    this.stepping = this.stepping.then(() => this.stepOnce(by)).catch((error) => {
      this.set({ words: `The next finding could not be read: ${error.message}` });
    });
    return this.stepping;
  }

  async stepOnce(by) {
    if (this.layer === null) {
      return;
    }
    this.set({ words: "Looking for the next finding …" });
    const from = this.selected?.number ?? null;
    const next = await this.layer.ask("step", { from, by });
    if (next === null || this.isClosed) {
      this.set({ words: "No finding is shown." });
      return;
    }
    const { scale } = this.viewer.view();
    const z = Math.max(scale, FINDING_ZOOM);
    this.viewer.goTo({ x: next.x, y: next.y, z }, false);
    const place = { x: next.x, y: next.y, reach: 1, scale: z };
    const found = (await this.layer.ask("finding", { number: next.number, place })) ?? next;
    this.select(found, `${formatNumber(next.place, 9)} of ${formatNumber(next.of, 9)} · `);
  }

  /** Count what is in view, at most once a second. */
  countSoon() {
    if (this.layer === null || this.counting !== null) {
      return;
    }
    this.counting = setTimeout(async () => {
      this.counting = null;
      if (this.isClosed || this.layer === null) {
        return;
      }
      const { left, top, width, height, scale } = this.viewer.view();
      const box = { left, top, right: left + width, bottom: top + height };
      const drawn = this.layer.drawnScale(scale);
      const inView = await this.layer.ask("count", { box, scale: drawn }).catch(() => null);
      if (inView !== null && !this.isClosed) {
        this.latest.current.onInView?.(inView);
        this.set({ words: inViewWords(inView, this.document) });
      }
    }, COUNT_MS);
  }

  commands() {
    return {
      next: () => this.step(1),
      previous: () => this.step(-1),
      home: () => this.viewer?.home(),
      goTo: (view) => this.viewer?.goTo(view),
    };
  }

  close() {
    this.isClosed = true;
    clearTimeout(this.counting);
    this.layer?.close();
    this.region?.close();
    this.marks?.close();
    this.viewer?.close();
  }
}

let loading = null;

/** Load OpenSeadragon with the first slide: a third of the page's bytes. */
function loadOpenSeadragon() {
  if (globalThis.OpenSeadragon === undefined) {
    loading ??= import("../vendor/openseadragon.js").catch((error) => {
      loading = null; // to be loaded again
      throw error;
    });
  }
  return loading;
}

function sameView(one, other) {
  return other !== null && one.x === other.x && one.y === other.y && one.z === other.z;
}

function drawBar(svg, length) {
  svg?.setAttribute("width", Math.ceil(length + 2));
  svg?.firstElementChild.setAttribute("d", `M1 1V7H${(length + 1).toFixed(1)}V1`);
}

function setText(element, text) {
  if (element && element.textContent !== text) {
    element.textContent = text;
  }
}

function inViewWords({ counts, exact }, document) {
  const sum = counts.reduce((total, count) => total + count, 0);
  const parts = counts.map((count, number) => {
    const { title, name } = document.classes[number];
    return `${title || name} ${formatNumber(count, 9)}`;
  });
  return `In view: ${exact ? "" : "about "}${formatNumber(sum, 9)} (${parts.join(", ")})`;
}
