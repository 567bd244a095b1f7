// A table with a heading, and words where it is empty.
import { html } from '../html.js';

/**
 * Draw a table.
 * @param {{title: string, columns: string[], rows: object[]|null, row: (row: object) => any,
 *   empty: string}} props `row` draws one of `rows` as a `tr`; null = they could not be read
 */
export function Table({ title, columns, rows, row, empty }) {
  if (rows === null) {
    return html`<section class="block"><h2>${title}</h2>
      <p class="warning">${title} could not be read.</p></section>`;
  }
  return html`<section class="block"><h2>${title}</h2>
    ${rows.length === 0 && html`<p class="hint">${empty}</p>`}
    ${rows.length > 0 && html`<div class="table-frame" tabindex="0" role="region"
      aria-label=${title}><table>
      <thead><tr>${columns.map((column) => html`<th scope="col">${column}</th>`)}</tr></thead>
      <tbody>${rows.map(row)}</tbody></table></div>`}</section>`;
}
