// The part "Algorithms": what can be ordered, and the images and containers behind it.
import { useEffect, useState } from '../vendor/hooks.js';
import { getJson, problemOf } from '../api.js';
import { html } from '../html.js';
import { AlgorithmCard } from '../parts/algorithm_card.js';
import { Hosting } from '../parts/hosting.js';
import { ProblemBox } from '../parts/problem.js';

const PATHS = {
  algorithms: '/v1/algorithms', queues: '/v1/queues', images: '/v1/images',
  containers: '/v1/containers', classes: '/v1/classes', workers: '/v1/system',
};

/** Draw the part. */
export function AlgorithmsPage() {
  const { found, problem, read } = useAll();
  return html`<div class="page">
    <header class="page-head"><h1>Algorithms</h1>
      <button type="button" onClick=${read}>Read again</button></header>
    ${problem && html`<${ProblemBox} problem=${problem} onRetry=${read} />`}
    ${!found && !problem && html`<p class="hint">Reading the algorithms …</p>`}
    ${found && html`<${Cards} found=${found} /><${Hosting} found=${found} />`}
  </div>`;
}

function Cards({ found }) {
  const { algorithms } = found;
  const queues = found.queues ?? [];
  const workers = found.workers ?? [];
  if (algorithms.length === 0) {
    return html`<p class="nothing">No algorithm yet: a worker announces them, and none has.
      <a href="#/system">System</a> shows which workers are up.</p>`;
  }
  return html`<div class="cards">${algorithms.map((one) => html`<${AlgorithmCard} key=${one.name}
    algorithm=${one} queue=${queues.find((queue) => queue.name === one.queue)}
    workers=${workers.filter((worker) => worker.offered?.includes(one.name))} />`)}</div>`;
}

/** Read everything at once; only the algorithms must be there, what cannot be read is null. */
function useAll() {
  const [state, setState] = useState({ found: null, problem: null });
  async function read() {
    const names = Object.keys(PATHS);
    const answers = await Promise.allSettled(names.map((name) => getJson(PATHS[name])));
    if (answers[0].status === 'rejected') {
      setState((before) => ({ ...before, problem: problemOf(answers[0].reason) }));
      return;
    }
    const entries = names.map((name, index) => [name, answers[index].value?.[name] ?? null]);
    setState({ found: Object.fromEntries(entries), problem: null });
  }
  useEffect(() => { read(); }, []);
  return { ...state, read };
}
