// The folders of the server that slides may be taken from, one folder at a time.
import { useEffect, useRef, useState } from '../vendor/hooks.js';
import { getJson, problemOf } from '../api.js';
import { bytes, moment } from '../format.js';
import { html } from '../html.js';
import { useModal } from '../parts/modal.js';
import { ProblemBox } from '../parts/problem.js';

const HINTS = {
  other: 'not a slide by its name',
};

/**
 * Draw the sheet; `onChoose` gets the source of a slide.
 * @param {{onChoose: (source: object) => void, onClose: () => void}} props
 */
export function ServerFolder({ onChoose, onClose }) {
  const dialog = useRef(null);
  const list = useRef(null);
  const [place, setPlace] = useState({ root: null, path: '' });
  const { roots, entries, cursor, problem, isBusy, read } = useListing(place);
  useModal(dialog);
  useEffect(() => {
    if (roots?.length === 1 && place.root === null) setPlace({ root: roots[0].root, path: '' });
  }, [roots]);
  useEffect(() => {
    list.current?.querySelector('button:not(:disabled)')?.focus();
  }, [entries === null, place]);

  function choose(entry) {
    const path = joined(place.path, entry.name);
    if (entry.kind === 'folder') setPlace({ root: place.root, path });
    else onChoose({ type: 'path', root: place.root, path });
  }
  return html`<dialog class="sheet" ref=${dialog} onClose=${onClose} aria-labelledby="folder-title">
    <header><h2 id="folder-title">Server folder</h2>
      <button type="button" class="small" onClick=${onClose}>Close</button></header>
    <${Trail} place=${place} roots=${roots} onGo=${setPlace} />
    ${problem && html`<${ProblemBox} problem=${problem} onRetry=${() => read(null)} />`}
    <div class="entries" ref=${list} onKeyDown=${moveInList}>
      ${place.root === null && roots?.map((one) => html`<button type="button" class="entry"
        onClick=${() => setPlace({ root: one.root, path: '' })}><${Mark} kind="folder" />
        <span>${one.name}</span></button>`)}
      ${place.root !== null && entries?.map((entry) => html`<${Entry} entry=${entry}
        onChoose=${() => choose(entry)} />`)}
    </div>
    ${isBusy && html`<p class="hint">Reading the folder …</p>`}
    ${!isBusy && !problem && html`<${Empty} roots=${roots} root=${place.root}
      entries=${entries} />`}
    ${cursor && !isBusy && html`<button type="button"
      onClick=${() => read(cursor)}>Show more</button>`}
  </dialog>`;
}

function useListing({ root, path }) {
  const [state, setState] = useState({ roots: null, entries: null, cursor: null, problem: null });
  const [isBusy, setIsBusy] = useState(true);
  const latest = useRef(0);
  async function read(cursor) {
    latest.current += 1;
    const mine = latest.current;
    setIsBusy(true);
    const query = new URLSearchParams();
    if (root !== null) query.set('root', root);
    if (path) query.set('path', path);
    if (cursor) query.set('cursor', cursor);
    try {
      const found = await getJson(`/v1/slides?${query}`);
      if (mine !== latest.current) return;
      setState((before) => ({
        roots: found.roots ?? before.roots,
        entries: cursor ? [...before.entries, ...found.entries] : found.entries ?? null,
        cursor: found.cursor ?? null,
        problem: null,
      }));
    } catch (error) {
      if (mine !== latest.current) return;
      setState((before) => ({ ...before, entries: null, cursor: null, problem: problemOf(error) }));
    }
    setIsBusy(false);
  }
  useEffect(() => {
    setState((before) => ({ ...before, entries: null, cursor: null }));
    read(null);
  }, [root, path]);
  return { ...state, isBusy, read };
}

function Trail({ place, roots, onGo }) {
  if (place.root === null) return null;
  const parts = place.path.split('/').filter(Boolean);
  const name = roots?.find((one) => one.root === place.root)?.name ?? 'folder';
  return html`<nav class="trail" aria-label="Where you are">
    ${roots?.length > 1 && html`<button type="button" class="link"
      onClick=${() => onGo({ root: null, path: '' })}>all folders</button> / `}
    <button type="button" class="link" onClick=${() => onGo({ root: place.root, path: '' })}>
      ${name}</button>
    ${parts.map((part, index) => html` / <button type="button" class="link"
      onClick=${() => onGo({ root: place.root, path: parts.slice(0, index + 1).join('/') })}>
      ${part}</button>`)}</nav>`;
}

function Entry({ entry, onChoose }) {
  const isOther = entry.kind === 'other';
  return html`<button type="button" class="entry" disabled=${isOther} onClick=${onChoose}
      title=${HINTS[entry.kind]}>
    <${Mark} kind=${entry.kind} /><span>${entry.name}</span>
    <small>${entry.kind !== 'folder' && Number.isFinite(entry.bytes) && bytes(entry.bytes)}</small>
    <small>${entry.modified_at && moment(entry.modified_at)}</small></button>`;
}

function Mark({ kind }) {
  return html`<i class="mark mark-${kind}" aria-hidden="true"></i>`;
}

function Empty({ roots, root, entries }) {
  if (root === null && roots?.length === 0) {
    return html`<p class="hint">No folder is allowed yet. Whoever runs this Slidelane names them in
      the setting <code>worker.slides.roots</code>.</p>`;
  }
  if (root !== null && entries?.length === 0) {
    return html`<p class="hint">This folder is empty.</p>`;
  }
  return null;
}

function joined(folder, name) {
  if (!folder) return name;
  return `${folder}/${name}`;
}

/** Let the arrow keys move from entry to entry. */
function moveInList(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const buttons = [...event.currentTarget.querySelectorAll('button:not(:disabled)')];
  const next = buttons[buttons.indexOf(document.activeElement) + step];
  next?.focus();
}
