// The slide in the middle of the page: OpenSeadragon on the slide's IIIF address, and words for
// what can go wrong with it. Coordinates that leave this file are level-0 pixels of the slide.

import { askForLogin } from "../api.js";
import { needsCanvas } from "./drawer.js";

const RETRY_MS = 3000;
const VIEW_MS = 500;
// OpenSeadragon's 0.5 fetches and draws four times as many pixels as are seen at 1/2, 1/4, 1/8.
const MIN_PIXEL_RATIO = 0.6;
const PAN_SHARE = 0.2;
const ZOOM_STEP = 1.5;

/** An open slide. `osd` is its OpenSeadragon viewer. */
export class SlideViewer {
  /**
   * @param {HTMLElement} element
   * @param {{iiif: string, width: number, height: number, mpp_x: number|null}} slide
   * @param {{onMove: (view: object) => void, onView: (view: object) => void,
   *   onTrouble: (trouble: {title: string, hint: string}|null) => void}} listeners
   *   `onMove` is told every change of the view, `onView` at most two a second
   */
  constructor(element, slide, listeners) {
    this.slide = slide;
    this.listeners = listeners;
    this.isClosed = false;
    this.retry = null;
    this.failed = []; // tiles that OpenSeadragon would not ask for again
    this.told = null;
    const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.osd = globalThis.OpenSeadragon({
      element,
      drawer: needsCanvas() ? "canvas" : undefined,
      showNavigationControl: false,
      showNavigator: true,
      navigatorPosition: "TOP_RIGHT",
      navigatorSizeRatio: 0.16,
      navigatorAutoFade: false,
      navigatorOpacity: 1,
      navigatorBackground: "transparent",
      navigatorBorderColor: "transparent",
      keyboardNavEnabled: false,
      imageLoaderLimit: 16, // for the slide and its findings together
      maxTilesPerFrame: 2,
      timeout: 30000,
      animationTime: isStill ? 0 : 0.4,
      springStiffness: 9,
      blendTime: 0,
      minPixelRatio: MIN_PIXEL_RATIO,
      minZoomImageRatio: 0.8,
      maxZoomPixelRatio: 8,
      visibilityRatio: 0.5,
      preserveImageSizeOnResize: true,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: false },
      gestureSettingsTouch: { clickToZoom: false, dblClickToZoom: false },
      gestureSettingsPen: { clickToZoom: false, dblClickToZoom: false },
    });
    this.osd.addHandler("update-viewport", () => this.moved());
    this.osd.addHandler("tile-load-failed", (event) => this.tileFailed(event));
    this.osd.addHandler("tile-loaded", (event) => this.tileLoaded(event));
    // The page has keys of its own; OpenSeadragon's would answer twice.
    this.osd.innerTracker.keyHandler = null;
    this.osd.innerTracker.keyDownHandler = null;
    this.osd.canvas.removeAttribute("tabindex");
  }

  /** Open the slide; resolves once it can be looked at. @returns {Promise<boolean>} */
  async open() {
    const info = await this.readInfo();
    if (info === null || this.isClosed) {
      return false;
    }
    // The tiles come from where this page comes from, whatever name the server knows itself by.
    info.id = new URL(this.slide.iiif, location.href).href;
    return new Promise((resolve) => {
      this.osd.addOnceHandler("open", () => resolve(true));
      this.osd.addOnceHandler("open-failed", () => resolve(false));
      this.osd.open(info);
    });
  }

  async readInfo() {
    for (;;) {
      const { info, trouble, again } = await fetchInfo(this.slide.iiif);
      if (this.isClosed || info !== null) {
        this.tell(null);
        return this.isClosed ? null : info;
      }
      this.tell(trouble);
      if (!again) {
        return null;
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  /** Return what is seen now: {left, top, width, height} in level-0 px and {scale}, {x, y, z}. */
  view() {
    const bounds = this.osd.viewport.getBoundsNoRotate(true);
    const container = this.osd.viewport.getContainerSize();
    const left = bounds.x * this.slide.width;
    const top = bounds.y * this.slide.width;
    const width = bounds.width * this.slide.width;
    const height = bounds.height * this.slide.width;
    const scale = container.x / width;
    return { left, top, width, height, scale, x: left + width / 2, y: top + height / 2, z: scale };
  }

  /** Return the level-0 px under a point of the element. */
  toSlide({ x, y }) {
    const { left, top, scale } = this.view();
    return { x: left + x / scale, y: top + y / scale };
  }

  /**
   * Show a place.
   * @param {{x: number, y: number, z: number}} view - its centre, and screen px per level-0 px
   * @param {boolean} [immediately]
   */
  goTo({ x, y, z }, immediately = true) {
    const container = this.osd.viewport.getContainerSize();
    const width = container.x / z / this.slide.width;
    const height = container.y / z / this.slide.width;
    const left = x / this.slide.width - width / 2;
    const top = y / this.slide.width - height / 2;
    const bounds = new globalThis.OpenSeadragon.Rect(left, top, width, height);
    this.osd.viewport.fitBounds(bounds, immediately);
  }

  home() {
    this.osd.viewport.goHome();
  }

  /** Move by a share of the view: (1, 0) is one step to the right. */
  pan(stepX, stepY) {
    const bounds = this.osd.viewport.getBounds();
    const { Point } = globalThis.OpenSeadragon;
    const by = new Point(stepX * bounds.width * PAN_SHARE, stepY * bounds.height * PAN_SHARE);
    this.osd.viewport.panBy(by);
    this.osd.viewport.applyConstraints();
  }

  /** Zoom in by `steps`, out if negative. */
  zoom(steps) {
    this.osd.viewport.zoomBy(ZOOM_STEP ** steps);
    this.osd.viewport.applyConstraints();
  }

  moved() {
    if (this.osd.world.getItemCount() === 0) {
      return;
    }
    const view = this.view();
    this.listeners.onMove(view);
    if (this.told === null) {
      this.told = setTimeout(() => {
        this.told = null;
        if (!this.isClosed) {
          const { x, y, z } = this.view();
          this.listeners.onView({ x: Math.round(x), y: Math.round(y), z: Number(z.toPrecision(4)) });
        }
      }, VIEW_MS);
    }
  }

  tell(trouble) {
    if (!this.isClosed) {
      this.trouble = trouble;
      this.listeners.onTrouble(trouble);
    }
  }

  tileLoaded({ tiledImage }) {
    if (this.trouble && tiledImage === this.osd.world.getItemAt(0)) {
      this.tell(null);
    }
  }

  /** Ask once what is wrong with a tile, then try again until the viewer answers. */
  tileFailed({ tile, tiledImage }) {
    if (tiledImage !== this.osd.world.getItemAt(0)) {
      return;
    }
    this.failed.push(tile);
    this.retry ??= this.watch(tile.getUrl(), tiledImage).finally(() => {
      this.retry = null;
    });
  }

  async watch(url, tiledImage) {
    for (;;) {
      const trouble = await troubleOf(url);
      if (this.isClosed) {
        return;
      }
      if (trouble === null) {
        this.tell(null);
        this.revive(this.failed, tiledImage);
        this.failed = [];
        return;
      }
      this.tell(trouble);
      if (!trouble.again) {
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  /** Let tiles that failed be asked for again; what is shown stays. */
  revive(tiles, tiledImage) {
    for (const tile of tiles) {
      tile.exists = true;
    }
    tiledImage.update(true);
    this.osd.forceRedraw();
  }

  close() {
    this.isClosed = true;
    clearTimeout(this.told);
    this.osd.destroy();
  }
}

async function fetchInfo(iiif) {
  try {
    const response = await fetch(`${iiif}/info.json`);
    if (response.ok) {
      return { info: await response.json(), trouble: null, again: false };
    }
    const trouble = await troubleIn(response);
    return { info: null, trouble, again: trouble.again };
  } catch {
    return { info: null, trouble: NO_ANSWER, again: true };
  }
}

/** Return what is wrong with an address, null if it answers. */
async function troubleOf(url) {
  try {
    const response = await fetch(url, { cache: "no-store" });
    return response.ok ? null : await troubleIn(response);
  } catch {
    return NO_ANSWER;
  }
}

const NO_ANSWER = {
  title: "The viewer does not answer; trying again.",
  hint: "Other slides and orders are not touched by this.",
  again: true,
};

/** Put a refusal into words: the server's own, where it gave any. */
async function troubleIn(response) {
  const problem = await problemIn(response);
  if (response.status === 401) {
    askForLogin();
    return { title: "You are not logged in.", hint: "Log in to go on.", again: true };
  }
  if (response.status === 410) {
    const hint = problem.hint ?? "Order again to fetch it.";
    return { title: problem.detail ?? "The slide is gone.", hint, again: false };
  }
  if (response.status >= 500 && problem.code === undefined) {
    return NO_ANSWER;
  }
  const title = problem.detail ?? `The slide cannot be shown: the server answers ${response.status}.`;
  const hint = problem.hint ?? "Other slides can still be opened.";
  return { title, hint, again: response.status >= 500 || response.status === 429 };
}

async function problemIn(response) {
  try {
    const problem = await response.json();
    return problem !== null && typeof problem === "object" ? problem : {};
  } catch {
    return {};
  }
}
