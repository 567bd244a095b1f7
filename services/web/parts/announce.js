// What a screen reader is told of changes: politely, and at most once a second.
import { useEffect, useState } from '../vendor/hooks.js';
import { html } from '../html.js';

const PAUSE_MS = 1000;
let show = null;
let waiting = '';
let timer = null;

/** Have a sentence read out; of several within a second, only the last. */
export function announce(text) {
  waiting = text;
  if (timer === null) timer = setTimeout(tell, PAUSE_MS);
}

function tell() {
  timer = null;
  show?.(waiting);
}

/** The region that screen readers listen to; nobody sees it. */
export function Announcer() {
  const [text, setText] = useState('');
  useEffect(() => {
    show = setText;
    return () => { show = null; };
  }, []);
  return html`<div class="unseen" role="status" aria-live="polite">${text}</div>`;
}
