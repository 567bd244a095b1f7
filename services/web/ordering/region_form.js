// Step 3 of an order: the region, as numbers. The same region is drawn on the slide.
import { area, length, number } from '../format.js';
import { html } from '../html.js';
import { FieldFaults } from '../parts/problem.js';
import { NumberField, ReadField } from '../parts/typed_field.js';

const KINDS = [['whole', 'Whole slide'], ['rectangle', 'Rectangle'], ['polygon', 'Polygon']];
const SIDES = ['x', 'y', 'width', 'height'];

/**
 * Draw the form.
 * @param {{slide: object|null, kind: string, region: object|null, unread: string|undefined,
 *   faults: object[], onKind: (kind: string) => void, onRegion: (region: object|null) => void,
 *   onUnread: (text: string) => void}} props `region` in level-0 px: {x, y, width, height} or
 *   {points: [[x, y], …]}; `unread` is a text of corners that cannot be read
 */
export function RegionForm({ slide, kind, region, unread, faults, onKind, onRegion, onUnread }) {
  return html`<section class="step">
    <h2><span class="step-number">3</span>Region</h2>
    <div class="segments" role="group" aria-label="Region">
      ${KINDS.map(([name, title]) => html`<button type="button" aria-pressed=${kind === name}
        onClick=${() => onKind(name)}>${title}</button>`)}</div>
    ${kind === 'rectangle' && html`<${Rectangle} region=${region} onRegion=${onRegion}
      faults=${faults} />`}
    ${kind === 'polygon' && html`<${Points} region=${region} onRegion=${onRegion}
      unread=${unread} onUnread=${onUnread} faults=${faults} />`}
    <p class="hint" id="region-size">${sizeText(slide, kind, region)}</p>
    <${FieldFaults} id="region-faults" faults=${faults} />
  </section>`;
}

function Rectangle({ region, onRegion, faults }) {
  function set(side, value) {
    onRegion({ ...region, [side]: value });
  }
  function byKey(event, side) {
    const step = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (!step || !Number.isFinite(region?.[side])) return;
    event.preventDefault();
    let next = region[side] + step * (event.shiftKey ? 100 : 1);
    if (side === 'width' || side === 'height') next = Math.max(1, next);
    set(side, next);
  }
  return html`<div class="sides">${SIDES.map((side) => html`<label key=${side}>${side}
    <${NumberField} step="1" inputmode="numeric" value=${region?.[side] ?? null}
      aria-describedby="region-size region-faults"
      aria-invalid=${faults.length > 0 || undefined}
      onKeyDown=${(event) => byKey(event, side)}
      onValue=${(value) => set(side, value === null ? null : Math.round(value))}
      /></label>`)}</div>
    <p class="hint">Level-0 pixels. Drag on the slide, or use ↑ ↓ (with Shift by 100).</p>`;
}

function Points({ region, unread, faults, onRegion, onUnread }) {
  const points = region?.points ?? [];
  const text = points.map(([x, y]) => `${Math.round(x)}, ${Math.round(y)}`).join('\n');
  function changed(lines) {
    if (cornerFaults(lines).length) {
      onUnread(lines);
      return;
    }
    const given = linesOf(lines).map(pointOf);
    onRegion(given.length ? { points: given } : null);
  }
  return html`<label class="points">Corners, one “x, y” a line
    <${ReadField} isLong rows="4" spellcheck=${false} value=${text} unread=${unread}
      onText=${changed}
      aria-describedby="region-size region-faults" aria-invalid=${faults.length > 0 || undefined}
      /></label>
    <p class="hint">Click the corners on the slide, or write them here in level-0 pixels.</p>`;
}

/** Return the lines that hold something. */
function linesOf(text) {
  return text.split('\n').filter((line) => line.trim());
}

/** Return the faults of a text of corners: the lines that are no corner. */
export function cornerFaults(text) {
  const wrong = linesOf(text ?? '').filter((line) => pointOf(line) === null);
  return wrong.map((line) => ({
    field: 'scans[0].roi',
    detail: `“${line.trim().slice(0, 40)}” is no corner: “x, y” is asked for`,
  }));
}

function pointOf(line) {
  const parts = line.split(/[,;\s]+/).filter(Boolean).map(Number);
  if (parts.length !== 2 || !parts.every(Number.isFinite)) return null;
  return parts;
}

function sizeText(slide, kind, region) {
  if (!slide) return 'Choose a slide first.';
  const { width, height, mpp_x: mppX, mpp_y: mppY } = slide;
  if (kind === 'whole') return joined(pixels(width, height), area(width * height, mppX, mppY));
  if (kind === 'rectangle' && isComplete(region)) {
    const { width: w, height: h } = region;
    const sides = [length(w, mppX), length(h, mppY)].filter(Boolean).join(' × ');
    return joined(pixels(w, h), sides, area(w * h, mppX, mppY));
  }
  if (kind === 'polygon' && region?.points?.length >= 3) {
    return joined(`${region.points.length} corners`, area(shoelace(region.points), mppX, mppY));
  }
  return 'Nothing is drawn yet.';
}

function pixels(width, height) {
  return `${number(width)} × ${number(height)} px`;
}

function joined(...parts) {
  return parts.filter(Boolean).join(' · ');
}

/** Return the area inside of the points, in square pixels. */
function shoelace(points) {
  let twice = 0;
  points.forEach(([x, y], index) => {
    const [nextX, nextY] = points[(index + 1) % points.length];
    twice += x * nextY - nextX * y;
  });
  return Math.abs(twice) / 2;
}

/** Return the rectangle in the middle of the slide with which drawing begins. */
export function middleOf(slide) {
  const width = Math.max(1, Math.min(slide.width, Math.round(slide.width / 4)));
  const height = Math.max(1, Math.min(slide.height, Math.round(slide.height / 4)));
  return {
    x: Math.round((slide.width - width) / 2),
    y: Math.round((slide.height - height) / 2),
    width,
    height,
  };
}

/** Return whether a region has all of its numbers; a side that was emptied has none. */
export function isComplete(region) {
  if (!region) return false;
  return Boolean(region.points) || SIDES.every((side) => Number.isFinite(region[side]));
}

/** Return the region as an order has it; undefined = the whole slide, null = not drawn yet. */
export function roiOf(kind, region) {
  if (kind === 'whole') return undefined;
  if (!isComplete(region)) return null;
  if (kind === 'rectangle') return region;
  if (!(region.points?.length >= 3)) return null;
  return { polygon: region.points };
}
