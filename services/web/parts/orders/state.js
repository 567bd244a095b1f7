// The states of orders and scans in their own words, each with a mark that needs no colour.
import { html } from '../../html.js';

const MARKS = {
  queued: '○', fetching: '◔', staged: '◑', running: '◑', classifying: '◕', delivering: '◕',
  classified: '●', delivered: '●', failed: '✕', undelivered: '✕', cancelled: '–', expired: '–',
};
const ENDED = new Set(['delivered', 'failed', 'undelivered', 'cancelled', 'expired']);
const RETRIED = new Set(['failed', 'expired', 'cancelled']);

/** Draw a state. */
export function State({ state }) {
  const word = state ?? 'unreadable';
  return html`<span class="state state-${word}"><span aria-hidden="true">${MARKS[word] ?? '?'}</span
    >${' '}${word}</span>`;
}

/** Return whether an order has ended. */
export function hasEnded(order) {
  return ENDED.has(order.state);
}

/** Return which of cancel, retry and deliver the order's state allows. */
export function allowedActs(order) {
  const acts = new Set();
  if (!order.state) return acts;
  if (!hasEnded(order)) acts.add('cancel');
  if (RETRIED.has(order.state)) acts.add('retry');
  if (order.state === 'undelivered') acts.add('deliver');
  if (order.state === 'delivered') acts.add('deliver_elsewhere');
  return acts;
}

/** All states of orders, as they may be filtered. */
export const ORDER_STATES = [
  'queued', 'running', 'delivering', 'delivered', 'failed', 'undelivered', 'cancelled', 'expired',
];
