// The part "System": whether anything is short, what waits and why, and what works on it.
import { useEffect, useState } from '../vendor/hooks.js';
import { awaitsLogin, getJson, problemOf } from '../api.js';
import { bytes, duration, number } from '../format.js';
import { html } from '../html.js';
import { Meter } from '../parts/meter.js';
import { ProblemBox } from '../parts/problem.js';
import { Table } from '../parts/table.js';

const READ_AGAIN_MS = 5000;
// The state of a check as `slidelane doctor` prints it: sign, words, style; the worst stands first.
const CHECK_STATES = {
  failed: ['✕', 'look here', 'state-failed'],
  absent: ['○', 'not there', 'state-cancelled'],
  ok: ['●', 'ok', 'state-delivered'],
};
const PRIORITY = /\.(low|high|urgent)$/;

/** Draw the part. */
export function SystemPage({ session }) {
  const { system, problem, read } = useSystem();
  return html`<div class="page">
    <header class="page-head"><h1>System</h1>
      <span class="hint">Slidelane ${session.version}</span></header>
    ${problem && html`<${ProblemBox} problem=${problem} onRetry=${read} />`}
    ${!system && !problem && html`<p class="hint">Asking the system …</p>`}
    ${system && html`<${Machine} system=${system} /><${Checks} checks=${system.checks} />
      <${Queues} queues=${system.queues} /><${Workers} workers=${system.workers} />
      <${Gpus} gpus=${system.gpus} />`}
  </div>`;
}

function Machine({ system }) {
  const { cpu, memory, disk, redis } = system;
  return html`<section class="tiles" aria-label="The machine of the API">
    <div class="tile"><h2>CPU</h2><p class="figure">${number(cpu.cores)} <small>cores</small></p>
      <p class="hint">${loadText(cpu)}</p></div>
    <${Space} title="Memory" space=${memory} />
    ${disk.map((one) => html`<${Space} key=${one.folder} title="Disk of ${one.folder}"
      space=${one} />`)}
    <div class="tile"><h2>Redis</h2><p class="figure small-figure">${redis.name ?? 'not told'}</p>
      <p class="hint">${redisText(redis)}</p></div>
  </section>`;
}

function loadText({ load_1m: load }) {
  if (load === null) return 'load not known';
  return `load ${load.toFixed(1)} over the last minute`;
}

function redisText({ durable, evicts }) {
  const parts = [];
  if (durable !== null) parts.push(durable ? 'writes to disk' : 'keeps nothing on disk');
  if (evicts) parts.push('throws keys away when it is full');
  return parts.join(', ');
}

function Space({ title, space }) {
  const { bytes: total, free_bytes: free } = space;
  if (!total) {
    return html`<div class="tile"><h2>${title}</h2><p class="hint">Its size is not known.</p>
      </div>`;
  }
  const used = 100 * (1 - free / total);
  return html`<div class="tile"><h2>${title}</h2>
    <p class="figure">${bytes(free)} <small>free of ${bytes(total)}</small></p>
    <${Meter} name="${title} used" percent=${used} text="${Math.round(used)} % used" /></div>`;
}

function Checks({ checks }) {
  const order = Object.keys(CHECK_STATES);
  const rows = [...checks].sort((one, other) => order.indexOf(one.state)
    - order.indexOf(other.state));
  return html`<${Table} title="Checks" rows=${rows} columns=${['What', 'State', 'What it means']}
    empty="" row=${({ what, state, message }) => html`<tr key=${what}><td>${what}</td>
      <td><${CheckState} state=${state} /></td><td>${message}</td></tr>`} />`;
}

function CheckState({ state }) {
  const [sign, words, style] = CHECK_STATES[state] ?? CHECK_STATES.failed;
  return html`<span class="state ${style}"><span aria-hidden="true">${sign}</span> ${words}</span>`;
}

function Queues({ queues }) {
  return html`<${Table} title="Queues" rows=${queues}
    columns=${['Queue', 'Stage', 'Waiting', 'Oldest', 'Running', 'Workers', 'Why it waits']}
    empty="No queue yet: the first algorithm or order makes one."
    row=${(queue) => html`<tr key=${queue.name}><td>${queue.name}</td><td>${queue.stage}</td>
      <td class="number">${number(queue.waiting)}</td>
      <td class="number">${queue.waiting ? duration(queue.oldest_wait_s) : '—'}</td>
      <td class="number">${number(queue.running)}</td><td class="number">${number(queue.workers)}
        </td>
      <td>${reasonOf(queue)}</td></tr>`} />`;
}

function reasonOf({ waiting, workers }) {
  if (waiting === 0) return '';
  if (workers === 0) return html`<span class="warning">no worker listens to it</span>`;
  if (workers === 1) return 'its worker is busy';
  return `its ${workers} workers are busy`;
}

function Workers({ workers }) {
  return html`<${Table} title="Workers" rows=${workers}
    columns=${['Worker', 'Queues', 'Can run', 'Machine', 'Last seen']}
    empty="No worker is up: orders wait until one is. slidelane serve starts them."
    row=${(worker) => html`<tr key=${worker.name}><td>${worker.name}</td>
      <td>${baseQueues(worker.queues)}</td>
      <td>${worker.offered === null ? 'fetches and delivers' : worker.offered.join(', ')}
        ${worker.checking.length > 0 && html`<small class="why-line">loading for the first time:
          ${' '}${worker.checking.join(', ')}</small>`}
        ${Object.entries(worker.unavailable).map(([name, reason]) => html`<small
          class="why-line">not ${name}: ${reason}</small>`)}</td>
      <td>${machineText(worker.machine)}</td>
      <td class="number">${duration(worker.seen_s_ago)} ago</td></tr>`} />`;
}

function baseQueues(queues) {
  return [...new Set(queues.map((queue) => queue.replace(PRIORITY, '')))].join(', ');
}

function machineText(machine) {
  if (!machine) return '';
  const parts = [`${machine.cores} cores`];
  if (machine.memory_free_bytes) parts.push(`${bytes(machine.memory_free_bytes)} of memory free`);
  if (machine.disk_free_bytes) parts.push(`${bytes(machine.disk_free_bytes)} of disk free`);
  return parts.join(', ');
}

function Gpus({ gpus }) {
  return html`<${Table} title="GPUs" rows=${gpus} columns=${['GPU', 'Memory', 'Used by']}
    empty="No worker has told of a GPU: algorithms run on the CPU."
    row=${(gpu) => html`<tr><td>${gpu.name}</td><td class="number">${gpuMemory(gpu)}</td>
      <td>${gpu.workers.join(', ')}</td></tr>`} />`;
}

function gpuMemory({ memory_bytes: total, memory_free_bytes: free }) {
  if (!total) return 'not known';
  if (free === null) return bytes(total);
  return `${bytes(free)} free of ${bytes(total)}`;
}

/** Read the system now, and every five seconds while somebody looks. */
function useSystem() {
  const [state, setState] = useState({ system: null, problem: null });
  async function read() {
    try {
      setState({ system: await getJson('/v1/system'), problem: null });
    } catch (error) {
      setState((before) => ({ ...before, problem: problemOf(error) }));
    }
  }
  useEffect(() => {
    read();
    const timer = setInterval(() => {
      if (!document.hidden && !awaitsLogin()) read();
    }, READ_AGAIN_MS);
    return () => clearInterval(timer);
  }, []);
  return { ...state, read };
}
