// Inputs that keep what is being typed: the page is drawn again while somebody types.
import { useRef, useState } from '../vendor/hooks.js';
import { html } from '../html.js';

const PAUSE_MS = 500;

/**
 * Draw an input for a number.
 * @param {{value: number|null, onValue: (value: number|null) => void}} props and attributes of the
 *   input; `onValue` gets null when the field is emptied
 */
export function NumberField({ value, onValue, ...attributes }) {
  const [typed, setTyped] = useState(null);
  function changed(event) {
    const field = event.currentTarget;
    setTyped(field.value);
    if (field.validity.badInput) return; // such as a lone minus, before its digits
    if (field.value === '') onValue(null);
    else if (Number.isFinite(field.valueAsNumber)) onValue(field.valueAsNumber);
  }
  return html`<input type="number" ...${attributes} value=${shownOf(typed, value)}
    onInput=${changed} onBlur=${() => setTyped(null)} />`;
}

/** The arrow keys change the value: then it is shown, and not what was typed before. */
function shownOf(typed, value) {
  const isOld = typed !== null && typed !== '' && value !== null && Number(typed) !== value;
  if (typed === null || isOld) return value ?? '';
  return typed;
}

/**
 * Draw an input for a text that is used once somebody pauses, presses Enter or leaves it.
 * @param {{value: string, onValue: (value: string) => void}} props and attributes of the input
 */
export function TextField({ value, onValue, ...attributes }) {
  const [typed, setTyped] = useState(null);
  const timer = useRef(null);
  function use(text) {
    clearTimeout(timer.current);
    if (text !== value) onValue(text);
  }
  function changed(event) {
    const text = event.currentTarget.value;
    setTyped(text);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => use(text), PAUSE_MS);
  }
  function left(event) {
    use(event.currentTarget.value);
    setTyped(null);
  }
  const entered = (event) => event.key === 'Enter' && use(event.currentTarget.value);
  return html`<input ...${attributes} value=${typed ?? value} onInput=${changed} onBlur=${left}
    onKeyDown=${entered} />`;
}

/**
 * Draw an input for a text that is read with every key.
 * @param {{value: string, unread: string|undefined, onText: (text: string) => void,
 *   isLong?: boolean}} props and attributes of the input; `value` is the text of what was read
 *   last, `unread` a text that cannot be read, which stays until it is corrected; `isLong` =
 *   several lines
 */
export function ReadField({ value, unread, onText, isLong = false, ...attributes }) {
  const [typed, setTyped] = useState(null);
  function changed(event) {
    const text = event.currentTarget.value;
    setTyped(text);
    onText(text);
  }
  const shared = {
    ...attributes, value: unread ?? typed ?? value, onInput: changed, onBlur: () => setTyped(null),
  };
  if (isLong) return html`<textarea ...${shared}></textarea>`;
  return html`<input type="text" ...${shared} />`;
}
