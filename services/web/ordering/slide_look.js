// Looking at a slide before it is ordered: upload it, have it fetched, wait until it can be seen.
import { useEffect, useRef, useState } from '../vendor/hooks.js';
import { getJson, postJson, Problem, problemOf } from '../api.js';
import { announce } from '../parts/announce.js';
import { startUpload } from './uploads.js';

const ASK_AGAIN_MS = [300, 500, 1000, 2000];

/** What was looked at last, so that it is still there after a visit to another part. */
const kept = { slide: null };

/**
 * Return the slide that is looked at, and how to look at another.
 * @returns {{slide: object|null, task: object|null, problem: Problem|null, canRepeat: boolean,
 *   look: (source: object) => void, upload: (files: object[]) => void, repeat: () => void,
 *   stop: () => void, clear: () => void}}
 */
export function useSlideLook() {
  const [slide, setSlide] = useState(kept.slide);
  const [task, setTask] = useState(null);
  const [problem, setProblem] = useState(null);
  const again = useRef(null);
  const running = useRef(null);
  useEffect(() => () => running.current?.abort(), []);

  function begin(repeat, first) {
    running.current?.abort();
    const control = new AbortController();
    running.current = control;
    again.current = repeat;
    kept.slide = null;
    setSlide(null);
    setProblem(null);
    setTask(first);
    return control.signal;
  }
  function end(signal, change) {
    if (signal.aborted) return;
    setTask(null);
    change();
  }
  async function look(source, signal = null) {
    const first = { title: 'Looking at the slide', name: '' };
    const mine = signal ?? begin(repeatable(source, look), first);
    try {
      const found = await whenReady(await postJson('/v1/slides', { source }), mine, setTask);
      end(mine, () => {
        kept.slide = found;
        setSlide(found);
        announce(`${found.name}, ${found.width} by ${found.height} pixels`);
      });
    } catch (error) {
      end(mine, () => setProblem(problemOf(error)));
    }
  }
  async function upload(files) {
    const name = files.length === 1 ? files[0].path : `${files.length} files`;
    const signal = begin(() => upload(files), { title: 'Upload', name, done: 0, total: 0 });
    try {
      const id = await startUpload(files, signal, (progress) => {
        if (!signal.aborted) setTask({ title: 'Upload', name, ...progress });
      });
      if (!signal.aborted) await look({ type: 'upload', upload: id }, signal);
    } catch (error) {
      end(signal, () => setProblem(problemOf(error)));
    }
  }
  function stop() {
    running.current?.abort();
    setTask(null);
  }
  function clear() {
    stop();
    kept.slide = null;
    setSlide(null);
    setProblem(null);
  }
  const canRepeat = again.current !== null;
  const repeat = () => again.current();
  return { slide, task, problem, canRepeat, look, upload, repeat, stop, clear };
}

/** Return how to look at the source again; an address with a signature is not kept for that. */
function repeatable(source, look) {
  if (source.type === 'url') return null;
  return () => look(source);
}

async function whenReady(first, signal, setTask) {
  let slide = first;
  for (let turn = 0; slide.state === 'fetching'; turn += 1) {
    const { done = 0, total = 0 } = slide.progress ?? {};
    if (signal.aborted) throw new Problem({ code: 'stopped', title: 'Stopped' }, 0);
    setTask({ title: 'Fetching the slide', name: slide.name ?? '', done, total: total ?? 0 });
    const pause = ASK_AGAIN_MS[Math.min(turn, ASK_AGAIN_MS.length - 1)];
    await new Promise((resolve) => { setTimeout(resolve, pause); });
    slide = await getJson(`/v1/slides/${encodeURIComponent(slide.id)}`, { signal });
  }
  if (slide.state === 'failed') {
    throw new Problem(slide.problem ?? { code: 'failed', title: 'The slide cannot be shown' }, 0);
  }
  return slide;
}
