// The part "Jobs and logs": what was ordered, how far it is, and what can be done about it.
import { useEffect, useRef, useState } from '../vendor/hooks.js';
import { getJson, problemOf, send } from '../api.js';
import { html } from '../html.js';
import { useLive, useRefreshWhile } from '../live.js';
import { TechcyteTask } from '../parts/orders/techcyte_task.js';
import { announce } from '../parts/announce.js';
import { JobFilters } from '../parts/orders/job_filters.js';
import { JobRow } from '../parts/orders/job_row.js';
import { LiveMark } from '../parts/live_mark.js';
import { LogSheet } from '../parts/orders/log.js';
import { merged, newer, waitText } from '../parts/orders/order_state.js';
import { ProblemBox } from '../parts/problem.js';
import { allowedActs } from '../parts/orders/state.js';

const PAGE_SIZE = 50;
const CSV_ROWS = 10_000; // the most that the server gives
const NEW_ORDER_PAUSE_MS = 500;
const COLUMNS = [
  'State', 'Created', 'Algorithm', 'Slide', 'Case', 'Progress or result', 'Took', 'By', 'Worker',
  'Order',
];
const ACTS = [
  ['cancel', 'Cancel', 'cancelled'],
  ['retry', 'Retry', 'tried again'],
  ['deliver', 'Deliver again', 'delivered again'],
];

/** Draw the part. */
export function JobsPage({ address, session }) {
  const [filters, setFilters] = useFilters(address);
  const list = useOrders(filters);
  const [selected, setSelected] = useState(new Set());
  const [logOf, setLogOf] = useState(null);
  const [told, setTold] = useState('');
  const shown = list.orders ?? [];
  const chosen = shown.filter((order) => selected.has(order.id));

  function select(id, isSelected) {
    const next = new Set(selected);
    if (isSelected) next.add(id);
    else next.delete(id);
    setSelected(next);
  }
  function selectAll(isSelected) {
    const ids = isSelected ? shown.map((order) => order.id) : [];
    setSelected(new Set(ids));
  }
  async function act(name, done) {
    const asked = chosen.filter((order) => allowedActs(order).has(name));
    const answers = await Promise.allSettled(asked.map(
      (order) => send('POST', `/v1/orders/${encodeURIComponent(order.id)}/${name}`),
    ));
    const refused = answers.filter((answer) => answer.status === 'rejected');
    let text = `${answers.length - refused.length} ${done}`;
    if (refused.length) {
      text += `; ${refused.length} refused: ${problemOf(refused[0].reason).message}`;
    }
    setTold(text);
    announce(text);
    setSelected(new Set());
    list.refresh();
  }
  return html`<div class="page">
    <header class="page-head"><h1>Jobs and logs</h1><${LiveMark} />
      <a href="/v1/orders.csv?${queryOf(filters, null, CSV_ROWS)}" download>Table as
        CSV</a></header>
    <${TechcyteTask} />
    <${JobFilters} filters=${filters} onFilters=${setFilters} />
    <div class="bulk" role="group" aria-label="What is selected">
      <span class="hint">${selectedText(chosen)}</span>
      ${ACTS.map(([name, title, done]) => html`<button type="button"
        disabled=${!chosen.some((order) => allowedActs(order).has(name))}
        onClick=${() => act(name, done)}>${title}</button>`)}
      <span class="told">${told}</span></div>
    ${list.problem && html`<${ProblemBox} problem=${list.problem} onRetry=${list.refresh} />`}
    <div class="table-frame" tabindex="0" role="region" aria-label="Orders">
      <table class="jobs"><thead><tr>
        <th scope="col"><label class="hit"><input type="checkbox"
          aria-label="Select all that are shown" disabled=${shown.length === 0}
          checked=${shown.length > 0 && chosen.length === shown.length}
          onChange=${(event) => selectAll(event.currentTarget.checked)} /></label></th>
        ${COLUMNS.map((title) => html`<th scope="col">${title}</th>`)}
        <th scope="col"><span class="unseen">Actions</span></th>
      </tr></thead>
      <tbody onKeyDown=${moveInRows}>${shown.map((order) => html`<${JobRow} key=${order.id}
        order=${order}
        flower=${session.flower} isSelected=${selected.has(order.id)}
        onSelect=${(on) => select(order.id, on)} onLog=${() => setLogOf(order.id)} />`)}</tbody>
          </table>
    </div>
    ${list.orders === null && !list.problem && html`<p class="hint">Reading the orders …</p>`}
    ${list.orders?.length === 0 && html`<${Nothing} filters=${filters}
      session=${session} />`}
    ${list.next && html`<p><button type="button" disabled=${list.isBusy}
      onClick=${list.more}>Show older</button></p>`}
    ${logOf && html`<${LogSheet} order=${logOf} onClose=${() => setLogOf(null)} />`}
  </div>`;
}

function selectedText(chosen) {
  if (chosen.length === 0) return 'Select orders to act on several at once';
  return `${chosen.length} selected`;
}

function Nothing({ filters, session }) {
  if (filters.state || filters.algorithm || filters.label) {
    return html`<p class="nothing">No order fits these filters.</p>`;
  }
  return html`<p class="nothing">Nothing was ordered yet. <a
    href="#/order">Place the first order</a>.
    ${session.needs_key && html`<br />Only orders that the key ${session.name} may see stand
      here.`}</p>`;
}

/** State and algorithm stand in the address; a label does not, for it may name a case. */
function useFilters({ query }) {
  const [label, setLabel] = useState('');
  const state = query.get('state') ?? '';
  const algorithm = query.get('algorithm') ?? '';
  const filters = { state, algorithm, label };
  function change(part) {
    const next = { ...filters, ...part };
    setLabel(next.label);
    const asked = new URLSearchParams();
    if (next.state) asked.set('state', next.state);
    if (next.algorithm) asked.set('algorithm', next.algorithm);
    const text = asked.toString();
    location.hash = text ? `#/jobs?${text}` : '#/jobs';
  }
  return [filters, change];
}

function queryOf({ state, algorithm, label }, cursor, limit = PAGE_SIZE) {
  const asked = new URLSearchParams({ limit });
  if (state) asked.set('state', state);
  if (algorithm) asked.set('algorithm', algorithm);
  const [name, ...rest] = label.trim().split('=');
  if (rest.length) asked.set(`label.${name.trim()}`, rest.join('=').trim());
  else if (name) asked.set('label.case', name);
  if (cursor) asked.set('cursor', cursor);
  return asked;
}

function useOrders(filters) {
  const [state, setState] = useState({ orders: null, next: null, problem: null });
  const [isBusy, setIsBusy] = useState(false);
  const turn = useRef(0);
  const timer = useRef(null);
  const asked = queryOf(filters, null).toString();

  async function read(cursor) {
    turn.current += 1;
    const mine = turn.current;
    setIsBusy(true);
    try {
      const found = await getJson(`/v1/orders?${queryOf(filters, cursor)}`);
      if (mine !== turn.current) return;
      setState((before) => ({
        orders: cursor ? [...before.orders, ...found.orders] : withKnown(found, before),
        next: cursor || !before.isLonger ? found.next : before.next,
        isLonger: Boolean(cursor) || before.isLonger,
        problem: null,
      }));
    } catch (error) {
      if (mine === turn.current) setState((before) => ({ ...before, problem: problemOf(error) }));
    }
    setIsBusy(false);
  }
  function refresh() {
    read(null);
  }
  function changed(part) {
    setState((before) => {
      if (part.deleted) {
        return { ...before, orders: before.orders?.filter((one) => one.id !== part.order) ?? null };
      }
      const isKnown = before.orders?.some((one) => one.id === part.order);
      if (!isKnown) soon();
      if (!isKnown) return before;
      const orders = before.orders.map((one) => (one.id === part.order ? merged(one, part) : one));
      return { ...before, orders };
    });
    if (part.state && filters.state) soon();
  }
  function soon() {
    clearTimeout(timer.current);
    timer.current = setTimeout(refresh, NEW_ORDER_PAUSE_MS);
  }
  useEffect(() => {
    setState({ orders: null, next: null, problem: null, isLonger: false });
    read(null);
    return () => clearTimeout(timer.current);
  }, [asked]);
  useLive('all', { order: changed, refresh });
  useRefreshWhile(Boolean(state.orders?.some((one) => waitText(one) !== '')), refresh);
  return { ...state, isBusy, refresh, more: () => read(state.next) };
}

/**
 * Return the newest page, with the older orders that somebody had asked for below it.
 *
 * An order that an event has changed since the page was asked for stays as it is.
 */
function withKnown(found, before) {
  const known = new Map(before.orders?.map((one) => [one.id, one]));
  const fresh = found.orders.map((one) => newer(known.get(one.id), one));
  for (const one of fresh) known.delete(one.id);
  if (!before.isLonger) return fresh;
  return [...fresh, ...known.values()];
}

/** Let the arrow keys move between rows, from a control to the same control. */
function moveInRows(event) {
  const step = { ArrowDown: 'nextElementSibling', ArrowUp: 'previousElementSibling' }[event.key];
  const cell = event.target.closest('td');
  if (!step || !cell) return;
  const row = cell.parentElement[step];
  const other = row?.children[cell.cellIndex];
  const controls = [...cell.querySelectorAll('a, button, input')];
  const target = other?.querySelectorAll('a, button, input')[controls.indexOf(event.target)];
  if (!target) return;
  event.preventDefault();
  target.focus();
}
