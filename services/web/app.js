// The page: who is logged in, which part is shown, and what stands above all of them.
import { render } from './vendor/preact.js';
import { useEffect, useRef, useState } from './vendor/hooks.js';
import { getJson, loginDone, onLogin, Problem, problemOf, send } from './api.js';
import { html } from './html.js';
import { Announcer } from './parts/announce.js';
import { Header } from './parts/header.js';
import { Login } from './parts/login.js';
import { ProblemBox } from './parts/problem.js';
import { shortId } from './format.js';
import { useAddress } from './router.js';

const TITLES = {
  order: 'Order',
  jobs: 'Jobs and logs',
  algorithms: 'Algorithms',
  system: 'System',
  unknown: 'Not found',
};
// Fetched when they are first shown, so that the bar at the top does not wait for the viewer.
const PAGES = {
  order: async () => (await import('./pages/order.js')).OrderPage,
  order_view: async () => (await import('./pages/order_view.js')).OrderView,
  jobs: async () => (await import('./pages/jobs.js')).JobsPage,
  algorithms: async () => (await import('./pages/algorithms.js')).AlgorithmsPage,
  system: async () => (await import('./pages/system.js')).SystemPage,
};
const NOT_FETCHED = {
  code: 'page_not_fetched',
  title: 'This part of the page could not be fetched',
  detail: 'The server did not answer, or has been updated since this page was opened.',
  hint: 'reload the page',
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
    if (error.status === 401) return null; // the session of its cookie has ended
    throw error;
  }
}

function Shown({ address, session, brightness }) {
  const { Page, problem } = usePage(address.page);
  if (address.page === 'unknown') {
    return html`<div class="page narrow"><h1>There is nothing here</h1>
      <p>The address names no part of this page. <a href="#/order">Place an order</a> or look at
      the <a href="#/jobs">jobs and logs</a>.</p></div>`;
  }
  if (problem) {
    return html`<div class="page narrow"><h1>${TITLES[address.page] ?? 'Order'}</h1>
      <${ProblemBox} problem=${problem} onRetry=${() => location.reload()} /></div>`;
  }
  if (!Page) return html`<div class="page narrow"><h1 class="quiet">One moment …</h1></div>`;
  return html`<${Page} key=${address.order} address=${address} session=${session}
    dimmed=${brightness < 1} />`;
}

/** Return the component of a part of the page once it is fetched, or the problem with it. */
function usePage(name) {
  const [fetched, setFetched] = useState({});
  useEffect(() => {
    if (fetched[name] || !PAGES[name]) return;
    PAGES[name]().then(
      (Page) => setFetched((before) => ({ ...before, [name]: { Page } })),
      () => setFetched((before) => ({ ...before, [name]: { problem: new Problem(NOT_FETCHED, 0) } })),
    );
  }, [name]);
  return fetched[name] ?? {};
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
