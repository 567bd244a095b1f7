// Images, containers and classes of machines, as the workers have announced them.
import { bytes, duration, moment } from '../format.js';
import { html } from '../html.js';
import { Table } from './table.js';

/** Draw the three tables. `found` has images, containers and classes. */
export function Hosting({ found }) {
  return html`
    <${Table} title="Images" rows=${found.images} empty="No image is defined. Programs without an image
      need none; slidelane image add defines one on the machine of a worker."
      columns=${['Name', 'Image', 'Status', 'Digest', 'By', 'Changed', 'Used by']} row=${imageRow} />
    <${Table} title="Containers and programs" rows=${found.containers} empty="No program of the site's
      own can be ordered. worker.algorithms names them, with kind command or container."
      columns=${['Name', 'Kind', 'Image', 'Class', 'Queue', 'Time limit', 'Variables', 'State']}
      row=${containerRow} />
    <${Table} title="Classes of machines" rows=${found.classes} empty="No class is defined.
      worker.classes names them: queue, CPUs, memory and GPUs of one run."
      columns=${['Name', 'Queue', 'CPUs', 'Memory', 'GPUs', 'Workers', 'Used by']} row=${classRow} />`;
}

function imageRow(image) {
  return html`<tr key=${image.image}><td>${image.name}</td><td><code>${image.image}</code></td>
    <td><${Status} status=${image.status} /><${Machines} machines=${image.machines} />
      ${image.failure && html`<small class="why-line">${image.failure}</small>`}</td>
    <td>${image.digest && html`<code title=${image.digest}>${image.digest.slice(0, 19)}</code>`}</td>
    <td>${image.created_by}</td><td class="number">${when(image.updated_at ?? image.created_at)}</td>
    <td>${image.containers.join(', ')}</td></tr>`;
}

function Status({ status }) {
  const kind = { uploaded: 'delivered', failed: 'failed' }[status] ?? 'queued';
  return html`<span class="state state-${kind}">${status}</span>`;
}

function Machines({ machines }) {
  const names = machines.map((one) => `${one.machine}${one.engine ? ` (${one.engine})` : ''}`);
  return html`<small class="why-line">${names.join(', ')}</small>`;
}

function containerRow(one) {
  return html`<tr key=${one.name}><td>${one.name}</td><td>${one.kind}</td><td><code>${one.image}</code></td>
    <td>${one.class}</td><td>${one.queue}</td><td class="number">${duration(one.time_limit_s)}</td>
    <td>${one.variables.join(', ')}</td>
    <td>${one.available ? html`<span class="state state-delivered">available</span>`
      : html`<span class="state state-failed">not available</span><small class="why-line">${one.reason}</small>`}</td></tr>`;
}

function classRow(one) {
  return html`<tr key=${one.name}><td>${one.name}</td><td>${one.queue}</td>
    <td class="number">${one.cpus ?? 'all'}</td>
    <td class="number">${one.memory_bytes === null ? 'all' : bytes(one.memory_bytes)}</td>
    <td class="number">${one.gpus}</td><td class="number">${one.workers}</td>
    <td>${one.containers.join(', ')}</td></tr>`;
}

function when(at) {
  if (!at) return '';
  return html`<time datetime=${at}>${moment(at)}</time>`;
}
