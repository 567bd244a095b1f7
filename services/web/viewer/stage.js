// The middle of the page: the slide, the findings over it, the region of an order, and what the
// corners say. Holds the parts together; each part is a file of its own beside this one.

import { h } from "../vendor/preact.js";
import { useEffect, useRef, useState } from "../vendor/hooks.js";
import htm from "../vendor/htm.js";
import { StageParts } from "./stage_parts.js";
import { stageKey } from "./stage_keys.js";

const html = htm.bind(h);
const NOTHING = { isOpen: false, trouble: null, hover: null, selected: null, words: "" };

/**
 * The slide with what lies over it.
 * @param {{slide: object|null, findings: object|null, region: object|null,
 *   onRegion: (region: object|null) => void, mode: "pan"|"rectangle"|"polygon",
 *   onMode?: (mode: string) => void, view: object|null, onView: (view: object) => void,
 *   style?: object, onStyle?: (style: object) => void, onInView?: (inView: object) => void,
 *   onLayerFault?: (words: string|null) => void,
 *   commands?: {current: object|null}, dimmed?: boolean|number}} properties
 *   `slide` = {iiif, width, height, mpp_x}; `findings` = {base, document: findings.json};
 *   `region` = null (the whole slide), {x, y, width, height} or {points: [[x, y], …]} in level-0 px;
 *   `view` = {x, y, z}: the centre, and screen px per level-0 px; `dimmed` = the
 *   slide's brightness, 1 being true colours, or whether the page itself is dimmed; `commands.current` becomes {next(), previous(), home(), goTo(view)}
 */
const OUTDATED = {
  title: "The parts of this page that show slides could not be loaded.",
  hint: "Reload the page: the service may have been updated since it was opened.",
};
const KEYS = `Arrow keys move, plus and minus zoom, 0 shows the whole slide. 1 to 9 show or hide a class,
  F fills it, D shows the density, N and B step through the findings.`;
const DRAWING_KEYS = `R draws a rectangle and P a polygon: Space sets a corner, Delete takes the last one away,
  Enter closes it, Escape ends drawing.`;

export function Stage(properties) {
  const { slide, findings, region, mode, view, style, dimmed = 1, commands } = properties;
  const element = useRef(null);
  const corners = useRef({});
  const parts = useRef(null);
  const latest = useRef(properties);
  latest.current = properties;
  const [state, setState] = useState(NOTHING);

  useEffect(() => {
    if (!slide) {
      return undefined;
    }
    const set = (part) => setState((before) => ({ ...before, ...part }));
    set(NOTHING);
    parts.current = new StageParts({ element: element.current, corners: corners.current, latest, set });
    parts.current.open(slide).catch(() => set({ trouble: OUTDATED }));
    if (commands) {
      commands.current = parts.current.commands();
    }
    return () => {
      parts.current.close();
      parts.current = null;
    };
  }, [slide?.iiif]);
  useEffect(() => parts.current?.showFindings(findings, style), [slide?.iiif, findings?.base]);
  useEffect(() => parts.current?.setStyle(style), [style]);
  useEffect(() => parts.current?.showRegion(region, mode), [region, mode]);
  useEffect(() => parts.current?.goTo(view), [view?.x, view?.y, view?.z]);

  const keep = (name) => (node) => {
    corners.current[name] = node;
  };
  const brightness = typeof dimmed === "number" ? dimmed : 1;
  const isDimmed = dimmed === true || brightness < 1;
  return html`<div class="viewer" data-mode=${mode} data-open=${state.isOpen}>
    <div class="viewer-slide" tabindex="0" role="application" aria-label=${stageName(slide)}
      aria-describedby="viewer-keys"
      onKeyDown=${(event) => stageKey(event, parts.current, latest.current)}>
      <div class="viewer-view" ref=${element} style=${dimStyle(brightness)}></div>
    </div>
    <p id="viewer-keys" class="viewer-hidden">${KEYS} ${properties.onMode && DRAWING_KEYS}</p>
    ${slide && html`
      <p class="viewer-corner viewer-top-left">
        <span class="viewer-number" ref=${keep("magnification")}></span>
        <span ref=${keep("kind")}></span>
        ${isDimmed && html`<span class="viewer-badge">dimmed</span>`}
      </p>
      <p class="viewer-corner viewer-bottom-left">
        <svg class="viewer-bar" height="8" aria-hidden="true" ref=${keep("bar")}><path /></svg>
        <span class="viewer-number" ref=${keep("barWords")}></span>
      </p>
      <p class="viewer-corner viewer-bottom-right viewer-number" ref=${keep("place")}></p>`}
    ${state.hover && html`<${Hover} hover=${state.hover} />`}
    ${state.selected && html`<p class="viewer-selected">${state.selected}
      <button type="button" aria-label="Deselect"
        onClick=${() => parts.current?.select(null)}>×</button></p>`}
    ${state.trouble && html`<div class="viewer-trouble" role="alert">
      <p>${state.trouble.title}</p><p class="viewer-hint">${state.trouble.hint}</p></div>`}
    ${!slide && html`<p class="viewer-empty">Choose a slide to look at it here.</p>`}
    <p class="viewer-hidden" aria-live="polite">${state.words}</p>
  </div>`;
}

function stageName(slide) {
  return slide ? "Slide" : "No slide chosen";
}

function dimStyle(brightness) {
  return brightness < 1 ? { filter: `brightness(${brightness})` } : {};
}

/** What lies under the pointer, beside it. */
function Hover({ hover }) {
  const place = { left: `${hover.x}px`, top: `${hover.y}px` };
  return html`<div class=${`viewer-hover ${hover.side}`} style=${place}>
    ${hover.lines.map((line) => html`<p>${line}</p>`)}
  </div>`;
}
