// The part "System": what runs, what waits and why, and whether anything is short.
import { useEffect, useState } from '../vendor/hooks.js';
import { getJson, problemOf } from '../api.js';
import { html } from '../html.js';
import { FactList, FactTable } from '../parts/facts.js';
import { ProblemBox } from '../parts/problem.js';

const READ_AGAIN_MS = 5000;
const OWN = ['version', 'checks', 'queues', 'workers', 'gpus', 'algorithms', 'links'];

/** Draw the part. */
export function SystemPage({ session }) {
  const { system, problem, read } = useSystem();
  return html`<div class="page">
    <header class="page-head"><h1>System</h1>
      <span class="hint">Slidelane ${system?.version ?? session.version}</span></header>
    ${problem && html`<${ProblemBox} problem=${problem} onRetry=${read} />`}
    ${!system && !problem && html`<p class="hint">Asking the system …</p>`}
    ${system && html`<${Parts} system=${system} />`}
  </div>`;
}

function Parts({ system }) {
  const others = Object.entries(system).filter(([name]) => !OWN.includes(name));
  return html`
    ${system.checks && html`<section class="block"><h2>Checks</h2>
      <${FactTable} title="Checks" rows=${system.checks} columns=${['what', 'state', 'message']}
        empty="Nothing was checked." /></section>`}
    <section class="block"><h2>Queues</h2>
      <${FactTable} title="Queues" rows=${system.queues?.map(({ leg, ...queue }) => queue)}
        columns=${['name', 'stage', 'waiting', 'oldest_wait_s', 'running', 'workers', 'reason']}
        empty="No queue yet: the first order makes it." /></section>
    <section class="block"><h2>Workers</h2>
      <${FactTable} title="Workers" rows=${system.workers} columns=${['name', 'queues', 'seen_s_ago']}
        empty="No worker is up: orders wait until one is. slidelane serve starts them." /></section>
    <section class="block"><h2>GPUs</h2>
      <${FactTable} title="GPUs" rows=${system.gpus} columns=${['name', 'worker', 'machine']}
        empty="No worker has told of a GPU: algorithms run on the CPU." /></section>
    <div class="cards machine">${others.map(([name, value]) => html`<${Card} name=${name} value=${value} />`)}</div>
    <${Unavailable} algorithms=${system.algorithms} />`;
}

function Card({ name, value }) {
  const title = { cpu: 'CPU', redis: 'Redis' }[name] ?? name.charAt(0).toUpperCase() + name.slice(1);
  if (Array.isArray(value)) {
    return html`<section class="algorithm"><h2>${title}</h2>
      ${value.map((one) => html`<${FactList} fields=${one} />`)}
      ${value.length === 0 && html`<p class="hint">Nothing is known.</p>`}</section>`;
  }
  const fields = typeof value === 'object' && value !== null ? value : { [name]: value };
  return html`<section class="algorithm"><h2>${title}</h2><${FactList} fields=${fields} /></section>`;
}

/** Name the algorithms that cannot be ordered; the part Algorithms has the others. */
function Unavailable({ algorithms }) {
  const others = algorithms?.filter?.((one) => one.available === false) ?? [];
  if (others.length === 0) return null;
  return html`<section class="block"><h2>Algorithms that are not available</h2>
    ${others.map((one) => html`<p class="warning"><strong>${one.name}</strong> ${one.reason}</p>`)}
    <p><a href="#/algorithms">All algorithms</a></p></section>`;
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
      if (!document.hidden) read();
    }, READ_AGAIN_MS);
    return () => clearInterval(timer);
  }, []);
  return { ...state, read };
}
