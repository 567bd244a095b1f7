// Looking at a slide before it is ordered: upload it, have it fetched, wait until it can be seen.
import { useEffect, useState } from '../vendor/hooks.js';
import { getJson, postJson, Problem, problemOf } from '../api.js';
import { number } from '../format.js';
import { announce } from '../parts/announce.js';
import { refusalOf } from './dropped_files.js';
import { startUpload } from './uploads.js';

const ASK_AGAIN_MS = [300, 500, 1000, 2000];

/** What is looked at. It is kept, and goes on, while another part of the page is shown. */
let state = { slide: null, task: null, problem: null, again: null };
let running = null;
const listeners = new Set();

/**
 * Return the slide that is looked at, and how to look at another.
 * @returns {{slide: object|null, task: object|null, problem: Problem|null, canRepeat: boolean,
 *   look: (source: object) => void, upload: (files: object[]) => void, repeat: () => void,
 *   stop: () => void, clear: () => void}}
 */
export function useSlideLook() {
  const [shown, setShown] = useState(state);
  useEffect(() => {
    setShown(state);
    listeners.add(setShown);
    return () => listeners.delete(setShown);
  }, []);
  const { slide, task, problem, again } = shown;
  return { slide, task, problem, canRepeat: again !== null, look, upload, repeat, stop, clear };
}

function change(part) {
  state = { ...state, ...part };
  for (const listener of listeners) listener(state);
}

function begin(again, task) {
  running?.abort();
  running = new AbortController();
  change({ slide: null, problem: null, task, again });
  return running.signal;
}

function fail(signal, error) {
  if (!signal.aborted) change({ task: null, problem: problemOf(error) });
}

async function look(source) {
  const signal = begin(repeatable(source), { title: 'Looking at the slide', name: '' });
  try {
    await lookUntilReady(source, signal);
  } catch (error) {
    fail(signal, error);
  }
}

async function upload(files) {
  const refusal = refusalOf(files);
  if (refusal !== null) {
    begin(null, null);
    change({ problem: refusal });
    return;
  }
  const name = files.length === 1 ? files[0].path : `${number(files.length)} files`;
  const signal = begin(() => upload(files), { title: 'Upload', name, done: 0, total: 0 });
  try {
    const id = await startUpload(files, signal, (progress) => {
      if (!signal.aborted) change({ task: { title: 'Upload', name, ...progress } });
    });
    signal.throwIfAborted();
    await lookUntilReady({ type: 'upload', upload: id }, signal);
  } catch (error) {
    fail(signal, error);
  }
}

async function lookUntilReady(source, signal) {
  const slide = await whenReady(await postJson('/v1/slides', { source }), signal);
  signal.throwIfAborted();
  change({ task: null, slide });
  announce(`${slide.name}, ${slide.width} by ${slide.height} pixels`);
}

function repeat() {
  state.again();
}

function stop() {
  running?.abort();
  change({ task: null });
}

function clear() {
  stop();
  change({ slide: null, problem: null });
}

/** Return how to look at the source again; an address with a signature is not kept for that. */
function repeatable(source) {
  if (source.type === 'url') return null;
  return () => look(source);
}

async function whenReady(first, signal) {
  let slide = first;
  for (let turn = 0; slide.state === 'fetching'; turn += 1) {
    const { done = 0, total = 0 } = slide.progress ?? {};
    signal.throwIfAborted();
    const task = { title: 'Fetching the slide', name: slide.name ?? '', done, total: total ?? 0 };
    change({ task });
    const pause = ASK_AGAIN_MS[Math.min(turn, ASK_AGAIN_MS.length - 1)];
    await new Promise((resolve) => { setTimeout(resolve, pause); });
    slide = await getJson(`/v1/slides/${encodeURIComponent(slide.id)}`, { signal });
  }
  if (slide.state === 'failed') {
    throw new Problem(slide.problem ?? { code: 'failed', title: 'The slide cannot be shown' }, 0);
  }
  return slide;
}
