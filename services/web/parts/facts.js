// Whatever a machine says of itself, as lists and tables: the unit is read from a field's name.
import { bytes, duration, moment, number } from '../format.js';
import { html } from '../html.js';

const UNITS = [
  [/_bytes$/, bytes],
  [/(_s|_s_ago)$/, duration],
  [/(_pct|_percent)$/, (value) => `${number(Math.round(value))} %`],
];
const SMALL_WORDS = { cpu: 'CPU', cpus: 'CPUs', gpu: 'GPU', gpus: 'GPUs', id: 'id', url: 'address' };

/** Return a field's name as people read it: `oldest_wait_s` is Oldest wait. */
export function fieldTitle(name) {
  const words = name.replace(/(_bytes|_s|_pct|_percent)$/, '').replace(/_s_ago$/, ' ago').split('_');
  const text = words.map((word) => SMALL_WORDS[word] ?? word).join(' ');
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Return a value as text, by the unit in the name of its field. */
export function fieldText(name, value) {
  if (value === null || value === undefined || value === '') return '—';
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (typeof value === 'number') {
    const unit = UNITS.find(([ending]) => ending.test(name));
    return unit ? unit[1](value) : number(value);
  }
  if (typeof value === 'string') return /^\d{4}-\d\d-\d\dT/.test(value) ? moment(value) : value;
  if (Array.isArray(value)) return value.map((one) => fieldText(name, one)).join(', ') || '—';
  return Object.entries(value).map(([key, one]) => `${key} ${fieldText(key, one)}`).join(', ') || '—';
}

/** Draw the fields of an object; objects in it become sublists. */
export function FactList({ fields }) {
  const entries = Object.entries(fields ?? {});
  if (entries.length === 0) return html`<p class="hint">Nothing is known.</p>`;
  return html`<dl>${entries.map(([name, value]) => html`<div key=${name}>
    <dt>${fieldTitle(name)}</dt><dd>${fieldText(name, value)}</dd></div>`)}</dl>`;
}

/**
 * Draw objects as a table.
 * @param {{title: string, rows: object[], columns: string[], empty: string}} props `columns` come
 *   first, and whatever else the rows have after them
 */
export function FactTable({ title, rows, columns, empty }) {
  if (!rows?.length) return html`<p class="hint">${empty}</p>`;
  const names = new Set(rows.flatMap((row) => Object.keys(row)));
  const shown = [...columns.filter((name) => names.has(name)), ...[...names].filter(
    (name) => !columns.includes(name) && !(typeof rows[0][name] === 'object' && rows[0][name]
      && !Array.isArray(rows[0][name])),
  )];
  return html`<div class="table-frame" tabindex="0" role="region" aria-label=${title}><table>
    <thead><tr>${shown.map((name) => html`<th scope="col">${fieldTitle(name)}</th>`)}</tr></thead>
    <tbody>${rows.map((row) => html`<tr>${shown.map((name) => html`<td
      class=${typeof row[name] === 'number' ? 'number' : ''}>${fieldText(name, row[name])}</td>`)}</tr>`)}
    </tbody></table></div>`;
}
