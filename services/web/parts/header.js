// The bar at the top: navigation, brightness, and who is logged in.
import { html } from '../html.js';

const LINKS = [
  ['order', 'Order'],
  ['jobs', 'Jobs and logs'],
  ['algorithms', 'Algorithms'],
  ['system', 'System'],
];

/** Draw the bar. `session` is null until it is known. */
export function Header({ page, session, brightness, onBrightness, onLogOut }) {
  let current = page;
  if (page === 'order_view') current = 'jobs';
  return html`<header class="bar">
    <a class="brand" href="#/order" aria-label="Slidelane, start"><i aria-hidden="true">
      </i>Slidelane</a>
    <nav aria-label="Main">
      ${LINKS.map(([name, title]) => html`<a href="#/${name}"
        aria-current=${current === name ? 'page' : undefined}>${title}</a>`)}
      ${session?.flower && html`<a href=${session.flower} target="_blank"
        rel="noreferrer noopener">Flower ↗</a>`}
    </nav>
    <span class="ruo">For research use only</span>
    <${Brightness} value=${brightness} onChange=${onBrightness} />
    <${Who} session=${session} onLogOut=${onLogOut} />
  </header>`;
}

function Brightness({ value, onChange }) {
  const percent = Math.round(value * 100);
  return html`<label class="brightness">
    <span>Brightness</span>
    <input type="range" min="30" max="100" step="5" value=${percent}
      aria-valuetext="${percent} %"
      onInput=${(event) => onChange(event.currentTarget.valueAsNumber / 100)} />
    ${value < 1 && html`<span class="badge" title="Colours on the screen are darker than they are"
      >dimmed</span>`}
  </label>`;
}

function Who({ session, onLogOut }) {
  if (!session) return null;
  if (!session.needs_key) return html`<span class="who">this machine, no keys</span>`;
  if (!session.name) return null;
  const may = session.scopes?.join(', ');
  return html`<span class="who"><span title="may ${may}">${session.name}</span>
    <button class="small" type="button" onClick=${onLogOut}>Log out</button></span>`;
}
