// The part "Algorithms".
import { html } from '../html.js';

/** Draw the part. */
export function AlgorithmsPage() {
  return html`<div class="page"><h1>Algorithms</h1></div>`;
}
