// The part that shows one order: the slide with what was found, and everything that happened.
import { useEffect, useMemo, useRef, useState } from '../vendor/hooks.js';
import { getJson, problemOf } from '../api.js';
import { moment, shortId, sourceName } from '../format.js';
import { html } from '../html.js';
import { keepView, orderAddress, viewOf } from '../router.js';
import { Acts } from '../parts/orders/acts.js';
import { Deliveries } from '../parts/orders/deliveries.js';
import { Downloads } from '../parts/orders/downloads.js';
import { LiveMark } from '../parts/live_mark.js';
import { Log } from '../parts/orders/log.js';
import { useOrder } from '../parts/orders/order_state.js';
import { OverlayPicture, whyNotDrawn } from '../parts/orders/overlay_picture.js';
import { ProblemBox, ProblemText } from '../parts/problem.js';
import { Progress } from '../parts/orders/progress.js';
import { hasEnded, State } from '../parts/orders/state.js';
import { defaultStyle, FindingsPanel } from '../viewer/findings_panel.js';
import { Stage } from '../viewer/stage.js';

const THERE = new Set(['staged', 'classifying', 'classified']);

/** Draw the part. `address` names the order, the scan and the view. */
export function OrderView({ address, dimmed }) {
  const { order, problem, refresh } = useOrder(address.order);
  if (order === null) {
    return html`<div class="page narrow"><h1>Order ${shortId(address.order)}</h1>
      ${problem ? html`<${ProblemBox} problem=${problem} onRetry=${refresh} />`
        : html`<p class="hint">Reading the order …</p>`}
      <p><a href="#/jobs">All jobs and logs</a></p></div>`;
  }
  if (!order.scans) return html`<${Unreadable} order=${order} />`;
  const wanted = address.scan || order.scans[0].id;
  const scan = order.scans.find((one) => one.id === wanted);
  // Another scan in its place would show what was found in another slide.
  if (!scan) return html`<${NoScan} order=${order} wanted=${wanted} />`;
  return html`<${OneScan} key=${scan.id} order=${order} scan=${scan} problem=${problem}
    refresh=${refresh} query=${address.query} dimmed=${dimmed} />`;
}

function Unreadable({ order }) {
  return html`<div class="page narrow"><h1>Order ${shortId(order.id)}</h1>
    <div class="problem"><${ProblemText} fields=${order.error} /></div>
    <${Log} order=${order.id} /></div>`;
}

function NoScan({ order, wanted }) {
  return html`<div class="page narrow"><h1>Order ${shortId(order.id)}</h1>
    <p>The order has no scan “${wanted}”.</p><${Scans} order=${order} /></div>`;
}

function OneScan({ order, scan, problem, refresh, query, dimmed }) {
  const slide = useSlide(order, scan);
  const findings = useFindings(order, scan);
  const [style, setStyle] = useState(null);
  const [inView, setInView] = useState(null);
  const [isOpen, setIsOpen] = useState(false);
  const [layerFault, setLayerFault] = useState(null);
  const commands = useRef(null);
  // A link to another place of the same scan moves the view; moving by hand changes no query here.
  const view = useMemo(() => viewOf(query), [query]);
  useEffect(() => {
    if (findings.document) setStyle(defaultStyle(findings.document, order.algorithm));
  }, [findings.document]);
  const layer = useLayer(order, scan, findings.document, style);
  const why = whyNotDrawn({ scan, slide, findings, layerFault });

  return html`<div class="desk desk-view">
    <section class="stage" aria-label="Slide">
      ${slide.found ? html`<${Stage} slide=${slide.found} findings=${layer} region=${regionOf(scan)}
        onRegion=${() => {}} mode="pan" view=${view} onView=${keepView} style=${style}
        onStyle=${setStyle} onInView=${setInView} onLayerFault=${setLayerFault}
        commands=${commands} dimmed=${dimmed} />`
        : html`<${NoSlide} scan=${scan} problem=${slide.problem} onRetry=${slide.retry} />`}
      <button type="button" class="drawer-handle" aria-expanded=${isOpen}
        aria-controls="order-panel"
        onClick=${() => setIsOpen(!isOpen)}>${isOpen ? 'Hide' : 'Findings and progress'}</button>
    </section>
    <div class="panel panel-right ${isOpen ? 'is-open' : ''}" id="order-panel">
      <${Head} order=${order} scan=${scan} />
      ${problem && html`<p class="warning">What is shown may be old: ${problem.message}</p>`}
      <${Failure} order=${order} scan=${scan} />
      <${Warnings} order=${order} />
      <section class="card"><h2>Findings</h2>
        ${why && html`<${OverlayPicture} scan=${scan} why=${why} />`}
        ${findings.document && style ? html`<${FindingsPanel} document=${findings.document}
          style=${style} onStyle=${setStyle} inView=${inView} algorithm=${order.algorithm}
          onNext=${() => commands.current?.next()}
            onPrevious=${() => commands.current?.previous()} />`
          : html`<${NoFindings} scan=${scan} problem=${findings.problem}
            onRetry=${findings.retry} />`}</section>
      <${Progress} order=${order} scan=${scan} />
      <${Acts} order=${order} onDone=${refresh} />
      <${Deliveries} order=${order} />
      <section class="card"><h2>Log</h2><${Log} order=${order.id} /></section>
      <${Downloads} order=${order} scan=${scan} />
      <${Facts} order=${order} scan=${scan} />
    </div>
  </div>`;
}

function Head({ order, scan }) {
  return html`<header class="order-head"><h1>${sourceName(scan.source)}</h1>
    <p class="hint">${order.algorithm}${order.labels.case && ` · ${order.labels.case}`}${' · '}
      <time datetime=${order.created_at}>${moment(order.created_at)}</time>${order.created_by
        && ` · ${order.created_by}`}</p>
    ${!hasEnded(order) && html`<${LiveMark} />`}
    ${order.scans.length > 1 && html`<${Scans} order=${order} shown=${scan} />`}</header>`;
}

/** Draw the links to the scans; `shown` is the one that is looked at, if any. */
function Scans({ order, shown }) {
  return html`<nav class="scans" aria-label="Scans of the order">
    ${order.scans.map((one) => html`<a href=${orderAddress(order.id, one.id)}
      aria-current=${one.id === shown?.id ? 'page' : undefined}>${one.id} <${State}
        state=${one.state} /></a>`)}</nav>`;
}

function Failure({ order, scan }) {
  const fault = scan.error ?? order.error;
  if (!fault) return null;
  return html`<div class="problem" role="alert"><${ProblemText} fields=${fault} /></div>`;
}

function Warnings({ order }) {
  return order.warnings.map((one) => html`<p class="warning">${one.detail} <code>${one.code}</code>
    </p>`);
}

function NoSlide({ scan, problem, onRetry }) {
  if (problem) {
    return html`<div class="stage-empty"><${ProblemBox} problem=${problem} onRetry=${onRetry} /></div>`;
  }
  let text = 'One moment …';
  if (scan.state === 'queued') text = 'The slide is shown here once it is fetched.';
  if (scan.state === 'fetching') text = 'The slide is being fetched.';
  if (scan.state === 'failed') text = 'The slide was not fetched.';
  if (scan.state === 'cancelled') text = 'The scan was cancelled before its slide was fetched.';
  return html`<p class="stage-empty">${text}</p>`;
}

function NoFindings({ scan, problem, onRetry }) {
  if (problem) return html`<${ProblemBox} problem=${problem} onRetry=${onRetry} />`;
  if (scan.state === 'failed') return html`<p class="hint">The scan failed: nothing was found.</p>`;
  if (scan.state === 'cancelled') return html`<p class="hint">The scan was cancelled.</p>`;
  if (scan.state !== 'classified') {
    return html`<p class="hint">They are here once the scan is classified.</p>`;
  }
  if (scan.links['findings.json']) return html`<p class="hint">Reading the findings …</p>`;
  const { headline } = scan.summary;
  const hasPicture = Boolean(scan.links['overlay.png']);
  return html`${headline && html`<p class="headline">${headline}</p>`}
    ${!hasPicture && html`<p class="hint">The result has nothing to draw.</p>`}`;
}

function Facts({ order, scan }) {
  const rows = [['Order', order.id], ['Scan', scan.id], ['Priority', order.priority]];
  if (scan.mpp) rows.push(['Size of a pixel', `${scan.mpp} µm, said by the order`]);
  for (const [name, value] of Object.entries(order.parameters)) {
    rows.push([name, JSON.stringify(value)]);
  }
  for (const [name, value] of Object.entries(order.labels)) rows.push([name, value]);
  for (const { at, act, by } of order.acts) rows.push([act, `${by}, ${moment(at)}`]);
  return html`<details class="card facts-card"><summary>Order and parameters</summary>
    <dl>${rows.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
      </details>`;
}

function scanPath(order, scan) {
  return `/v1/orders/${encodeURIComponent(order.id)}/scans/${encodeURIComponent(scan.id)}`;
}

/** Return the slide of the scan as the stage takes it, once it can be there. */
function useSlide(order, scan) {
  const [state, setState] = useState({ found: null, problem: null });
  const [tries, setTries] = useState(0);
  // Of a scan that ended early the slide is there if it was fetched before.
  const isThere = THERE.has(scan.state) || scan.timings.fetch_s !== undefined;
  useEffect(() => {
    if (!isThere) return;
    const iiif = `${scanPath(order, scan)}/iiif`;
    getJson(`${iiif}/info.json`).then(
      ({ width, height, mpp }) => {
        const known = mpp ?? scan.mpp ?? null;
        setState({ found: { iiif, width, height, mpp_x: known }, problem: null });
      },
      (error) => setState({ found: null, problem: problemOf(error) }),
    );
  }, [isThere, tries]);
  return { ...state, retry: () => setTries(tries + 1) };
}

/** Return findings.json of the scan, null while there is none. */
function useFindings(order, scan) {
  const [state, setState] = useState({ document: null, problem: null });
  const [tries, setTries] = useState(0);
  const link = scan.links['findings.json'];
  useEffect(() => {
    if (!link) return;
    getJson(link).then(
      (document) => setState({ document, problem: null }),
      (error) => setState({ document: null, problem: problemOf(error) }),
    );
  }, [link, tries]);
  return { ...state, retry: () => setTries(tries + 1) };
}

/** Return what the stage draws over the slide; the same object until something else is drawn. */
function useLayer(order, scan, document, style) {
  const [layer, setLayer] = useState(null);
  const isReady = document !== null && style !== null;
  useEffect(() => {
    if (!isReady) return;
    setLayer({ base: scanPath(order, scan), document });
  }, [isReady]);
  return layer;
}

/** Return the region that was ordered as the stage draws it; null = the whole slide, or no box. */
function regionOf({ roi }) {
  if (!roi || typeof roi === 'string') return null;
  if (roi.polygon) return { points: roi.polygon };
  if (Number.isFinite(roi.width)) return roi;
  return null;
}
