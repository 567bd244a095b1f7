// The layer of findings over a slide: a second tiled image of OpenSeadragon whose tiles a worker
// draws. OpenSeadragon then moves slide and findings together, so that neither lags behind.

const OVERSAMPLING = 4; // outlines stay sharp up to 400 %
const EDGE = 512;
// OpenSeadragon's default of 0.5 would draw up to four times as many pixels as the screen has.
const MIN_PIXEL_RATIO = 0.75;
// OpenSeadragon asks for one tile a frame, and a frame of a large screen takes 50 ms in software.
const TILES_PER_FRAME = 8;
const RETRY_MS = 3000;

/** The findings of one result over the slide of a viewer. */
export class FindingsLayer {
  /**
   * @param {SlideViewer} viewer
   * @param {{base: string, document: object}} findings
   * @param {object} style
   * @param {{onFailure: (message: string|null) => void, onDrawn: (isDrawn: boolean) => void}}
   *   listeners - `onFailure` is told in words when tiles of findings fail, null when they answer
   *   again; `onDrawn` whether all that is in view is drawn
   */
  constructor(viewer, findings, style, { onFailure, onDrawn }) {
    this.viewer = viewer;
    this.findings = findings;
    this.style = style;
    this.onFailure = onFailure;
    this.onDrawn = onDrawn;
    this.waiting = new Map();
    this.lastId = 0;
    this.version = 0;
    this.drawn = new Map(); // the version of the style in which a tile was drawn last
    this.item = null;
    this.redrawing = null;
    this.failed = [];
    this.retry = null;
    this.message = null;
    this.worker = new Worker(new URL("./findings_worker.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }) => this.take(data);
    this.worker.onerror = () => onFailure("The findings cannot be drawn: reload the page.");
    // OpenSeadragon tells of each tile before it draws it on a canvas; its WebGL drawer does not.
    this.isOnCanvas = viewer.osd.drawer.getType() === "canvas";
    this.drawingTile = (event) => this.fade(event);
    viewer.osd.addHandler("tile-drawing", this.drawingTile);
    this.redrawTile = (event) => this.replace(event);
    viewer.osd.addHandler("tile-invalidated", this.redrawTile);
    this.tileFailed = (event) => this.failedTile(event);
    viewer.osd.addHandler("tile-load-failed", this.tileFailed);
    this.ask("open", { ...findings, style });
    this.add();
  }

  /** Ask the worker; the promise fails with the worker's words. */
  ask(question, values, id = this.nextId()) {
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, question, ...values });
    });
  }

  nextId() {
    this.lastId += 1;
    return this.lastId;
  }

  take({ id, answer, error }) {
    const asked = this.waiting.get(id);
    this.waiting.delete(id);
    if (asked === undefined) {
      return;
    }
    if (error === undefined) {
      asked.resolve(answer);
    } else {
      asked.reject(new Error(error));
    }
  }

  add() {
    const { document } = this.findings;
    this.viewer.osd.addTiledImage({
      tileSource: this.tileSource(),
      x: 0,
      y: 0,
      width: document.width / this.viewer.slide.width,
      opacity: this.isOnCanvas ? 1 : this.style.opacity,
      success: ({ item }) => {
        this.item = item;
        item.minPixelRatio = MIN_PIXEL_RATIO;
        item.maxTilesPerFrame = TILES_PER_FRAME;
        item.addHandler("fully-loaded-change", ({ fullyLoaded }) => this.onDrawn(fullyLoaded));
        this.keepOutOfNavigator();
      },
    });
  }

  /** The navigator shows the slide alone: its copy of the layer would keep the first style. */
  keepOutOfNavigator() {
    const { world } = this.viewer.osd.navigator;
    const removeLater = () => {
      for (let at = world.getItemCount() - 1; at > 0; at--) {
        world.removeItem(world.getItemAt(at));
      }
    };
    removeLater();
    world.addOnceHandler("add-item", removeLater);
  }

  tileSource() {
    const { document } = this.findings;
    const width = document.width * OVERSAMPLING;
    const height = document.height * OVERSAMPLING;
    const levels = Math.ceil(Math.log2(Math.max(width, height)));
    const whole = Math.ceil(Math.log2(Math.max(width, height) / EDGE));
    const minLevel = Math.max(0, levels - whole);
    const options = { width, height, tileSize: EDGE, minLevel, ready: true };
    const source = new globalThis.OpenSeadragon.TileSource(options);
    source.getTileUrl = (level, x, y) => `findings:${level}/${x}/${y}`;
    source.getTileHashKey = (level, x, y) => `findings/${level}/${x}/${y}`;
    // On a canvas, "true" would draw the layer on a canvas of its own first: half as much work again.
    source.hasTransparency = () => !this.isOnCanvas;
    source.downloadTileStart = (job) => this.start(job, source);
    source.downloadTileAbort = (job) => this.abort(job);
    return source;
  }

  start(job, source) {
    const [level, x, y] = job.src.slice("findings:".length).split("/").map(Number);
    const id = this.nextId();
    job.userData.question = id;
    this.drawn.set(keyOf(level, x, y), this.version);
    this.draw(targetOf(source.maxLevel - level, x, y), id).then(
      (context) => {
        this.tell(null);
        job.finish(context, null, "context2d");
      },
      (error) => {
        this.tell(`Findings could not be read: ${error.message}; trying again.`);
        job.fail(error.message);
      },
    );
  }

  /** Say what is wrong once, and once that it is over. */
  tell(message) {
    if (this.message !== message) {
      this.message = message;
      this.onFailure(message);
    }
  }

  /** Draw a tile of this layer as transparent as the style says. */
  fade({ tiledImage, context }) {
    if (tiledImage === this.item && this.item !== null) {
      context.globalAlpha *= this.style.opacity;
    }
  }

  /** Ask later for a tile that failed. */
  failedTile({ tile, tiledImage }) {
    if (tiledImage !== this.item || this.item === null) {
      return;
    }
    this.failed.push(tile);
    this.retry ??= setTimeout(() => {
      this.retry = null;
      if (this.item !== null) {
        this.viewer.revive(this.failed.splice(0), this.item);
      }
    }, RETRY_MS);
  }

  abort(job) {
    this.worker.postMessage({ id: job.userData.question, question: "drop" });
  }

  /** Return the picture of a tile in today's style, as a canvas's context. */
  async draw(target, id = this.nextId()) {
    const bitmap = await this.ask("draw", { target }, id);
    const canvas = globalThis.document.createElement("canvas");
    canvas.width = EDGE;
    canvas.height = EDGE;
    const context = canvas.getContext("2d");
    if (bitmap !== null) {
      context.drawImage(bitmap, 0, 0);
      bitmap.close();
    }
    return context;
  }

  /** Show another style; tiles that are shown stay until their new picture is there. */
  setStyle(style) {
    const before = this.style;
    this.style = style;
    if (before.opacity !== style.opacity) {
      this.setOpacity();
    }
    if (!isSamePicture(before, style)) {
      this.version += 1;
      this.ask("style", { style });
      this.redraw();
    }
  }

  setOpacity() {
    if (this.isOnCanvas) {
      this.viewer.osd.forceRedraw();
    } else {
      this.item?.setOpacity(this.style.opacity);
    }
  }

  /** Draw all tiles anew that were drawn in an older style, one round at a time. */
  async redraw() {
    if (this.redrawing !== null || this.item === null) {
      return;
    }
    let shown = -1;
    while (shown !== this.version && this.item !== null) {
      shown = this.version;
      this.redrawing = this.item.requestInvalidate(false);
      await this.redrawing;
    }
    this.redrawing = null;
  }

  /** Give OpenSeadragon the new picture of a tile when it asks for one. */
  async replace(event) {
    if (event.tiledImage !== this.item || this.item === null) {
      return;
    }
    const { tile } = event;
    const key = keyOf(tile.level, tile.x, tile.y);
    if (this.drawn.get(key) === this.version) {
      return;
    }
    this.drawn.set(key, this.version);
    const down = this.item.source.maxLevel - tile.level;
    const context = await this.draw(targetOf(down, tile.x, tile.y));
    if (!event.outdated()) {
      await event.setData(context, "context2d");
    }
  }

  /** Return the scale, in px of a tile per level-0 px, that is drawn at a scale of the screen. */
  drawnScale(scale) {
    const wanted = (scale * globalThis.OpenSeadragon.pixelDensityRatio) / MIN_PIXEL_RATIO;
    return Math.min(OVERSAMPLING, 2 ** Math.floor(Math.log2(wanted)));
  }

  /** End the worker and take the layer away. */
  close() {
    this.worker.terminate();
    clearTimeout(this.retry);
    this.viewer.osd.removeHandler("tile-drawing", this.drawingTile);
    this.viewer.osd.removeHandler("tile-invalidated", this.redrawTile);
    this.viewer.osd.removeHandler("tile-load-failed", this.tileFailed);
    if (this.item !== null && !this.viewer.isClosed) {
      this.viewer.osd.world.removeItem(this.item);
    }
    this.item = null;
    this.waiting.clear();
  }
}

function keyOf(level, x, y) {
  return `${level}/${x}/${y}`;
}

/** Return which level-0 px a tile shows, `down` levels below the finest. */
function targetOf(down, x, y) {
  const scale = OVERSAMPLING / 2 ** down;
  const span = EDGE / scale;
  return { left: x * span, top: y * span, scale, edge: EDGE };
}

function isSamePicture(one, other) {
  const rest = (style) => JSON.stringify({ ...style, opacity: 0 });
  return rest(one) === rest(other);
}
