// Faults in words: what is wrong, whose fault it is, and what to do next.
import { html } from '../html.js';

const BLAME = {
  input: 'The slide or the order is the cause.',
  algorithm: 'The algorithm is the cause.',
  platform: 'The service is the cause; the slide and the order are fine.',
  destination: 'The destination is the cause; the results are kept.',
};

/**
 * Draw a problem.
 * @param {{problem: import('../api.js').Problem, onRetry?: () => void}} props
 */
export function ProblemBox({ problem, onRetry }) {
  return html`<div class="problem" role="alert">
    <${ProblemText} fields=${problem.fields} />
    ${onRetry && html`<button type="button" onClick=${onRetry}>Try again</button>`}
  </div>`;
}

/** Draw the members of a problem, as an order or a refusal has them. */
export function ProblemText({ fields }) {
  return html`<p class="problem-title"><strong>${fields.title ?? fields.code}</strong>
      ${fields.code && html`<code>${fields.code}</code>`}</p>
    ${fields.detail && html`<p>${fields.detail}</p>`}
    ${fields.hint && html`<p class="hint">What to do: ${fields.hint}</p>`}
    ${BLAME[fields.blame] && html`<p class="hint">${BLAME[fields.blame]}</p>`}`;
}

/** Draw the faults of one input below it; `id` is what the input's aria-describedby names. */
export function FieldFaults({ id, faults }) {
  if (!faults?.length) return null;
  return html`<span class="fault" id=${id} role="alert">${faults.map((fault) => html`<span>
    ${withoutField(fault)}${isForPeople(fault.hint) && html`<small>${fault.hint}</small>`}</span>`)}
  </span>`;
}

/** Some hints are for programs: they name an address of the API. */
function isForPeople(hint) {
  return Boolean(hint) && !/\bGET \/v1|\/openapi\.json/.test(hint);
}

function withoutField({ field, detail }) {
  const prefix = `${field}: `;
  if (field && detail.startsWith(prefix)) return detail.slice(prefix.length);
  return detail;
}
