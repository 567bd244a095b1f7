// The attempts at the destination, the newest first.
import { moment } from '../../format.js';
import { html } from '../../html.js';

/** Draw where the results go, and each try; nothing where they are kept for pick-up. */
export function Deliveries({ order }) {
  const { destination, delivery } = order;
  if (destination.type === 'none') return null;
  const { type, name, ...fields } = destination;
  const shown = Object.entries(fields).filter(([, value]) => typeof value !== 'object');
  return html`<section class="card"><h2>Delivery <span class="hint">${delivery.state}</span></h2>
    <p>${name ?? type}${name && html` <span class="hint">${type}</span>`}</p>
    <dl>${shown.map(([field, value]) => html`<div><dt>${field}</dt><dd>${String(value)}</dd>
      </div>`)}</dl>
    ${delivery.attempts.length > 0 && html`<ol class="attempts">
      ${delivery.attempts.toReversed().map((attempt) => html`<li>
        <time datetime=${attempt.at}>${moment(attempt.at)}</time> ${attempt.outcome}
        ${attempt.status && html` <span class="hint">HTTP ${attempt.status}</span>`}
        ${attempt.error && html`<small class="hint">${attempt.error}</small>`}</li>`)}</ol>`}
  </section>`;
}
