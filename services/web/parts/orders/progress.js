// How far an order is: one bar for all of it, the steps of the scan with their times, the waits.
import { useEffect } from '../../vendor/hooks.js';
import { bytes, duration, number } from '../../format.js';
import { html } from '../../html.js';
import { announce } from '../announce.js';
import { Meter } from '../meter.js';
import { hasEnded, State } from './state.js';

const ORDER_OF_STATES = ['queued', 'fetching', 'staged', 'classifying', 'classified'];
const BOTTLENECKS = {
  fetch: 'fetching the slide', read: 'reading the slide', model: 'the model',
  write: 'writing the results',
};

/** Draw the progress of an order and of one of its scans. */
export function Progress({ order, scan }) {
  const { percent, eta_s: etaS } = order.progress;
  const isRunning = !hasEnded(order);
  useEffect(() => announce(`The order is ${order.state}`), [order.state]);
  return html`<section class="card">
    <h2>Progress <${State} state=${order.state} /></h2>
    ${isRunning && html`<${Meter} name="Progress of the order" percent=${percent}
      text="${Math.round(percent)} %, ${order.progress.stage}" />
      <p class="line"><span>${Math.round(percent)} %</span>
        <span class="hint">${etaS ? `about ${duration(etaS)} left` : 'time left not known yet'}
          </span></p>`}
    <ol class="steps">${stepsOf(order, scan).map((step) => html`<li class="step-${step.kind}">
      <span>${step.name}</span><span class="number">${step.text}</span></li>`)}</ol>
    <${Waits} order=${order} scan=${scan} />
    <${Speed} scan=${scan} />
  </section>`;
}

function stepsOf(order, scan) {
  const { timings } = scan;
  const steps = [
    step('queued', scan, secondsBetween(order.created_at, beginOf(scan))),
    step('fetching', scan, timings.fetch_s, timings.bytes && `${bytes(timings.bytes)} in `),
    step('classifying', scan, timings.classify_s, tilesText(scan)),
  ];
  if (order.delivery.state !== 'none') steps.push(deliveryStep(order));
  return steps;
}

function step(name, scan, seconds, before) {
  const isNow = scan.state === name || (name === 'fetching' && scan.state === 'staged');
  let kind = 'later';
  if (ORDER_OF_STATES.indexOf(scan.state) > ORDER_OF_STATES.indexOf(name)) kind = 'done';
  if (isNow) kind = 'now';
  if (scan.state === 'failed' || scan.state === 'cancelled') kind = 'later';
  if (kind === 'later' && seconds !== undefined) kind = 'done';
  let text = '';
  if (seconds < 0.05 && before) text = before.replace(/ in $/, '');
  else if (Number.isFinite(seconds)) text = `${before || ''}${duration(seconds)}`;
  else if (isNow) text = before || '';
  return { name, kind, text };
}

function tilesText(scan) {
  const { stage, done, total } = scan.progress;
  if (scan.state !== 'classifying') return '';
  if (!total) return stage;
  const amount = `${number(done)} of ${number(total)}`;
  if (stage === 'classifying') return `${amount} tiles`;
  return `${stage}: ${amount}`;
}

function deliveryStep(order) {
  const { state, attempts } = order.delivery;
  const kind = { delivered: 'done', undelivered: 'failed', trying: 'now', asking: 'now' }[state]
    ?? 'later';
  let text = '';
  if (attempts.length === 1) text = '1 attempt';
  else if (attempts.length > 1) text = `${attempts.length} attempts`;
  return { name: 'delivering', kind, text };
}

function beginOf(scan) {
  if (!scan.started_at) return undefined;
  const fetchMs = 1000 * (scan.timings.fetch_s ?? 0);
  return new Date(Date.parse(scan.started_at) - fetchMs).toISOString();
}

function secondsBetween(begin, end) {
  if (!end) return undefined;
  return Math.max(0, (Date.parse(end) - Date.parse(begin)) / 1000);
}

function Waits({ order, scan }) {
  const waiting = scan.waiting ?? order.delivery.waiting;
  if (!waiting) return null;
  return html`<p class="waits">waits: ${number(waiting.ahead)} ahead on ${waiting.queue}
    ${waiting.reason && html`<small class="hint">${waiting.reason}</small>`}</p>`;
}

function Speed({ scan }) {
  const { tiles, tiles_per_s: perSecond } = scan.timings;
  const parts = [];
  if (tiles) parts.push(tiles === 1 ? '1 tile' : `${number(tiles)} tiles`);
  if (perSecond) parts.push(`${perSecond.toFixed(1)} tiles/s`);
  if (scan.bottleneck) parts.push(`most of the time: ${BOTTLENECKS[scan.bottleneck]}`);
  if (scan.worker) parts.push(scan.worker);
  if (parts.length === 0) return null;
  return html`<p class="hint">${parts.join(' · ')}</p>`;
}
