// The part "Order": a slide, an algorithm, a region and a destination become an order.
import { useEffect, useRef, useState } from '../vendor/hooks.js';
import { getJson, postJson, problemOf, randomId } from '../api.js';
import { html } from '../html.js';
import { orderAddress } from '../router.js';
import { announce } from '../parts/announce.js';
import { AlgorithmChoice } from '../ordering/algorithm_choice.js';
import { DeliveryForm, useDestinations } from '../ordering/delivery_form.js';
import {
  bodyOf, forgetSecrets, missingOf, useDraft, useResetForSlide,
} from '../ordering/draft.js';
import { rangeFaults, textFaults } from '../ordering/parameter_schema.js';
import { faultsAt, Preflight, usePreflight } from '../ordering/preflight.js';
import { FieldFaults, ProblemText } from '../parts/problem.js';
import { cornerFaults, isComplete, middleOf, RegionForm } from '../ordering/region_form.js';
import { SlideChoice } from '../ordering/slide_choice.js';
import { useSlideLook } from '../ordering/slide_look.js';
import { Stage } from '../viewer/stage.js';

const MODES = { whole: 'pan', rectangle: 'rectangle', polygon: 'polygon' };
const OWN_FIELDS = [
  'scans[0].roi', 'scans[0].mpp', 'scans[0].source', 'algorithm', 'parameters', 'destination',
  'labels.case', 'priority',
];

/** Draw the part. `dimmed` says that the screen is darker than it should be. */
export function OrderPage({ dimmed }) {
  const [draft, setDraft] = useDraft();
  const [isDrawing, setIsDrawing] = useState(draft.regionKind !== 'whole');
  const look = useSlideLook();
  const { destinations, problem: destinationsProblem } = useDestinations();
  const { algorithms, problem: algorithmsProblem } = useAlgorithms(draft, setDraft);
  const algorithm = algorithms?.find((one) => one.name === draft.algorithm);
  const wrong = [
    ...rangeFaults(algorithm?.parameters, draft.parameters[draft.algorithm] ?? {}),
    ...textFaults(algorithm?.parameters, draft.unreadParameters[draft.algorithm] ?? {}),
    ...cornerFaults(draft.unreadCorners),
  ];
  let missing = missingOf(draft, look.slide, algorithm);
  if (wrong.length) missing = 'Correct what is marked.';
  const body = missing ? null : bodyOf(draft, look.slide, destinations);
  const preflight = usePreflight(body);
  const sending = useSending(body);
  const problem = sending.problem ?? preflight.problem;
  const faults = (path) => [...faultsAt({ faults: wrong }, path), ...faultsAt(problem, path)];
  useResetForSlide(look.slide, draft, setDraft);

  function setRegion(region) {
    setDraft({ region, unreadCorners: undefined });
  }
  function setKind(regionKind) {
    setIsDrawing(true);
    if (regionKind === draft.regionKind) return;
    let region = null;
    if (regionKind === 'rectangle' && look.slide) region = middleOf(look.slide);
    setDraft({ regionKind });
    setRegion(region);
  }
  function setMode(mode) {
    if (mode === 'pan') setIsDrawing(false); // what was drawn stays
    else setKind(mode);
  }
  function onKey(event) {
    if (event.key === 'Enter' && event.ctrlKey && !event.target.closest('dialog')) {
      event.preventDefault();
      sending.send();
    }
  }
  return html`<div class="desk desk-order" onKeyDown=${onKey}>
    <h1 class="unseen">Order</h1>
    <div class="panel panel-left">
      <${SlideChoice} look=${look} faults=${faults('scans[0].source')} />
      <${AlgorithmChoice} algorithms=${algorithms} problem=${algorithmsProblem} draft=${draft}
        onDraft=${setDraft} faults=${faults} />
      <${RegionForm} slide=${look.slide} kind=${draft.regionKind} region=${draft.region}
        unread=${draft.unreadCorners} faults=${faults('scans[0].roi')} onKind=${setKind}
        onRegion=${setRegion} onUnread=${(unreadCorners) => setDraft({ unreadCorners })} />
      <${MppField} slide=${look.slide} draft=${draft} onDraft=${setDraft} problem=${problem} />
      <${DeliveryForm} destinations=${destinations} draft=${draft} onDraft=${setDraft}
        faults=${faults} />
      ${destinationsProblem && html`<p class="warning">The named destinations cannot be read:
        ${destinationsProblem.message}</p>`}
      <div class="order-foot">
        <${Preflight} answer=${preflight} />
        <${OtherFaults} problem=${problem} />
        <p class="hint" id="order-missing">${missing}</p>
        <button type="button" class="main-action" disabled=${sending.isBusy || missing !== ''}
          aria-describedby="order-missing" onClick=${sending.send}>Order
          <kbd aria-hidden="true">Ctrl ↵</kbd></button>
      </div>
    </div>
    <section class="stage" aria-label="Slide">
      ${look.slide ? html`<${Stage} key=${look.slide.id} slide=${look.slide} findings=${null}
        region=${isComplete(draft.region) ? draft.region : null} view=${null} dimmed=${dimmed}
        mode=${isDrawing ? MODES[draft.regionKind] : 'pan'}
        onRegion=${setRegion} onView=${() => {}} onMode=${setMode} />`
        : html`<${NoSlide} look=${look} />`}
    </section>
  </div>`;
}

function NoSlide({ look }) {
  if (look.task) return html`<p class="stage-empty">${look.task.title} …</p>`;
  return html`<div class="stage-empty"><p><strong>No slide yet</strong></p>
    <p>Drop one anywhere on this page, or choose one on the left.</p></div>`;
}

function useAlgorithms(draft, setDraft) {
  const [state, setState] = useState({ algorithms: null, problem: null });
  useEffect(() => {
    getJson('/v1/algorithms').then(
      ({ algorithms }) => {
        setState({ algorithms, problem: null });
        const usable = algorithms.filter((one) => one.available);
        const isThere = usable.some((one) => one.name === draft.algorithm);
        // One that reads pixels comes first: others are for trying a route out.
        const first = usable.find((one) => one.mpp) ?? usable[0];
        if (!isThere && first) setDraft({ algorithm: first.name });
      },
      (error) => setState({ algorithms: [], problem: problemOf(error) }),
    );
  }, []);
  return state;
}

/** Send an order once: a repeated click repeats the same request, not the order. */
function useSending(body) {
  const [isBusy, setIsBusy] = useState(false);
  const [problem, setProblem] = useState(null);
  const key = useRef({ text: '', id: '' });
  const text = JSON.stringify(body);
  useEffect(() => setProblem(null), [text]);

  async function send() {
    if (body === null || isBusy) return;
    if (key.current.text !== text) key.current = { text, id: randomId() };
    setIsBusy(true);
    setProblem(null);
    try {
      const headers = { 'idempotency-key': key.current.id };
      const order = await postJson('/v1/orders', body, { headers });
      key.current = { text: '', id: '' };
      forgetSecrets();
      announce(`The order is ${order.state}`);
      location.hash = orderAddress(order.id, order.scans[0].id);
    } catch (error) {
      setProblem(problemOf(error));
    }
    setIsBusy(false);
  }
  return { send, isBusy, problem };
}

function MppField({ slide, draft, onDraft, problem }) {
  const faults = faultsAt(problem, 'scans[0].mpp');
  const isAsked = faults.length > 0 || problem?.fields.code === 'mpp_missing';
  if (!slide || (slide.mpp_x && !isAsked)) return null;
  return html`<section class="step mpp"><label>Size of a pixel <small class="unit">µm</small>
    <input type="number" min="0.01" max="100" step="any" value=${draft.mpp}
      aria-describedby="mpp-about mpp-fault" aria-invalid=${isAsked || undefined}
      onInput=${(event) => onDraft({ mpp: event.currentTarget.value })} /></label>
    <p class="hint" id="mpp-about">The slide does not say it: 0.25 is usual at 40×, 0.5 at 20×.</p>
    <${FieldFaults} id="mpp-fault" faults=${faults} /></section>`;
}

/** Draw the faults that belong to no input of the form. */
function OtherFaults({ problem }) {
  if (!problem) return null;
  const others = problem.faults.filter(
    ({ field = '' }) => !OWN_FIELDS.some((own) => field === own || field.startsWith(`${own}.`)
      || field.startsWith(`${own}[`)),
  );
  return others.map((fields) => html`<div class="problem" role="alert">
    <${ProblemText} fields=${{ title: problem.fields.title, ...fields }} /></div>`);
}
