// One stream of events for the whole tab, closed while the tab is hidden.
//
// Browsers open six connections to a server at most, so every part of the page shares the stream.
// Where no stream is to be had, the parts are asked to read their state again every two seconds.
import { useEffect, useRef, useState } from './vendor/hooks.js';
import { awaitsLogin, onLogin } from './api.js';

const POLL_MS = 2000;
const OPEN_AGAIN_MS = 10_000;
const WAITING_MS = 10_000;
const followers = new Set();
const statusListeners = new Set();
let stream = null;
let streamed = '';
let timer = null;
let status = 'off';

/**
 * Follow orders until the returned function is called.
 * @param {string} orders `all`, or the id of an order
 * @param {{order?: (part: object) => void, log?: (event: object) => void, refresh: () => void}}
 *   handlers `order` gets the changed parts of an order, `refresh` reads everything again: after
 *   a gap, and while there is no stream
 */
export function follow(orders, handlers) {
  const follower = { orders, handlers };
  followers.add(follower);
  update();
  return () => {
    followers.delete(follower);
    update();
  };
}

/** Follow orders while the component is shown. `orders` empty = nothing. */
export function useLive(orders, handlers) {
  const latest = useRef(handlers);
  latest.current = handlers;
  useEffect(() => {
    if (!orders) return undefined;
    return follow(orders, {
      order: (part) => latest.current.order?.(part),
      log: (event) => latest.current.log?.(event),
      refresh: () => latest.current.refresh(),
    });
  }, [orders]);
}

/** Read again now and then while `isWaiting`: a place in a queue changes without an event. */
export function useRefreshWhile(isWaiting, refresh) {
  const latest = useRef(refresh);
  latest.current = refresh;
  useEffect(() => {
    if (!isWaiting) return undefined;
    const ticking = setInterval(() => {
      if (!document.hidden && !awaitsLogin()) latest.current();
    }, WAITING_MS);
    return () => clearInterval(ticking);
  }, [isWaiting]);
}

/** Return `live`, `polling` or `off`; the component is drawn again when it changes. */
export function useLiveStatus() {
  const [shown, setShown] = useState(status);
  useEffect(() => {
    setShown(status);
    statusListeners.add(setShown);
    return () => statusListeners.delete(setShown);
  }, []);
  return shown;
}

function setStatus(next) {
  if (next === status) return;
  status = next;
  for (const listener of statusListeners) listener(status);
}

function wanted() {
  const names = new Set([...followers].map((follower) => follower.orders));
  if (names.size === 0 || document.hidden) return '';
  if (names.has('all')) return 'all';
  return [...names].sort().join(',');
}

function update() {
  const orders = wanted();
  if (orders === streamed) return;
  close();
  streamed = orders;
  if (orders) open(orders);
}

function close() {
  stream?.close();
  stream = null;
  stopPolling();
  setStatus('off');
}

function open(orders) {
  const opened = new EventSource(`/v1/events?orders=${encodeURIComponent(orders)}`);
  stream = opened;
  let isFirst = true;
  opened.addEventListener('open', () => {
    // What changed before the stream was open, or while there was none, is in no event.
    if (isFirst || timer !== null) refreshAll();
    isFirst = false;
    stopPolling();
    setStatus('live');
  });
  opened.addEventListener('order', (event) => told('order', event));
  opened.addEventListener('log', (event) => told('log', event));
  opened.addEventListener('reset', refreshAll);
  opened.addEventListener('error', () => failed(opened, orders));
}

function told(kind, event) {
  const data = JSON.parse(event.data);
  for (const follower of followers) {
    if (follower.orders === 'all' || follower.orders === data.order) {
      follower.handlers[kind]?.(data);
    }
  }
}

function refreshAll() {
  for (const follower of [...followers]) follower.handlers.refresh();
}

function failed(opened, orders) {
  if (opened !== stream) return;
  setStatus('polling');
  if (timer === null) timer = setInterval(poll, POLL_MS);
  // A stream that was cut connects again by itself; one that was refused does not.
  if (opened.readyState !== EventSource.CLOSED) return;
  setTimeout(() => {
    if (opened === stream && !awaitsLogin()) open(orders);
  }, OPEN_AGAIN_MS);
}

function poll() {
  // Each call would wait for the login, and all of a night would be sent at once after it.
  if (!awaitsLogin()) refreshAll();
}

function stopPolling() {
  clearInterval(timer);
  timer = null;
}

onLogin((isNeeded) => {
  if (!isNeeded && stream?.readyState === EventSource.CLOSED) open(streamed);
});

document.addEventListener('visibilitychange', () => {
  const wasHidden = streamed === '';
  update();
  if (!document.hidden && wasHidden) refreshAll();
});
