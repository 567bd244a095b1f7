// The log of an order: live, filtered, copied.
import { useEffect, useRef, useState } from '../../vendor/hooks.js';
import { problemOf, send } from '../../api.js';
import { shortId } from '../../format.js';
import { html } from '../../html.js';
import { useLive } from '../../live.js';
import { useModal } from '../modal.js';
import { ProblemBox } from '../problem.js';

const MOST_LINES = 5000;

/** Return the lines of an order's log, and how to read them again. */
function useLog(order) {
  const [lines, setLines] = useState(null);
  const [problem, setProblem] = useState(null);
  const told = useRef([]);
  const asked = useRef(0);
  const answered = useRef(0);
  async function refresh() {
    asked.current += 1;
    const turn = asked.current;
    told.current = [];
    try {
      const answer = await send('GET', `/v1/orders/${encodeURIComponent(order)}/log`, {
        headers: { accept: 'text/plain' },
      });
      const read = (await answer.text()).split('\n').filter(Boolean);
      if (turn < answered.current) return; // a later question was answered before
      answered.current = turn;
      setLines(withMore(read, told.current));
      setProblem(null);
    } catch (error) {
      setProblem(problemOf(error));
    }
  }
  useEffect(() => { refresh(); }, [order]);
  useLive(order, {
    log: ({ line }) => {
      told.current.push(line);
      setLines((before) => withMore(before ?? [], [line]));
    },
    refresh,
  });
  return { lines, problem, refresh };
}

/** Return the lines with those of the stream, each once: both may have what is new. */
function withMore(lines, told) {
  return [...lines, ...told.filter((line) => !lines.includes(line))].slice(-MOST_LINES);
}

/** Draw the log of an order. */
export function Log({ order }) {
  const { lines, problem, refresh } = useLog(order);
  const [filter, setFilter] = useState('');
  const [isCopied, setIsCopied] = useState(false);
  const box = useRef(null);
  const word = filter.trim().toLowerCase();
  const shown = (lines ?? []).filter((line) => line.toLowerCase().includes(word));
  useEndInView(box, shown.length);

  async function copy() {
    try {
      await navigator.clipboard.writeText(shown.join('\n'));
      setIsCopied(true);
      setTimeout(() => setIsCopied(false), 1500);
    } catch {
      getSelection().selectAllChildren(box.current); // on plain http, to be copied by Ctrl+C
    }
  }
  if (problem) return html`<${ProblemBox} problem=${problem} onRetry=${refresh} />`;
  return html`<div class="log">
    <div class="log-head"><input type="search" placeholder="Filter" aria-label="Filter the log"
        value=${filter} onInput=${(event) => setFilter(event.currentTarget.value)} />
      <button type="button" class="small" onClick=${copy}>${isCopied ? 'Copied' : 'Copy'}</button>
      <a class="small" href="/v1/orders/${encodeURIComponent(order)}/log" download="${order}.log"
        aria-label="Save the log">Save</a></div>
    <pre ref=${box} tabindex="0" aria-label="Log">${shown.map((line) => html`<span>${line}${'\n'}
      </span>`)}
      ${lines === null && 'Reading the log …'}
      ${lines?.length === 0 && 'Nothing has happened yet.'}
      ${lines?.length > 0 && shown.length === 0 && `None of ${lines.length} lines has “${filter}”.`}
        </pre>
  </div>`;
}

/** Keep the last line in view, unless somebody has scrolled up to read. */
function useEndInView(box, count) {
  const isAtEnd = useRef(true);
  useEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    const scrolled = () => {
      isAtEnd.current = element.scrollTop + element.clientHeight > element.scrollHeight - 24;
    };
    element.addEventListener('scroll', scrolled, { passive: true });
    return () => element.removeEventListener('scroll', scrolled);
  }, [box.current]);
  useEffect(() => {
    if (box.current && isAtEnd.current) box.current.scrollTop = box.current.scrollHeight;
  }, [count]);
}

/** Draw the log over the list of orders. */
export function LogSheet({ order, onClose }) {
  const dialog = useRef(null);
  useModal(dialog);
  return html`<dialog class="sheet sheet-wide" ref=${dialog} onClose=${onClose}
    aria-labelledby="log-title">
    <header><h2 id="log-title">Log of ${shortId(order)}</h2>
      <button type="button" class="small" onClick=${onClose}>Close</button></header>
    <${Log} order=${order} /></dialog>`;
}
