// The arithmetic of regions, in whole level-0 pixels and never off the slide. A region is
// {x, y, width, height} or {points: [[x, y], …]}; null is the whole slide. No DOM here.

/** The handles of a rectangle: which of its sides each one moves. */
export const HANDLES = [
  { name: "top left corner", x: 0, y: 0, cursor: "nwse-resize" },
  { name: "top side", x: 0.5, y: 0, cursor: "ns-resize" },
  { name: "top right corner", x: 1, y: 0, cursor: "nesw-resize" },
  { name: "right side", x: 1, y: 0.5, cursor: "ew-resize" },
  { name: "bottom right corner", x: 1, y: 1, cursor: "nwse-resize" },
  { name: "bottom side", x: 0.5, y: 1, cursor: "ns-resize" },
  { name: "bottom left corner", x: 0, y: 1, cursor: "nesw-resize" },
  { name: "left side", x: 0, y: 0.5, cursor: "ew-resize" },
];

/** Return a point on the slide, in whole pixels. */
export function clampPoint({ x, y }, slide) {
  return { x: clamp(x, slide.width), y: clamp(y, slide.height) };
}

function clamp(value, most) {
  return Math.max(0, Math.min(most, Math.round(value)));
}

/** Return the rectangle between two points, on the slide, at least one pixel wide and high. */
export function rectangleBetween(one, other, slide) {
  const from = clampPoint(one, slide);
  const to = clampPoint(other, slide);
  const x = Math.min(from.x, to.x, slide.width - 1);
  const y = Math.min(from.y, to.y, slide.height - 1);
  const width = Math.max(1, Math.abs(to.x - from.x));
  const height = Math.max(1, Math.abs(to.y - from.y));
  return { x, y, width, height };
}

/**
 * Return a rectangle with one handle moved by a step.
 * @param {{x: number, y: number, width: number, height: number}} rectangle
 * @param {{x: number, y: number}} handle - of HANDLES
 * @param {{x: number, y: number}} step - level-0 px
 * @param {{width: number, height: number}} slide
 */
export function resizeRectangle(rectangle, handle, step, slide) {
  const [left, right] = moveSides(rectangle.x, rectangle.width, handle.x, step.x);
  const [top, bottom] = moveSides(rectangle.y, rectangle.height, handle.y, step.y);
  return rectangleBetween({ x: left, y: top }, { x: right, y: bottom }, slide);
}

function moveSides(start, length, side, step) {
  const end = start + length;
  if (side === 0) {
    return [start + step, end];
  }
  return side === 1 ? [start, end + step] : [start, end];
}

/** Return a region moved by a step; it stops at the edges of the slide and keeps its shape. */
export function moveRegion(region, step, slide) {
  const box = boxOf(region);
  const x = Math.round(Math.max(-box.x, Math.min(slide.width - box.x - box.width, step.x)));
  const y = Math.round(Math.max(-box.y, Math.min(slide.height - box.y - box.height, step.y)));
  if (region.points === undefined) {
    return { ...region, x: region.x + x, y: region.y + y };
  }
  return { points: region.points.map(([atX, atY]) => [atX + x, atY + y]) };
}

/** Return the box around a region. */
export function boxOf(region) {
  if (region.points === undefined) {
    return region;
  }
  const xs = region.points.map(([x]) => x);
  const ys = region.points.map(([, y]) => y);
  const x = Math.min(...xs);
  const y = Math.min(...ys);
  return { x, y, width: Math.max(...xs) - x, height: Math.max(...ys) - y };
}

/** Return the area of a region in square level-0 px. */
export function areaOf(region) {
  if (region.points === undefined) {
    return region.width * region.height;
  }
  let twice = 0;
  region.points.forEach(([x, y], at) => {
    const [nextX, nextY] = region.points[(at + 1) % region.points.length];
    twice += x * nextY - nextX * y;
  });
  return Math.abs(twice) / 2;
}

/** Return whether a point lies in a region (even-odd). */
export function isInside(region, { x, y }) {
  if (region.points === undefined) {
    const { x: left, y: top, width, height } = region;
    return x >= left && y >= top && x <= left + width && y <= top + height;
  }
  let inside = false;
  region.points.forEach(([toX, toY], at) => {
    const [fromX, fromY] = region.points.at(at - 1);
    if (fromY > y !== toY > y && x < fromX + ((y - fromY) / (toY - fromY)) * (toX - fromX)) {
      inside = !inside;
    }
  });
  return inside;
}

/** Return the number of the edge nearest to a point and how far it is, in level-0 px. */
export function nearestEdge(points, { x, y }) {
  let best = { edge: -1, distance: Infinity };
  points.forEach(([fromX, fromY], edge) => {
    const [toX, toY] = points[(edge + 1) % points.length];
    const stepX = toX - fromX;
    const stepY = toY - fromY;
    const length = stepX * stepX + stepY * stepY || 1;
    const share = Math.min(1, Math.max(0, ((x - fromX) * stepX + (y - fromY) * stepY) / length));
    const distance = Math.hypot(x - fromX - share * stepX, y - fromY - share * stepY);
    if (distance < best.distance) {
      best = { edge, distance };
    }
  });
  return best;
}

/** Return whether a closed line crosses or touches itself; such a polygon is refused. */
export function crossesItself(points) {
  const count = points.length;
  for (let one = 0; one < count; one++) {
    for (let other = one + 1; other < count; other++) {
      const areNeighbours = other === one + 1 || (one === 0 && other === count - 1);
      if (!areNeighbours && cross(points, one, other)) {
        return true;
      }
    }
  }
  return false;
}

function cross(points, one, other) {
  const [a, b] = [points[one], points[(one + 1) % points.length]];
  const [c, d] = [points[other], points[(other + 1) % points.length]];
  return turn(a, b, c) * turn(a, b, d) <= 0 && turn(c, d, a) * turn(c, d, b) <= 0;
}

function turn([ax, ay], [bx, by], [cx, cy]) {
  return Math.sign((bx - ax) * (cy - ay) - (by - ay) * (cx - ax));
}
