// The addresses of the page. Everything after `#` says what is looked at, and holds ids only.
import { useEffect, useState } from './vendor/hooks.js';

const PAGES = ['order', 'jobs', 'algorithms', 'system'];

/**
 * Return what an address asks for.
 * @param {string} hash like `#/orders/ORDER/SCAN?x=1&y=2&z=0.5`
 * @returns {{page: string, order: string, scan: string, query: URLSearchParams}} `page` is one of
 *   order, jobs, algorithms, system, order_view and unknown
 */
export function parseAddress(hash) {
  const [path, query = ''] = hash.replace(/^#\/?/, '').split('?', 2);
  const parts = path.split('/').filter(Boolean).map(decoded);
  const found = { page: 'unknown', order: '', scan: '', query: new URLSearchParams(query) };
  if (parts.length === 0) return { ...found, page: 'order' };
  if (parts[0] === 'orders' && parts.length >= 2 && parts.length <= 3) {
    return { ...found, page: 'order_view', order: parts[1], scan: parts[2] ?? '' };
  }
  if (parts.length === 1 && PAGES.includes(parts[0])) return { ...found, page: parts[0] };
  return found;
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/**
 * Return the address of an order's scan.
 * @param {string} order
 * @param {string} [scan] absent = its first
 */
export function orderAddress(order, scan) {
  const path = `#/orders/${encodeURIComponent(order)}`;
  if (!scan) return path;
  return `${path}/${encodeURIComponent(scan)}`;
}

/** Return the view that an address names in level-0 pixels, or null where it names none. */
export function viewOf(query) {
  const [x, y, z] = ['x', 'y', 'z'].map((name) => Number.parseFloat(query.get(name) ?? ''));
  if (![x, y, z].every(Number.isFinite) || z <= 0) return null;
  return { x, y, z };
}

/** Write the view into the address, without a new entry in the history. */
export function keepView({ x, y, z }) {
  const [path, query = ''] = location.hash.split('?', 2);
  const asked = new URLSearchParams(query);
  asked.set('x', String(Math.round(x)));
  asked.set('y', String(Math.round(y)));
  asked.set('z', String(Number(z.toPrecision(4))));
  history.replaceState(null, '', `${path}?${asked}`);
}

/** Return what the address asks for now; the component is drawn again when it changes. */
export function useAddress() {
  const [address, setAddress] = useState(() => parseAddress(location.hash));
  useEffect(() => {
    const changed = () => setAddress(parseAddress(location.hash));
    addEventListener('hashchange', changed);
    return () => removeEventListener('hashchange', changed);
  }, []);
  return address;
}
