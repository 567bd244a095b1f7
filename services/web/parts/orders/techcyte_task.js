// A task of Techcyte by hand: what a debug request writes into a task's notes becomes its order.
import { useState } from '../../vendor/hooks.js';
import { postJson, Problem, problemOf } from '../../api.js';
import { html } from '../../html.js';
import { announce } from '../announce.js';
import { ProblemBox } from '../problem.js';
import { orderAddress } from '../../router.js';

const NOT_JSON = {
  code: 'request_invalid',
  title: 'This is no task',
  detail: 'The text is not JSON.',
  hint: 'copy all of the notes, from the first { to the last }',
};

/** Draw the form; it opens the order that the task has become. */
export function TechcyteTask() {
  const [text, setText] = useState('');
  const [webhook, setWebhook] = useState('');
  const [problem, setProblem] = useState(null);
  const [isBusy, setIsBusy] = useState(false);

  async function order(event) {
    event.preventDefault();
    setIsBusy(true);
    setProblem(null);
    try {
      const placed = await postJson(addressOf(webhook), taskOf(text));
      // It holds the task's token: nothing keeps it.
      setText('');
      announce('Ordered');
      location.hash = orderAddress(placed.id, placed.scans[0].id);
    } catch (error) {
      setProblem(problemOf(error));
    }
    setIsBusy(false);
  }
  return html`<details class="techcyte-task"><summary>Order a task of Techcyte</summary>
    <form onSubmit=${order}>
      <label class="stacked">Task, as the notes of a debug request show it
        <textarea rows="6" required autocomplete="off" spellcheck=${false} value=${text}
          onInput=${(event) => setText(event.currentTarget.value)}></textarea></label>
      <label class="stacked">Name of the webhook, where there are several
        <input type="text" autocomplete="off" maxlength="64" value=${webhook}
          onInput=${(event) => setWebhook(event.currentTarget.value)} /></label>
      ${problem && html`<${ProblemBox} problem=${problem} />`}
      <button disabled=${isBusy || text.trim() === ''}>Order the task</button></form>
  </details>`;
}

function addressOf(webhook) {
  const name = webhook.trim();
  if (!name) return '/v1/techcyte/tasks';
  return `/v1/techcyte/tasks?${new URLSearchParams({ webhook: name })}`;
}

function taskOf(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Problem(NOT_JSON, 0);
  }
}
