// The part that shows one order: the slide with what was found, and everything that happened.
import { html } from '../html.js';

/** Draw the part. */
export function OrderView({ address }) {
  return html`<div class="page narrow"><h1>Order ${address.order}</h1></div>`;
}
