// Calls of the API. A refusal becomes a `Problem`; a 401 waits for a login and repeats the call.

const JSON_TYPE = 'application/json';
const UNREACHABLE = {
  code: 'unreachable',
  title: 'Slidelane does not answer',
  detail: 'The connection to the server failed.',
  hint: 'Look whether the service runs; nothing that you entered is lost.',
};

/** A fault as the API tells it (problem+json): `code`, `title`, `detail`, `field`, `hint`, … */
export class Problem extends Error {
  /**
   * @param {object} fields the members of the problem
   * @param {number} status HTTP status; 0 where no answer came
   */
  constructor(fields, status) {
    super(fields.detail || fields.title);
    this.fields = fields;
    this.status = status;
  }

  /** Return every fault that was found; the first is the main one. */
  get faults() {
    return this.fields.errors ?? [this.fields];
  }
}

/** Return the problem that an error is; a mistake of the page itself becomes one too. */
export function problemOf(error) {
  if (error instanceof Problem) return error;
  return new Problem({ code: 'page', title: 'The page made a mistake', detail: String(error) }, 0);
}

let login = null;
let logins = 0;
const loginListeners = new Set();

/**
 * Be told with true when a login is needed, and with false when it is done.
 * @param {(needed: boolean) => void} listener
 * @returns {() => void} stops it
 */
export function onLogin(listener) {
  loginListeners.add(listener);
  return () => loginListeners.delete(listener);
}

/** Ask for a login, and return when somebody has logged in. */
export function askForLogin() {
  if (login === null) {
    login = withResolvers();
    for (const listener of loginListeners) listener(true);
  }
  return login.promise;
}

/** Return whether calls wait for a login now; what asks again and again pauses meanwhile. */
export function awaitsLogin() {
  return login !== null;
}

function withResolvers() {
  const parts = {};
  parts.promise = new Promise((resolve) => { parts.resolve = resolve; });
  return parts;
}

/** Let every call that waits for the login go on. */
export function loginDone() {
  const waiting = login;
  login = null;
  logins += 1;
  for (const listener of loginListeners) listener(false);
  waiting?.resolve();
}

/**
 * Send a request, and return the answer once it is a success.
 * @param {string} method
 * @param {string} path
 * @param {{body?: any, headers?: object, signal?: AbortSignal, waitsForLogin?: boolean}} [options]
 * @returns {Promise<Response>}
 * @throws {Problem}
 */
export async function send(method, path, options = {}) {
  const { body, headers = {}, signal, waitsForLogin = true } = options;
  const sent = { method, signal, headers: { accept: JSON_TYPE, ...headers } };
  if (body !== undefined) {
    sent.body = JSON.stringify(body);
    sent.headers['content-type'] = JSON_TYPE;
  }
  for (;;) {
    const loginsBefore = logins;
    const answer = await fetched(path, sent);
    if (answer.ok) return answer;
    if (answer.status !== 401 || !waitsForLogin) throw await refusal(answer);
    // A refusal that is older than a login says nothing of it: ask again with the new session.
    if (logins === loginsBefore) await askForLogin();
  }
}

async function fetched(path, sent) {
  try {
    return await fetch(path, sent);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem(UNREACHABLE, 0);
  }
}

async function refusal(answer) {
  try {
    return new Problem(await answer.json(), answer.status);
  } catch {
    const title = `The server answered ${answer.status}`;
    return new Problem({ code: 'unknown', title, detail: answer.statusText }, answer.status);
  }
}

/** Return the JSON of a GET. @throws {Problem} */
export async function getJson(path, options) {
  const answer = await send('GET', path, options);
  return answer.json();
}

/** Return the JSON of a POST, null where the answer has no body. @throws {Problem} */
export async function postJson(path, body, options) {
  const answer = await send('POST', path, { ...options, body });
  if (answer.status === 204) return null;
  return answer.json();
}

/** Return 128 random bits in hex; also where the page is not served over https. */
export function randomId() {
  const parts = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(parts, (part) => part.toString(16).padStart(2, '0')).join('');
}
