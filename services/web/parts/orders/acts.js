// What can be done with an order: cancel it, try it again, deliver it again or somewhere else.
import { useState } from '../../vendor/hooks.js';
import { postJson, problemOf } from '../../api.js';
import { html } from '../../html.js';
import { DestinationChoice, destinationOf, useDestinations } from '../../ordering/delivery_form.js';
import { faultsAt } from '../../ordering/preflight.js';
import { announce } from '../announce.js';
import { ProblemBox } from '../problem.js';
import { allowedActs } from './state.js';

/** Draw the buttons; `onDone` reads the order again. */
export function Acts({ order, onDone }) {
  const [problem, setProblem] = useState(null);
  const [isBusy, setIsBusy] = useState(false);
  const [asksWhere, setAsksWhere] = useState(false);
  const acts = allowedActs(order);
  const mayDeliver = acts.has('deliver') || acts.has('deliver_elsewhere');

  async function act(name, body) {
    setIsBusy(true);
    setProblem(null);
    try {
      await postJson(`/v1/orders/${encodeURIComponent(order.id)}/${name}`, body);
      setAsksWhere(false);
      announce(`Done: ${name}`);
      onDone();
    } catch (error) {
      setProblem(problemOf(error));
    }
    setIsBusy(false);
  }
  return html`<section class="card acts-card"><h2 class="unseen">Actions</h2>
    <div class="acts">
      <button type="button" disabled=${isBusy || !acts.has('cancel')}
        onClick=${() => act('cancel')}>
        Cancel</button>
      <button type="button" disabled=${isBusy || !acts.has('retry')} onClick=${() => act('retry')}>
        Retry</button>
      <button type="button" disabled=${isBusy || !mayDeliver} aria-expanded=${asksWhere}
        onClick=${() => setAsksWhere(!asksWhere)}>Deliver again</button></div>
    ${asksWhere && mayDeliver && html`<${Where} order=${order} problem=${problem} isBusy=${isBusy}
      hasOld=${acts.has('deliver')} onDeliver=${(body) => act('deliver', body)} />`}
    ${problem && html`<${ProblemBox} problem=${problem} />`}
  </section>`;
}

/** Ask where to; the old destination of a delivered order is gone with its token. */
function Where({ order, problem, isBusy, hasOld, onDeliver }) {
  const { destinations } = useDestinations();
  const [name, setName] = useState('');
  const [fields, setFields] = useState({});
  const faults = (field) => faultsAt(problem, field ? `destination.${field}` : 'destination');
  const destination = destinationOf(name, fields, destinations);
  const old = order.destination.name ?? order.destination.type;
  return html`<form class="where" onSubmit=${(event) => {
      event.preventDefault();
      onDeliver(destination === undefined ? undefined : { destination });
    }}>
    <p class="hint">${hasOld ? `Without a choice it goes to ${old} again.`
      : 'It was delivered, and the credentials are forgotten: choose where it goes now.'}</p>
    <${DestinationChoice} destinations=${destinations} name=${name} fields=${fields}
      onName=${setName} onFields=${setFields} faults=${faults} keepsToo=${false} />
    <button disabled=${isBusy || (!hasOld && !name)}>Deliver</button></form>`;
}
