// The part "System".
import { html } from '../html.js';

/** Draw the part. */
export function SystemPage() {
  return html`<div class="page"><h1>System</h1></div>`;
}
