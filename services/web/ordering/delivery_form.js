// Step 4 of an order: where the results go, and what is written on the order.
import { useEffect, useState } from '../vendor/hooks.js';
import { getJson, problemOf } from '../api.js';
import { html } from '../html.js';
import { FieldFaults } from '../parts/problem.js';

const TYPES = {
  techcyte: 'Techcyte', annotation: 'annotation loader', camicroscope: 'caMicroscope',
  webhook: 'webhook',
};
const FIELD_TITLES = {
  task_id: 'Task', jwt_token: 'Token of the task', case_id: 'Case at the destination',
  slide: 'Slide at the destination', api_key_id: 'API key id', api_key_secret: 'API key secret',
  secret: 'Secret', token: 'Token',
};
const SECRETS = new Set(['jwt_token', 'api_key_secret', 'secret', 'token']);

/** Return the named destinations, null until they are known, and the problem of reading them. */
export function useDestinations() {
  const [found, setFound] = useState({ destinations: null, problem: null });
  useEffect(() => {
    getJson('/v1/destinations').then(
      ({ destinations }) => setFound({ destinations, problem: null }),
      (error) => setFound({ destinations: [], problem: problemOf(error) }),
    );
  }, []);
  return found;
}

/**
 * Draw the choice of a destination and the fields that it still needs.
 * @param {{destinations: object[]|null, name: string, fields: object, onName: Function,
 *   onFields: Function, faults: (path: string) => object[], keepsToo?: boolean}} props `name`
 *   empty = the results are kept for pick-up, which `keepsToo` allows
 */
export function DestinationChoice({ destinations, name, fields, onName, onFields, faults,
  keepsToo = true }) {
  const chosen = destinations?.find((one) => one.name === name);
  return html`<label>Deliver to
    <select value=${name} onChange=${(event) => onName(event.currentTarget.value)}>
      ${keepsToo && html`<option value="">Keep here for pick-up</option>`}
      ${!keepsToo && html`<option value="">Choose …</option>`}
      ${destinations?.map((one) => html`<option value=${one.name}>
        ${one.name} (${TYPES[one.type] ?? one.type})</option>`)}</select></label>
    <${FieldFaults} id="destination-faults" faults=${faults('')} />
    ${chosen?.needs?.map((field) => html`<label key=${field}>${FIELD_TITLES[field] ?? field}
      <input type=${SECRETS.has(field) ? 'password' : 'text'} autocomplete="off" spellcheck=${false}
        value=${fields[field] ?? ''} aria-invalid=${faults(field).length > 0 || undefined}
        onInput=${(event) => onFields({ ...fields, [field]: event.currentTarget.value })} />
      <${FieldFaults} id="destination-${field}" faults=${faults(field)} /></label>`)}`;
}

/** Return the destination as an order has it; undefined = kept for pick-up. */
export function destinationOf(name, fields, destinations) {
  if (!name) return undefined;
  const needs = destinations?.find((one) => one.name === name)?.needs ?? [];
  const given = needs.filter((field) => fields[field]);
  if (given.length === 0) return name;
  return { name, ...Object.fromEntries(given.map((field) => [field, fields[field]])) };
}

/** Return the fields without those that are secret. */
export function withoutSecrets(fields) {
  return Object.fromEntries(Object.entries(fields).filter(([name]) => !SECRETS.has(name)));
}

/** Draw the step: destination, case and priority. */
export function DeliveryForm({ destinations, draft, onDraft, faults }) {
  return html`<section class="step">
    <h2><span class="step-number">4</span>Deliver to</h2>
    <${DestinationChoice} destinations=${destinations} name=${draft.destination}
      fields=${draft.destinationFields} onName=${(destination) => onDraft({ destination })}
      onFields=${(destinationFields) => onDraft({ destinationFields })}
      faults=${(field) => faults(field ? `destination.${field}` : 'destination')} />
    <div class="pair">
      <label>Case <small class="unit">(may be empty)</small>
        <input type="text" maxlength="256" autocomplete="off" value=${draft.caseLabel}
          onInput=${(event) => onDraft({ caseLabel: event.currentTarget.value })} />
        <${FieldFaults} id="case-faults" faults=${faults('labels.case')} /></label>
      <label>Priority
        <select value=${draft.priority}
          onChange=${(event) => onDraft({ priority: event.currentTarget.value })}>
          ${['low', 'normal', 'high', 'urgent'].map((one) => html`<option>${one}</option>`)}
            </select>
        <${FieldFaults} id="priority-faults" faults=${faults('priority')} /></label>
    </div>
  </section>`;
}
