// The keys of the slide. All of them work only while the slide has the focus.

const PANS = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

/**
 * Answer a key that was pressed on the slide.
 * @param {KeyboardEvent} event
 * @param {StageParts|null} parts
 * @param {object} properties - of the Stage
 */
export function stageKey(event, parts, properties) {
  if (parts === null || event.ctrlKey || event.metaKey || event.altKey) {
    return;
  }
  if (parts.region?.key(event) || move(event, parts) || show(event, properties)) {
    event.preventDefault();
    return;
  }
  if (draw(event, parts, properties) || step(event, parts)) {
    event.preventDefault();
  }
}

function move(event, parts) {
  const { viewer } = parts;
  if (viewer === null || !parts.isOpen) {
    return false;
  }
  if (PANS[event.key] !== undefined) {
    viewer.pan(...PANS[event.key]);
    return true;
  }
  if (event.key === "+" || event.key === "=") {
    viewer.zoom(1);
    return true;
  }
  if (event.key === "-" || event.key === "_") {
    viewer.zoom(-1);
    return true;
  }
  if (event.key === "0") {
    viewer.home();
    return true;
  }
  return false;
}

function show(event, { style, onStyle, findings }) {
  if (!style || !onStyle || !findings) {
    return false;
  }
  const number = Number(event.key) - 1;
  if (number >= 0 && number < style.shown.length) {
    onStyle({ ...style, shown: style.shown.with(number, !style.shown[number]) });
    return true;
  }
  const key = event.key.toLowerCase();
  if (key === "f") {
    onStyle({ ...style, fill: !style.fill });
    return true;
  }
  if (key === "d") {
    onStyle({ ...style, density: !style.density });
    return true;
  }
  return false;
}

function draw(event, parts, { mode, onMode }) {
  const key = event.key.toLowerCase();
  if (key === "escape") {
    const isCancelled = parts.region?.cancel() ?? false;
    if (!isCancelled && mode !== "pan") {
      onMode?.("pan");
    } else if (!isCancelled) {
      parts.select(null);
    }
    return true;
  }
  const modes = { r: "rectangle", p: "polygon" };
  if (modes[key] !== undefined && onMode) {
    onMode(modes[key]);
    return true;
  }
  return false;
}

function step(event, parts) {
  const key = event.key.toLowerCase();
  if (key === "n") {
    parts.step(1);
    return true;
  }
  if (key === "b") {
    parts.step(-1);
    return true;
  }
  return false;
}
