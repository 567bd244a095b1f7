// Orders as they are kept in the page: read once, then changed by the stream of events.
import { useEffect, useRef, useState } from '../../vendor/hooks.js';
import { getJson, problemOf } from '../../api.js';
import { useLive, useRefreshWhile } from '../../live.js';

/** Return the one that changed last; `read` where the times do not tell. */
export function newer(kept, read) {
  if (kept?.updated_at > read?.updated_at) return kept; // both are RFC 3339 in UTC
  return read;
}

/**
 * Return the order with the changed parts of an event; scans are matched by their ids.
 *
 * An event from before the order was read changes nothing.
 */
export function merged(order, part) {
  if (order.updated_at > part.updated_at) return order;
  const { order: _, scans, ...rest } = part;
  const next = { ...order, ...rest };
  if (scans && order.scans) {
    next.scans = order.scans.map((scan) => {
      const changed = scans.find((one) => one.id === scan.id);
      if (!changed) return scan;
      return { ...scan, ...changed };
    });
  }
  return next;
}

/** Return the seconds that an order took until its end, or until now; null before it runs. */
export function tookS(order) {
  const begins = (order.scans ?? []).map((scan) => scan.started_at).filter(Boolean).map(Date.parse);
  if (begins.length === 0) return null;
  let end = Date.now();
  const ends = order.scans.map((scan) => scan.ended_at).filter(Boolean).map(Date.parse);
  if (ends.length === order.scans.length) end = Math.max(...ends);
  return Math.max(0, (end - Math.min(...begins)) / 1000);
}

/** Return what an order waits for in words; empty where it does not wait. */
export function waitText(order) {
  const waiting = order.delivery?.waiting
    ?? (order.scans ?? []).map((scan) => scan.waiting).find(Boolean);
  if (!waiting) return '';
  if (waiting.ahead > 0) return `${waiting.ahead} ahead on ${waiting.queue}`;
  return waiting.reason || `next on ${waiting.queue}`;
}

/**
 * Return one order, kept fresh while the component is shown.
 * @param {string} id
 * @returns {{order: object|null, problem: object|null, refresh: () => void}}
 */
export function useOrder(id) {
  const [state, setState] = useState({ order: null, problem: null });
  const path = `/v1/orders/${encodeURIComponent(id)}`;
  const before = useRef('');
  const asked = useRef(0);
  const answered = useRef(0);

  async function refresh() {
    asked.current += 1;
    const turn = asked.current;
    try {
      const read = await getJson(path);
      if (turn < answered.current) return; // a later question was answered before
      answered.current = turn;
      setState((kept) => ({ order: newer(kept.order, read), problem: null }));
    } catch (error) {
      if (turn < answered.current) return;
      answered.current = turn;
      const problem = problemOf(error);
      setState((kept) => ({ order: problem.status === 404 ? null : kept.order, problem }));
    }
  }
  function changed(part) {
    if (part.deleted) {
      refresh(); // which says that it is gone
      return;
    }
    setState((kept) => {
      if (!kept.order) return kept;
      return { ...kept, order: merged(kept.order, part) };
    });
    // Links and summaries are there once a state has changed; what is waited for changes with it.
    const states = JSON.stringify([part.state, part.scans?.map((scan) => scan.state)]);
    if (states !== before.current) refresh();
    before.current = states;
  }
  useEffect(() => { refresh(); }, [id]);
  useLive(id, { order: changed, refresh });
  useRefreshWhile(state.order !== null && waitText(state.order) !== '', refresh);
  return { ...state, refresh };
}
