// The panel beside the slide: what was found, one checkbox a class, and how findings are drawn.

import { h } from "../vendor/preact.js";
import htm from "../vendor/htm.js";
import { classLetters, dashOf, keepColor } from "./finding_style.js";
import { rampColor } from "./findings/heat_ramp.js";
import { formatNumber } from "./scale_bar.js";
import { summaryRows } from "./summary_rows.js";

export { defaultStyle } from "./finding_style.js";

const html = htm.bind(h);
const RAMP_STEPS = 24;
const THRESHOLD_WORDS = { tiles: "Probability", slide: "Attention" };

/**
 * The panel of one result.
 * @param {{document: object, style: object, onStyle: (style: object) => void,
 *   inView: {counts: number[], exact: boolean}|null, onNext: () => void, onPrevious: () => void,
 *   algorithm?: string}} properties
 *   `document` is findings.json; `algorithm` is the name under which colours are kept
 */
export function FindingsPanel(properties) {
  const { document, style, onStyle, inView, onNext, onPrevious, algorithm = "" } = properties;
  const change = (part) => onStyle({ ...style, ...part });
  const isHeat = document.output === "tiles" || document.output === "slide";
  const seen = isHeat ? null : inView;
  if (hasNothingToDraw(document)) {
    return html`<div class="findings"><${Head} document=${document} /></div>`;
  }
  return html`<div class="findings">
    <${Head} document=${document} />
    <${Classes} document=${document} style=${style} change=${change} inView=${seen}
      algorithm=${algorithm} />
    ${isHeat && html`<${Ramp} document=${document} style=${style} />`}
    <${Drawing} document=${document} style=${style} change=${change} isHeat=${isHeat} />
    <${Threshold} document=${document} style=${style} change=${change} />
    <${Steps} onNext=${onNext} onPrevious=${onPrevious} />
  </div>`;
}

/** Whether a result has no findings by its kind: a report says its words, and may draw nothing. */
export function hasNothingToDraw({ classes, output }) {
  return classes.length === 0 || (output === "report" && classes.every(({ count }) => !count));
}

function Head({ document }) {
  const { headline } = document;
  const rows = summaryRows(document);
  return html`${headline && html`<p class="findings-headline">${headline}</p>`}
    ${rows.length > 0 && html`<${Summary} rows=${rows} />`}`;
}

function Summary({ rows }) {
  return html`<dl class="findings-summary">
    ${rows.map(({ name, label, value }) => html`<div key=${name}><dt>${label}</dt><dd>${value}</dd></div>`)}
  </dl>`;
}

function Classes({ document, style, change, inView, algorithm }) {
  const letters = classLetters(document.classes);
  const recolor = (number, color) => {
    keepColor(algorithm, document.classes[number].name, color);
    change({ colors: style.colors.with(number, color) });
  };
  return html`<fieldset class="findings-classes">
    <legend>Classes</legend>
    ${document.classes.map((entry, number) => html`<div class="findings-class" key=${entry.name}>
      <label class="findings-toggle">
        <input type="checkbox" checked=${style.shown[number]}
          aria-label=${entry.title || entry.name} aria-describedby=${`findings-count-${number}`}
          onChange=${(event) => change({ shown: style.shown.with(number, event.target.checked) })} />
        <${Swatch} color=${style.colors[number]} letter=${letters[number]} number=${number} />
        <span class="findings-name">${entry.title || entry.name}</span>
        <span class="findings-count" id=${`findings-count-${number}`}>${formatNumber(entry.count ?? 0, 9)}</span>
        ${inView && html`<span class="findings-seen" aria-hidden="true">
          ${seenWords(inView, number)}</span>`}
      </label>
      <input type="color" class="findings-color" value=${style.colors[number]}
        aria-label=${`Colour of ${entry.title || entry.name}`} title="Change the colour"
        onChange=${(event) => recolor(number, event.target.value)} />
    </div>`)}
  </fieldset>`;
}

function seenWords(inView, number) {
  const count = formatNumber(inView.counts[number] ?? 0, 9);
  return `in view ${inView.exact ? "" : "about "}${count}`;
}

/** A sample of the line of a class: its colour, its dash and its letter. */
function Swatch({ color, letter, number }) {
  return html`<svg class="findings-swatch" viewBox="0 0 26 20" width="26" height="20"
    aria-hidden="true">
    <rect x="1.5" y="1.5" width="23" height="17" rx="4" fill=${color} fill-opacity="0.25"
      stroke=${color} stroke-width="2" stroke-dasharray=${dashOf(number).join(" ")} />
    <text x="13" y="14.5" text-anchor="middle" class="findings-letter">${letter}</text>
  </svg>`;
}

function Ramp({ document, style }) {
  const shown = style.shown.flatMap((on, number) => (on ? [number] : []));
  if (shown.length !== 1) {
    return html`<p class="findings-hint">
      The most probable class of each tile, the stronger the more probable.
    </p>`;
  }
  const entry = document.classes[shown[0]];
  const steps = Array.from({ length: RAMP_STEPS }, (_, step) => {
    const color = `rgb(${rampColor(step / (RAMP_STEPS - 1)).join(" ")})`;
    return html`<rect x=${step * 10} y="0" width="10.5" height="12" fill=${color} />`;
  });
  return html`<figure class="findings-ramp">
    <svg viewBox="0 0 240 12" preserveAspectRatio="none" aria-hidden="true">${steps}</svg>
    <figcaption><span>0</span><span>${entry.title || entry.name}</span><span>1</span></figcaption>
  </figure>`;
}

function Drawing({ document, style, change, isHeat }) {
  const percent = Math.round(style.opacity * 100);
  return html`<div class="findings-drawing">
    <label class="findings-slider">
      <span>Opacity <span class="findings-value">${percent} %</span></span>
      <input type="range" min="0" max="100" value=${percent}
        onInput=${(event) => change({ opacity: Number(event.target.value) / 100 })} />
    </label>
    ${!isHeat && html`<div class="findings-options">
      <label><input type="checkbox" checked=${style.fill}
        onChange=${(event) => change({ fill: event.target.checked })} /> Fill <kbd aria-hidden="true">F</kbd></label>
      ${document.output !== "mask" && html`<label>
        <input type="checkbox" checked=${style.density}
          onChange=${(event) => change({ density: event.target.checked })} />
        Density <kbd aria-hidden="true">D</kbd></label>`}
    </div>`}
  </div>`;
}

/** The least score that is shown, over the histogram of the classes that are shown. */
function Threshold({ document, style, change }) {
  const word = THRESHOLD_WORDS[document.output] ?? "Score";
  return html`<div class="findings-threshold">
    <${Histogram} document=${document} style=${style} />
    <label class="findings-slider">
      <span>${word} at least <span class="findings-value">${style.threshold.toFixed(2)}</span></span>
      <input type="range" min="0" max="1" step="0.01" value=${style.threshold}
        onInput=${(event) => change({ threshold: Number(event.target.value) })} />
    </label>
  </div>`;
}

function Histogram({ document, style }) {
  const shown = document.classes.map(({ histogram }, number) => {
    return style.shown[number] ? (histogram ?? []) : [];
  });
  const bins = Math.max(0, ...shown.map((histogram) => histogram.length));
  const totals = Array.from({ length: bins }, (_, bin) => {
    return shown.reduce((sum, histogram) => sum + (histogram[bin] ?? 0), 0);
  });
  const most = Math.max(0, ...totals);
  if (most === 0) {
    return null;
  }
  const bars = totals.flatMap((_, bin) => {
    let top = 40;
    const faint = (bin + 1) / bins <= style.threshold;
    return shown.map((histogram, number) => {
      const height = ((histogram[bin] ?? 0) / most) * 38;
      top -= height;
      return html`<rect x=${(bin * 240) / bins + 0.5} y=${top} width=${240 / bins - 1}
        height=${height} fill=${style.colors[number]} opacity=${faint ? 0.25 : 1} />`;
    });
  });
  return html`<svg class="findings-histogram" viewBox="0 0 240 40" preserveAspectRatio="none"
    role="img" aria-label="How many findings have which score">${bars}</svg>`;
}

function Steps({ onNext, onPrevious }) {
  return html`<div class="findings-steps" role="group" aria-label="Findings by score">
    <button type="button" onClick=${onPrevious}>Previous <kbd aria-hidden="true">B</kbd></button>
    <button type="button" onClick=${onNext}>Next <kbd aria-hidden="true">N</kbd></button>
  </div>`;
}
