// The filters of the list of orders.
import { useEffect, useState } from '../../vendor/hooks.js';
import { getJson } from '../../api.js';
import { html } from '../../html.js';
import { ORDER_STATES } from './state.js';
import { TextField } from '../typed_field.js';

/**
 * Draw the filters.
 * @param {{filters: {state: string, algorithm: string, label: string}, onFilters: Function}} props
 */
export function JobFilters({ filters, onFilters }) {
  const [names, setNames] = useState([]);
  useEffect(() => {
    getJson('/v1/algorithms').then(
      ({ algorithms }) => setNames(algorithms.map((one) => one.name)),
      () => setNames([]), // the list itself says that nothing can be read
    );
  }, []);
  const isFiltered = filters.state || filters.algorithm || filters.label;
  return html`<div class="filters" role="group" aria-label="Filters">
    <label>State <select value=${filters.state}
      onChange=${(event) => onFilters({ state: event.currentTarget.value })}>
      <option value="">all</option>${ORDER_STATES.map((one) => html`<option>${one}</option>`)}
        </select></label>
    <label>Algorithm <select value=${filters.algorithm}
      onChange=${(event) => onFilters({ algorithm: event.currentTarget.value })}>
      <option value="">all</option>${names.map((one) => html`<option>${one}</option>`)}</select>
        </label>
    <label>Label <${TextField} type="search" value=${filters.label} autocomplete="off"
      spellcheck=${false} placeholder="case, or name=value"
      onValue=${(label) => onFilters({ label })} /></label>
    ${isFiltered && html`<button type="button"
      onClick=${() => onFilters({ state: '', algorithm: '', label: '' })}>Show all</button>`}
  </div>`;
}
