// The page: who is logged in, which part is shown, and what stands above all of them.
import { render } from './vendor/preact.js';
import { useEffect, useRef, useState } from './vendor/hooks.js';
import { getJson, loginDone, onLogin, Problem, problemOf, send } from './api.js';
import { html } from './html.js';
import { Announcer } from './parts/announce.js';
import { Header } from './parts/header.js';
import { Login } from './parts/login.js';
import { ProblemBox } from './parts/problem.js';
import { AlgorithmsPage } from './pages/algorithms.js';
import { JobsPage } from './pages/jobs.js';
import { OrderPage } from './pages/order.js';
import { OrderView } from './pages/order_view.js';
import { SystemPage } from './pages/system.js';
import { shortId } from './format.js';
import { useAddress } from './router.js';

const TITLES = {
  order: 'Order',
  jobs: 'Jobs and logs',
  algorithms: 'Algorithms',
  system: 'System',
  unknown: 'Not found',
};
const NOT_KEPT = {
  code: 'session_not_kept',
  title: 'You are not logged in',
  detail: 'The browser did not keep the session: its cookie did not come back.',
  hint: 'allow cookies for this address; inside another site, open the page in a tab of its own',
};
const BRIGHTNESS = 'slidelane.brightness';

function App() {
  const address = useAddress();
  const [session, setSession] = useState(null);
  const [problem, setProblem] = useState(null);
  const [asksForLogin, setAsksForLogin] = useState(false);
  const [brightness, setBrightness] = useBrightness();
  const content = useRef(null);

  async function readSession() {
    try {
      const found = await currentSession();
      if (found !== null) setSession(found);
      setProblem(null);
      setAsksForLogin(found === null);
    } catch (error) {
      setProblem(problemOf(error));
    }
  }
  useEffect(() => { readSession(); }, []);
  useEffect(() => onLogin(setAsksForLogin), []);
  useTitle(address);
  useFocusOnChange(address, content);

  async function afterLogin() {
    const found = await currentSession();
    if (found === null) throw new Problem(NOT_KEPT, 0);
    setSession(found);
    setProblem(null);
    setAsksForLogin(false);
    loginDone();
  }
  async function logOut() {
    try {
      await send('DELETE', '/v1/session', { waitsForLogin: false });
      location.reload(); // slides, forms and answers of this person are in the memory of the page
    } catch (error) {
      setProblem(problemOf(error));
    }
  }
  function skip(event) {
    event.preventDefault(); // the part after # is the address of the page
    content.current.focus();
  }
  const isReady = session !== null;
  return html`
    <a class="skip" href="#content" onClick=${skip}>Skip to content</a>
    <${Header} page=${address.page} session=${session} brightness=${brightness}
      onBrightness=${setBrightness} onLogOut=${logOut} />
    <main id="content" tabindex="-1" ref=${content}>
      ${problem && html`<div class="page narrow"><h1>Slidelane</h1>
        <${ProblemBox} problem=${problem} onRetry=${readSession} /></div>`}
      ${!problem && !isReady && html`<div class="page narrow"><h1 class="quiet">
        ${asksForLogin ? 'Log in to go on' : 'One moment …'}</h1></div>`}
      ${!problem && isReady && html`<${Shown} address=${address} session=${session}
        brightness=${brightness} />`}
    </main>
    ${asksForLogin && html`<${Login} onDone=${afterLogin} />`}
    <${Announcer} />`;
}

/** Return the session, null where nobody is logged in. @throws {Problem} */
async function currentSession() {
  try {
    const found = await getJson('/v1/session', { waitsForLogin: false });
    return found.needs_key && !found.name ? null : found;
  } catch (error) {
    if (error.status === 401) return null;
    throw error;
  }
}

function Shown({ address, session, brightness }) {
  const dimmed = brightness < 1;
  switch (address.page) {
    case 'order': return html`<${OrderPage} dimmed=${dimmed} />`;
    case 'order_view': return html`<${OrderView} key=${address.order} address=${address}
      session=${session} dimmed=${dimmed} />`;
    case 'jobs': return html`<${JobsPage} address=${address} session=${session} />`;
    case 'algorithms': return html`<${AlgorithmsPage} />`;
    case 'system': return html`<${SystemPage} session=${session} />`;
    default: return html`<div class="page narrow"><h1>There is nothing here</h1>
      <p>The address names no part of this page. <a href="#/order">Place an order</a> or look at
      the <a href="#/jobs">jobs and logs</a>.</p></div>`;
  }
}

function useTitle({ page, order }) {
  useEffect(() => {
    let name = TITLES[page];
    if (page === 'order_view') name = `Order ${shortId(order)}`;
    document.title = `${name} · Slidelane`;
  }, [page, order]);
}

/** Move the focus to the content when another part is shown, as a new document would. */
function useFocusOnChange({ page, order }, content) {
  const isFirst = useRef(true);
  useEffect(() => {
    if (!isFirst.current) content.current.focus({ preventScroll: true });
    isFirst.current = false;
  }, [page, order]);
}

function useBrightness() {
  const [value, setValue] = useState(() => {
    const kept = Number.parseFloat(localStorage.getItem(BRIGHTNESS) ?? '1');
    if (kept >= 0.3 && kept <= 1) return kept;
    return 1;
  });
  useEffect(() => {
    document.documentElement.style.setProperty('--brightness', String(value));
    document.documentElement.classList.toggle('is-dimmed', value < 1);
    localStorage.setItem(BRIGHTNESS, String(value));
  }, [value]);
  return [value, setValue];
}

render(html`<${App} />`, document.getElementById('page'));
