// What an order would do, asked of the server while the form is filled in; nothing is queued.
import { useEffect, useRef, useState } from '../vendor/hooks.js';
import { postJson, problemOf } from '../api.js';
import { duration } from '../format.js';
import { html } from '../html.js';

const PAUSE_MS = 400;

/**
 * Return the server's answer for the order's body: its scan, or its problem.
 * @param {object|null} body null = nothing to ask yet
 */
export function usePreflight(body) {
  const [answer, setAnswer] = useState({ scan: null, problem: null, isBusy: false });
  const text = body === null ? '' : JSON.stringify(body);
  const latest = useRef('');
  latest.current = text;
  useEffect(() => {
    if (text === '') {
      setAnswer({ scan: null, problem: null, isBusy: false });
      return undefined;
    }
    setAnswer((before) => ({ ...before, isBusy: true }));
    const timer = setTimeout(async () => {
      const found = await ask(JSON.parse(text));
      if (latest.current === text) setAnswer(found);
    }, PAUSE_MS);
    return () => clearTimeout(timer);
  }, [text]);
  return answer;
}

async function ask(body) {
  try {
    const found = await postJson('/v1/orders?validate_only=true', body);
    return { scan: found.scans[0], problem: null, isBusy: false };
  } catch (error) {
    return { scan: null, problem: problemOf(error), isBusy: false };
  }
}

/** Draw the answer: how long, how many tiles, and what to doubt. */
export function Preflight({ answer }) {
  const { scan } = answer;
  if (!scan) return null;
  return html`<div class="preflight">
    <p>${expectation(scan)}</p>
    ${scan.warnings?.map((one) => html`<p class="warning" key=${one.code}>${one.detail ?? one.code}
      </p>`)}
  </div>`;
}

function expectation({ expected_s: expectedS, tiles }) {
  const parts = [];
  if (Number.isFinite(expectedS)) parts.push(`about ${Math.max(1, Math.round(expectedS))} s`);
  if (Number.isFinite(tiles)) parts.push(`${tiles} tiles`);
  if (parts.length === 0) return 'How long it takes is seen once it runs.';
  let text = parts.join(', ');
  if (expectedS >= 90) text += ` (${duration(expectedS)})`;
  return text;
}

/** Return the faults of a problem whose field is this path or lies below it. */
export function faultsAt(problem, path) {
  if (!problem) return [];
  return problem.faults.filter(({ field = '' }) => {
    const rest = field.startsWith(path) ? field.slice(path.length) : null;
    return rest === '' || rest?.startsWith('.') || rest?.startsWith('[');
  });
}
