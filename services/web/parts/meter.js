// A progress bar with a name.
import { html } from '../html.js';

/**
 * Draw how far something is.
 * @param {{name: string, percent: number|null, text?: string}} props null = nobody knows how far
 */
export function Meter({ name, percent, text }) {
  const known = percent !== null && percent !== undefined;
  return html`<div class="meter ${known ? '' : 'meter-unknown'}" role="progressbar"
    aria-label=${name}
    aria-valuemin="0" aria-valuemax="100" aria-valuenow=${known ? Math.round(percent) : undefined}
    aria-valuetext=${text}><i style=${{ width: known ? `${percent}%` : '40%' }}></i></div>`;
}
