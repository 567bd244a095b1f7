// A page with the slide, its findings and their panel alone. The address says what is shown:
// ?slide=NAME&findings=NAME&mode=rectangle&view=X,Y,Z. The state is read through `window.stage`.
import { h, render } from '/page/version/vendor/preact.js';
import { useRef, useState } from '/page/version/vendor/hooks.js';
import htm from '/page/version/vendor/htm.js';
import { FindingsPanel, defaultStyle } from '/page/version/viewer/findings_panel.js';
import { Stage } from '/page/version/viewer/stage.js';

const html = htm.bind(h);
const query = new URLSearchParams(location.search);

async function getJson(address) {
  const answer = await fetch(address);
  if (!answer.ok) return null;
  return answer.json();
}

function viewOf(text) {
  if (!text) return null;
  const [x, y, z] = text.split(',').map(Number);
  return { x, y, z };
}

function Page({ slide, findings }) {
  const [region, setRegion] = useState(null);
  const [mode, setMode] = useState(query.get('mode') ?? 'pan');
  const [style, setStyle] = useState(() => findings && defaultStyle(findings.document));
  const [inView, setInView] = useState(null);
  const [view, setView] = useState(viewOf(query.get('view')));
  const commands = useRef(null);
  window.stage = { region, mode, style, inView, view, commands, setRegion, setMode, setStyle };
  return html`<${Stage} slide=${slide} findings=${findings} region=${region} onRegion=${setRegion}
      mode=${mode} onMode=${setMode} view=${view} onView=${setView} style=${style}
      onStyle=${setStyle} onInView=${setInView} commands=${commands} />
    <aside>${findings && html`<${FindingsPanel} document=${findings.document} style=${style}
      onStyle=${setStyle} inView=${inView} onNext=${() => commands.current.next()}
      onPrevious=${() => commands.current.previous()} />`}</aside>`;
}

const name = query.get('slide');
const info = await getJson(`/slides/${name}/iiif/info.json`);
const slide = {
  iiif: `/slides/${name}/iiif`,
  width: info?.width ?? 1000,
  height: info?.height ?? 1000,
  mpp_x: info?.mpp ?? null,
};
let findings = null;
if (query.has('findings')) {
  const base = `/results/${query.get('findings')}`;
  findings = { base, document: await getJson(`${base}/findings.json`) };
}
render(html`<${Page} slide=${slide} findings=${findings} />`, document.getElementById('stage'));
