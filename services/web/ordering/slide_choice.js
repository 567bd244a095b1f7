// Step 1 of an order: the slide. From a drop, from files, from a folder of the server, by URL.
import { useEffect, useRef, useState } from '../vendor/hooks.js';
import { bytes, number } from '../format.js';
import { html } from '../html.js';
import { droppedFiles } from './dropped_files.js';
import { Meter } from '../parts/meter.js';
import { FieldFaults, ProblemText } from '../parts/problem.js';
import { ServerFolder } from './server_folder.js';

const WHOSE_WORD = {
  slide: 'says the slide', order: 'says this order', caller: 'says this order',
};

/**
 * Draw the choice of a slide.
 * @param {{look: ReturnType<import('./slide_look.js').useSlideLook>, faults: object[]}} props
 */
export function SlideChoice({ look, faults }) {
  const [shown, setShown] = useState('');
  const files = useRef(null);
  const folder = useRef(null);
  usePageDrop(look.upload);

  function chosen(event) {
    const list = [...event.currentTarget.files];
    event.currentTarget.value = '';
    const given = list.map((file) => ({ file, path: file.webkitRelativePath || file.name }));
    if (given.length) look.upload(given);
  }
  function lookAt(source) {
    setShown('');
    look.look(source);
  }
  const hasSlide = look.slide !== null || look.task !== null;
  return html`<section class="step">
    <h2><span class="step-number">1</span>Slide</h2>
    ${!hasSlide && html`<div class="drop"><strong>Drop a slide here</strong>
      <span>a file, several files, or a folder</span></div>`}
    ${look.task && html`<${Task} task=${look.task} onStop=${look.stop} />`}
    ${look.slide && html`<${Chosen} slide=${look.slide} onClear=${look.clear} />`}
    ${look.problem && html`<div class="problem" role="alert">
      <${ProblemText} fields=${look.problem.fields} />
      ${look.canRepeat && html`<button type="button" onClick=${look.repeat}>Try again</button>`}
        </div>`}
    <${FieldFaults} id="slide-faults" faults=${faults} />
    <div class="ways" role="group" aria-label="Ways to give a slide">
      <button type="button" onClick=${() => files.current.click()}>Choose files</button>
      <button type="button" onClick=${() => folder.current.click()}>Choose folder</button>
      <button type="button" onClick=${() => setShown('server')}>Server folder</button>
      <button type="button" aria-expanded=${shown === 'url'}
        onClick=${() => setShown(shown === 'url' ? '' : 'url')}>URL</button>
    </div>
    <input type="file" multiple hidden ref=${files} onChange=${chosen} aria-label="Slide files" />
    <input type="file" webkitdirectory hidden ref=${folder} onChange=${chosen}
      aria-label="Slide folder" />
    ${shown === 'url' && html`<${UrlForm} onLook=${lookAt} />`}
    ${shown === 'server' && html`<${ServerFolder} onClose=${() => setShown('')}
      onChoose=${lookAt} />`}
  </section>`;
}

/** Let files be dropped anywhere on the page while the component is shown. */
function usePageDrop(upload) {
  const latest = useRef(upload);
  latest.current = upload;
  useEffect(() => {
    const over = (event) => {
      if (!event.dataTransfer?.types.includes('Files')) return;
      event.preventDefault();
      document.documentElement.classList.add('is-dropping');
    };
    const leave = (event) => {
      if (event.relatedTarget === null) document.documentElement.classList.remove('is-dropping');
    };
    const drop = async (event) => {
      document.documentElement.classList.remove('is-dropping');
      if (!event.dataTransfer?.types.includes('Files')) return;
      event.preventDefault();
      const found = await droppedFiles(event.dataTransfer);
      if (found.length) latest.current(found);
    };
    addEventListener('dragover', over);
    addEventListener('dragleave', leave);
    addEventListener('drop', drop);
    return () => {
      removeEventListener('dragover', over);
      removeEventListener('dragleave', leave);
      removeEventListener('drop', drop);
    };
  }, []);
}

function UrlForm({ onLook }) {
  const field = useRef(null);
  useEffect(() => field.current.focus(), []);
  function sent(event) {
    event.preventDefault();
    const url = field.current.value.trim();
    field.current.value = ''; // it may hold a signature
    if (url) onLook({ type: 'url', url });
  }
  return html`<form class="url" onSubmit=${sent} autocomplete="off">
    <label>Address of the slide
      <input type="url" ref=${field} autocomplete="off" spellcheck=${false}
        placeholder="https://…" required /></label>
    <button>Look at it</button>
    <p class="hint">It is sent once, kept encrypted, and never shown again.</p></form>`;
}

function Task({ task, onStop }) {
  const known = task.total > 0;
  const percent = known ? (100 * task.done) / task.total : null;
  let amount = task.text;
  if (known) amount = `${bytes(task.done)} of ${bytes(task.total)}`;
  if (known && task.rate) amount += ` · ${bytes(task.rate)}/s`;
  return html`<div class="task" aria-live="off">
    <p><strong>${task.title}</strong> <span class="hint">${task.name}</span></p>
    <${Meter} name=${task.title} percent=${percent} text=${amount} />
    <p class="task-line"><span class="hint">${amount}</span>
      <button type="button" class="small" onClick=${onStop}>Stop</button></p></div>`;
}

function Chosen({ slide, onClear }) {
  const side = slide.width >= slide.height ? '160,' : ',120';
  let scale = 'size of a pixel not known';
  if (slide.mpp_x) {
    const whose = WHOSE_WORD[slide.mpp_source];
    scale = `${number(slide.mpp_x)} µm/px${whose ? `, ${whose}` : ''}`;
  }
  return html`<div class="chosen">
    <img alt="" src="${slide.iiif}/full/${side}/0/default.jpg" />
    <div><strong title=${slide.name}>${slide.name}</strong>
      <span>${number(slide.width)} × ${number(slide.height)} px</span>
      <span>${scale}</span>
      ${slide.vendor && html`<span>${slide.vendor}</span>`}</div>
    <button type="button" class="small" aria-label="Remove the slide" title="Remove the slide"
      onClick=${onClear}>✕</button></div>`;
}
