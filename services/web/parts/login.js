// The login sheet. It lies over the page, so that nothing that was entered is lost.
import { useEffect, useRef, useState } from '../vendor/hooks.js';
import { problemOf, send } from '../api.js';
import { html } from '../html.js';
import { useModal } from './modal.js';
import { ProblemText } from './problem.js';

/** Draw the sheet; `onDone` is called once a key was taken. */
export function Login({ onDone }) {
  const dialog = useRef(null);
  const field = useRef(null);
  const [problem, setProblem] = useState(null);
  const [isBusy, setIsBusy] = useState(false);
  useModal(dialog);
  useEffect(() => field.current.focus(), []);
  function openAgain() {
    dialog.current?.showModal(); // a second Esc closes a dialog whatever its page says
  }

  async function logIn(event) {
    event.preventDefault();
    const key = field.current.value.trim();
    if (!key) return;
    setIsBusy(true);
    try {
      await send('POST', '/v1/session', { body: { key }, waitsForLogin: false });
      field.current.value = '';
      await onDone();
    } catch (error) {
      setProblem(problemOf(error));
      field.current.select();
    }
    setIsBusy(false);
  }
  return html`<dialog class="login" ref=${dialog} aria-labelledby="login-title"
    onCancel=${(event) => event.preventDefault()} onClose=${openAgain}>
    <form onSubmit=${logIn}>
      <h2 id="login-title">Log in</h2>
      <p>This Slidelane asks for an API key. The key is exchanged for a session of this browser and
        is not kept.</p>
      <label>API key
        <input type="password" name="key" ref=${field} autocomplete="off" spellcheck=${false}
          aria-invalid=${problem !== null} aria-describedby="login-problem" required /></label>
      <div id="login-problem" class="login-problem" role="alert">
        ${problem && html`<${ProblemText} fields=${problem.fields} />`}</div>
      <button class="main-action" disabled=${isBusy}>Log in</button>
      <p class="hint">No key? Whoever runs this Slidelane makes one
        with <code>slidelane new-key</code>.</p>
    </form>
  </dialog>`;
}
