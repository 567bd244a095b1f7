// Step 2 of an order: the algorithm and its parameters.
import { html } from '../html.js';
import { ParameterForm } from './parameter_form.js';
import { FieldFaults } from '../parts/problem.js';

/**
 * Draw the choice.
 * @param {{algorithms: object[]|null, problem: object|null, draft: object, onDraft: Function,
 *   faults: (path: string) => object[]}} props `algorithms` is null until they are known
 */
export function AlgorithmChoice({ algorithms, problem, draft, onDraft, faults }) {
  const chosen = algorithms?.find((one) => one.name === draft.algorithm);
  function setParameters(values, unread) {
    onDraft({
      parameters: { ...draft.parameters, [chosen.name]: values },
      unreadParameters: { ...draft.unreadParameters, [chosen.name]: unread },
    });
  }
  return html`<section class="step">
    <h2><span class="step-number">2</span>Algorithm</h2>
    <label class="unseen" for="algorithm">Algorithm</label>
    <select id="algorithm" value=${draft.algorithm} disabled=${!algorithms?.length}
      aria-describedby="algorithm-about algorithm-faults"
      onChange=${(event) => onDraft({ algorithm: event.currentTarget.value })}>
      ${!chosen && html`<option value="">${algorithms === null ? 'One moment …' : 'Choose …'}
        </option>`}
      ${algorithms?.map((one) => html`<option value=${one.name} disabled=${!one.available}>
        ${one.title ?? one.name}${one.available ? '' : ' — not available'}</option>`)}</select>
    <div id="algorithm-about">
      ${chosen && html`<${About} algorithm=${chosen} />`}
      ${algorithms?.length === 0 && !problem && html`<p class="hint">No algorithm yet: a worker
        announces them, and none has. <a href="#/system">System</a> shows which are up.</p>`}
      ${problem && html`<p class="warning">The algorithms cannot be read: ${problem.message}</p>`}
    </div>
    <${Unavailable} algorithms=${algorithms} />
    <${FieldFaults} id="algorithm-faults" faults=${faults('algorithm')} />
    ${chosen?.parameters && html`<details class="set" open key=${chosen.name}>
      <summary>Parameters${changedText(draft.parameters[chosen.name])}</summary>
      <${ParameterForm} schema=${chosen.parameters} values=${draft.parameters[chosen.name] ?? {}}
        unread=${draft.unreadParameters[chosen.name] ?? {}}
        faults=${(name) => faults(`parameters.${name}`)}
        onChange=${setParameters} />
    </details>`}
    <${FieldFaults} id="parameters-faults" faults=${unknownFaults(faults, chosen)} />
  </section>`;
}

function changedText(values) {
  const count = Object.keys(values ?? {}).length;
  if (count === 0) return '';
  return `, ${count} changed`;
}

function About({ algorithm }) {
  const facts = [`${algorithm.name} ${algorithm.version}`, ...(algorithm.stains ?? [])];
  if (algorithm.mpp) facts.push(`${algorithm.mpp} µm/px`);
  return html`<p class="hint">${algorithm.description}</p>
    <p class="hint facts">${facts.join(' · ')}</p>
    ${!algorithm.available && html`<p class="warning">${algorithm.reason}</p>`}`;
}

function Unavailable({ algorithms }) {
  const others = algorithms?.filter((one) => !one.available) ?? [];
  if (others.length === 0) return null;
  return html`<details class="unavailable"><summary>${others.length} not available</summary>
    ${others.map((one) => html`<p class="hint"><strong>${one.title ?? one.name}
      </strong>: ${one.reason}</p>`)}
  </details>`;
}

/** Return the faults of parameters that the form does not show. */
function unknownFaults(faults, chosen) {
  const shown = Object.keys(chosen?.parameters?.properties ?? {});
  return faults('parameters').filter(({ field }) => !shown.some(
    (name) => field === `parameters.${name}` || field.startsWith(`parameters.${name}.`)
      || field.startsWith(`parameters.${name}[`),
  ));
}
