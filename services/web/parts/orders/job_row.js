// One order as a row of the list.
import { useState } from '../../vendor/hooks.js';
import { duration, moment, shortId, sourceName } from '../../format.js';
import { html } from '../../html.js';
import { orderAddress } from '../../router.js';
import { Meter } from '../meter.js';
import { tookS, waitText } from './order_state.js';
import { hasEnded, State } from './state.js';

/**
 * Draw the row.
 * @param {{order: object, flower: string|null, isSelected: boolean, onSelect: Function,
 *   onLog: () => void}} props
 */
export function JobRow({ order, flower, isSelected, onSelect, onLog }) {
  const scans = order.scans ?? [];
  const worker = scans.map((scan) => scan.worker).find(Boolean);
  const task = scans.map((scan) => scan.task).findLast(Boolean);
  return html`<tr class=${isSelected ? 'is-selected' : ''}>
    <td><label class="hit"><input type="checkbox" checked=${isSelected}
      aria-label="Select order ${shortId(order.id)}"
      onChange=${(event) => onSelect(event.currentTarget.checked)} /></label></td>
    <td><${State} state=${order.state} />${order.error && html`<small class="why"
      title=${order.error.detail}>${order.error.title ?? order.error.code}</small>`}</td>
    <td class="number">${order.created_at && html`<time datetime=${order.created_at}
      title=${order.created_at}>${moment(order.created_at)}</time>`}</td>
    <td>${order.algorithm}</td>
    <td class="slide-name" title=${slideOf(scans)}>${slideOf(scans)}</td>
    <td class="number">${order.labels?.case}</td>
    <td><${Progress} order=${order} /></td>
    <td class="number">${took(order)}</td>
    <td class="worker" title=${order.created_by}>${order.created_by}</td>
    <td class="worker" title=${worker}>${worker}</td>
    <td class="number"><a href=${orderAddress(order.id, scans[0]?.id)}>${shortId(order.id)}</a></td>
    <td class="row-acts"><button type="button" class="small" onClick=${onLog}
        aria-label="Log of ${shortId(order.id)}">Log</button>
      <${Copy} text=${order.id} />
      ${flower && task && html`<a class="small" target="_blank" rel="noreferrer noopener"
        href="${flower.replace(/\/$/, '')}/task/${encodeURIComponent(task)}"
        aria-label="Task of ${shortId(order.id)} in Flower">Flower ↗</a>`}</td>
  </tr>`;
}

function slideOf(scans) {
  if (scans.length > 1) return `${scans.length} slides`;
  return sourceName(scans[0]?.source);
}

function took(order) {
  const seconds = tookS(order);
  if (seconds === null) return '';
  return duration(seconds);
}

function Progress({ order }) {
  if (!order.progress) return null;
  if (hasEnded(order)) return order.scans?.[0]?.summary?.headline ?? '';
  const { percent, eta_s: etaS } = order.progress;
  const waits = waitText(order);
  let text = `${Math.round(percent)} %`;
  if (etaS) text += ` · ${duration(etaS)} left`;
  if (waits) text = waits;
  return html`<${Meter} name="Progress of ${shortId(order.id)}" percent=${percent} text=${text} />
    <small class="hint">${text}</small>`;
}

function Copy({ text }) {
  const [isDone, setIsDone] = useState(false);
  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
      setIsDone(true);
      setTimeout(() => setIsDone(false), 1500);
    } catch {
      prompt('The id of the order:', text); // on plain http a page may not write to the clipboard
    }
  }
  return html`<button type="button" class="small" onClick=${copy}
    aria-label="Copy the id ${shortId(text)}">${isDone ? 'Copied' : 'Copy id'}</button>`;
}
