// One algorithm: what it is for, its classes, where it runs, and what may be set.
import { duration, number } from '../format.js';
import { html } from '../html.js';
import { fieldsOf } from '../ordering/parameter_schema.js';

const OUTPUTS = {
  tiles: 'a class for each tile', mask: 'a class for each pixel', objects: 'single objects',
  embeddings: 'a vector for each tile', slide: 'a class for the whole slide',
  report: 'a report of its own',
};

/**
 * Draw the card.
 * @param {{algorithm: object, queue: object|undefined, workers: object[]}} props
 *   `workers` are those that have it
 */
export function AlgorithmCard({ algorithm, queue, workers }) {
  const { name, title, description, available, reason } = algorithm;
  return html`<article class="algorithm ${available ? '' : 'is-unavailable'}">
    <header><h2>${title ?? name}</h2>
      <span class="state ${available ? 'state-delivered' : 'state-failed'}">
        <span aria-hidden="true">${available ? '●' : '✕'}</span>${' '}
        ${available ? 'available' : 'not available'}</span></header>
    ${description && html`<p>${description}</p>`}
    ${reason && html`<p class="warning">${reason}</p>`}
    ${algorithm.version && html`<${Facts} algorithm=${algorithm} queue=${queue}
      workers=${workers} />
      <${Classes} classes=${algorithm.classes} />
      <${Parameters} schema=${algorithm.parameters} />`}
    <${Links} links=${algorithm.links} name=${name} />
  </article>`;
}

function Facts({ algorithm, queue, workers }) {
  const rows = [
    ['Name', `${algorithm.name} ${algorithm.version}`],
    ['Digest', html`<code title=${algorithm.digest}>${algorithm.digest.slice(0, 12)}</code>`],
    ['Answers', OUTPUTS[algorithm.output] ?? algorithm.output],
  ];
  if (algorithm.mpp) {
    rows.push(['Works at', `${algorithm.mpp} µm/px, tiles of ${algorithm.tile_px} px`]);
  }
  if (algorithm.stains?.length) rows.push(['Stains', algorithm.stains.join(', ')]);
  if (algorithm.encoder) rows.push(['Encoder', algorithm.encoder]);
  rows.push(['Queue', queueText(algorithm.queue, queue)]);
  if (workers.length) rows.push(['Loaded by', workers.map((worker) => worker.name).join(', ')]);
  if (algorithm.license) rows.push(['License', algorithm.license]);
  return html`<dl>${rows.map(([term, value]) => html`<div><dt>${term}</dt><dd>${value}</dd></div>`)}
    </dl>`;
}

function queueText(name, queue) {
  if (!queue) return name;
  const parts = [name, `${number(queue.waiting)} waiting`, `${number(queue.running)} running`];
  parts.push(queue.workers === 1 ? '1 worker' : `${queue.workers} workers`);
  if (queue.waiting > 0) parts.push(`oldest ${duration(queue.oldest_wait_s)}`);
  return parts.join(' · ');
}

function Classes({ classes }) {
  if (!classes?.length) return null;
  return html`<ul class="class-list" aria-label="Classes">${classes.map((one) => html`<li>
    <i style=${{ background: one.color }} aria-hidden="true"></i>${one.title || one.name}
    ${one.background && html` <small class="hint">background</small>`}</li>`)}</ul>`;
}

function Parameters({ schema }) {
  const fields = fieldsOf(schema);
  if (fields.length === 0) return null;
  let count = `${fields.length} parameters`;
  if (fields.length === 1) count = '1 parameter';
  return html`<details><summary>${count}</summary>
    <div class="table-frame"><table><thead><tr><th scope="col">Name</th><th scope="col">Default</th>
      <th scope="col">What it does</th></tr></thead>
    <tbody>${fields.map((field) => html`<tr><td><strong>${field.title}</strong> ${field.unit}<br />
      <code>${field.name}</code></td><td class="number">${defaultText(field)}</td>
      <td>${field.description}</td></tr>`)}</tbody></table></div>
    <details><summary>JSON schema</summary>
      <pre class="schema" tabindex="0" aria-label="JSON schema">${JSON.stringify(schema, null, 2)}
        </pre></details>
  </details>`;
}

function defaultText(field) {
  if (field.default === null) return 'auto';
  if (field.default === undefined) return '';
  if (typeof field.default === 'string') return field.default;
  return JSON.stringify(field.default);
}

function Links({ links, name }) {
  const texts = Object.entries(links ?? {}).filter(([file]) => file !== 'self');
  if (texts.length === 0) return null;
  return html`<p>${texts.map(([file, link]) => html`<a href=${link} target="_blank"
    aria-label="${file} of ${name}">${file}</a> `)}</p>`;
}
