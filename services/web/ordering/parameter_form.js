// The form of an algorithm's parameters, made from its JSON schema. The server stays the judge.
import { html } from '../html.js';
import { fieldsOf, same } from './parameter_schema.js';
import { FieldFaults } from '../parts/problem.js';
import { NumberField, ReadField } from '../parts/typed_field.js';

/**
 * Draw the form.
 * @param {{schema: object, values: object, unread: object, faults: (name: string) => object[],
 *   onChange: (values: object, unread: object) => void}} props `values` holds what differs from
 *   the defaults, `unread` the texts that cannot be read; both by name
 */
export function ParameterForm({ schema, values, unread, faults, onChange }) {
  const fields = fieldsOf(schema).filter((field) => field.kind !== 'const');
  if (fields.length === 0) return html`<p class="hint">It has nothing to set.</p>`;

  function set(field, value) {
    const others = without(values, field.name);
    const left = without(unread, field.name);
    if (value === undefined || same(value, field.default)) onChange(others, left);
    else onChange({ ...others, [field.name]: value }, left);
  }
  function keep(field, text) {
    onChange(values, { ...unread, [field.name]: text });
  }
  return html`<div class="parameters">${fields.map((field) => html`<${Field} key=${field.name}
    field=${field} value=${values[field.name] ?? (field.name in values ? null : field.default)}
    unread=${unread[field.name]} isChanged=${field.name in values || field.name in unread}
    faults=${faults(field.name)} onSet=${(value) => set(field, value)}
    onUnread=${(text) => keep(field, text)} />`)}</div>`;
}

function without(members, name) {
  const { [name]: _, ...others } = members;
  return others;
}

function Field({ field, value, unread, isChanged, faults, onSet, onUnread }) {
  const id = `parameter-${field.name}`;
  const about = `${id}-about`;
  const wrong = `${id}-fault`;
  const shared = {
    id, 'aria-describedby': `${about} ${wrong}`, 'aria-invalid': faults.length > 0 || undefined,
  };
  return html`<div class="parameter ${isChanged ? 'is-changed' : ''}">
    <label for=${id}>${field.title}${field.unit && html` <small class="unit">${field.unit}</small>`}
      ${isChanged && html`<span class="changed">changed</span>`}</label>
    <span class="parameter-input"><${Input} field=${field} value=${value} unread=${unread}
      shared=${shared} onSet=${onSet} onUnread=${onUnread} />
      ${isChanged && html`<button type="button" class="small" title="Back to the default"
        onClick=${() => onSet(undefined)}><span aria-hidden="true">↺</span><span class="unseen"
        >Reset ${field.title}</span></button>`}</span>
    <small class="about" id=${about}>${field.description}${range(field)}</small>
    <${FieldFaults} id=${wrong} faults=${faults} />
  </div>`;
}

function range({ minimum, maximum, kind }) {
  if (kind !== 'number' && kind !== 'integer') return '';
  if (minimum !== undefined && maximum !== undefined) return ` (${minimum} to ${maximum})`;
  if (minimum !== undefined) return ` (from ${minimum})`;
  if (maximum !== undefined) return ` (up to ${maximum})`;
  return '';
}

function Input({ field, value, unread, shared, onSet, onUnread }) {
  switch (field.kind) {
    case 'number':
    case 'integer': return html`<${NumberInput} field=${field} value=${value} shared=${shared}
      onSet=${onSet} />`;
    case 'boolean': return html`<${TruthInput} field=${field} value=${value} shared=${shared}
      onSet=${onSet} />`;
    case 'choice': return html`<${ChoiceInput} field=${field} value=${value} shared=${shared}
      onSet=${onSet} />`;
    case 'text': return html`<input type="text" ...${shared} value=${value ?? ''}
      placeholder=${field.takesAuto ? 'auto' : undefined} maxlength=${field.schema.maxLength}
      onInput=${(event) => onSet(textOr(event.currentTarget.value, field))} />`;
    default: return html`<${JsonInput} field=${field} value=${value} unread=${unread}
      shared=${shared} onSet=${onSet} onUnread=${onUnread} />`;
  }
}

function textOr(text, field) {
  if (text === '' && field.takesAuto) return null;
  return text;
}

function NumberInput({ field, value, shared, onSet }) {
  const step = field.step ?? (field.kind === 'integer' ? 1 : 'any');
  const emptied = field.takesAuto ? null : undefined; // undefined = the default
  return html`<${NumberField} ...${shared} value=${value ?? null} step=${step}
    min=${field.minimum} max=${field.maximum} placeholder=${field.takesAuto ? 'auto' : undefined}
    onValue=${(number) => onSet(number ?? emptied)} />`;
}

function TruthInput({ field, value, shared, onSet }) {
  if (!field.takesAuto) {
    return html`<input type="checkbox" ...${shared} checked=${value === true}
      onChange=${(event) => onSet(event.currentTarget.checked)} />`;
  }
  return html`<${ChoiceInput} field=${{ ...field, choices: [true, false] }} value=${value}
    shared=${shared} onSet=${onSet} />`;
}

function ChoiceInput({ field, value, shared, onSet }) {
  const choices = field.takesAuto && !field.choices.includes(null)
    ? [null, ...field.choices] : field.choices;
  const chosen = choices.findIndex((choice) => same(choice, value ?? null));
  return html`<select ...${shared} value=${String(chosen)}
    onChange=${(event) => onSet(choices[Number(event.currentTarget.value)])}>
    ${choices.map((choice, index) => html`<option value=${String(index)}>${wordOf(choice)}
      </option>`)}
  </select>`;
}

function wordOf(choice) {
  if (choice === null) return 'auto';
  if (choice === true) return 'yes';
  if (choice === false) return 'no';
  return String(choice);
}

/** A box for what has no input of its own: numbers with commas between them, or JSON. */
function JsonInput({ field, value, unread, shared, onSet, onUnread }) {
  function changed(text) {
    let read;
    try {
      read = fromText(field, text);
    } catch {
      onUnread(text);
      return;
    }
    onSet(read);
  }
  return html`<${ReadField} ...${shared} value=${asText(field, value)} unread=${unread}
    onText=${changed} placeholder=${field.takesAuto ? 'auto' : undefined} spellcheck=${false} />`;
}

function asText(field, value) {
  if (value === null || value === undefined) return '';
  if (field.kind === 'numbers') return value.join(', ');
  return JSON.stringify(value);
}

function fromText(field, text) {
  if (text.trim() === '') return field.takesAuto ? null : undefined;
  if (field.kind === 'numbers') return JSON.parse(`[${text}]`);
  return JSON.parse(text);
}
