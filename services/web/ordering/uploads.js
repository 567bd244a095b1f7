// Uploads of slides by tus 1.0.0: in pieces of 50 MiB, resumed after a cut, with several files as
// one set (an MRXS slide with its folder, a DICOM series).
import { askForLogin, Problem } from '../api.js';

const ENDPOINT = '/v1/uploads';
const CHUNK_BYTES = 50 * 1024 * 1024;
const RETRY_DELAYS_MS = [0, 1000, 3000, 5000, 10_000, 20_000];
const PREFIX = 'slidelane.upload.';

/**
 * Upload the files, and return the id of the upload, or of the set of several.
 * @param {{file: File, path: string}[]} files
 * @param {AbortSignal} signal stops it; what arrived is kept, and gone on with another time
 * @param {(progress: {done: number, total: number, rate: number}) => void} onProgress bytes
 * @returns {Promise<string>}
 * @throws {Problem}
 */
export async function startUpload(files, signal, onProgress) {
  addEventListener('beforeunload', askBeforeLeaving);
  try {
    return await sendAll(files, signal, onProgress);
  } finally {
    removeEventListener('beforeunload', askBeforeLeaving);
  }
}

/** Have the browser ask whether to leave the page: the upload would stop. */
function askBeforeLeaving(event) {
  event.preventDefault();
}

async function sendAll(files, signal, onProgress) {
  await import('../vendor/tus.js'); // it sets `tus`
  const whole = await digestOf(files.map(markOf).join('\n'));
  const marks = [];
  const total = files.reduce((sum, { file }) => sum + file.size, 0);
  const rate = new Rate();
  let before = 0;
  let set = '';
  let id = '';
  for (const one of files) {
    const mark = await digestOf(`${whole}\n${markOf(one)}`);
    signal.throwIfAborted();
    marks.push(mark);
    const uploaded = await uploadOne(one, mark, set, files.length > 1, signal, (sent) => {
      onProgress({ done: before + sent, total, rate: rate.of(before + sent) });
    });
    before += one.file.size;
    id = uploaded.id;
    if (files.length > 1) set = uploaded.set || set;
  }
  // Until here each file is found again: another try goes on with the same set.
  for (const mark of marks) sessionStorage.removeItem(`${PREFIX}${mark}`);
  return set || id;
}

/** Bytes a second over the last seconds. */
class Rate {
  #points = [];

  of(done) {
    const now = performance.now();
    this.#points.push([now, done]);
    while (this.#points.length > 2 && now - this.#points[0][0] > 5000) this.#points.shift();
    const [first, firstDone] = this.#points[0];
    if (now - first < 500) return 0;
    return (1000 * (done - firstDone)) / (now - first);
  }
}

async function uploadOne({ file, path }, mark, set, isOfSet, signal, onSent) {
  const found = { id: '', set };
  let endpoint = ENDPOINT;
  if (set) endpoint = `${ENDPOINT}?set=${encodeURIComponent(set)}`;
  return new Promise((resolve, reject) => {
    const upload = new self.tus.Upload(file, {
      endpoint,
      chunkSize: CHUNK_BYTES,
      retryDelays: RETRY_DELAYS_MS,
      parallelUploads: 1,
      removeFingerprintOnSuccess: false,
      storeFingerprintForResuming: mark !== null,
      fingerprint: async () => mark,
      urlStorage: new PrivateStorage(),
      metadata: metadataOf(file, path, isOfSet),
      onProgress: onSent,
      onAfterResponse: (request, response) => {
        found.set = response.getHeader('Upload-Set') || found.set;
      },
      onShouldRetry: (error) => mayPass(error.originalResponse?.getStatus() ?? 0),
      onError: async (error) => {
        if (error.originalResponse?.getStatus() !== 401) {
          reject(problemOfUpload(error));
          return;
        }
        await askForLogin();
        if (!signal.aborted) upload.start();
      },
      onSuccess: () => {
        found.id = idOf(upload.url);
        resolve(found);
      },
    });
    signal.addEventListener('abort', () => {
      upload.abort();
      reject(new Problem({ code: 'stopped', title: 'The upload was stopped' }, 0));
    });
    begin(upload, mark, signal);
  });
}

async function begin(upload, mark, signal) {
  if (mark !== null) {
    const [earlier] = await upload.findPreviousUploads();
    if (earlier) upload.resumeFromPreviousUpload(earlier);
  }
  if (!signal.aborted) upload.start();
}

function metadataOf(file, path, isOfSet) {
  if (isOfSet) return { filename: file.name, relativePath: path };
  return { filename: file.name };
}

function mayPass(status) {
  if (status === 423 || status === 429) return true;
  return status === 0 || status >= 500 && status !== 507;
}

function idOf(url) {
  const { pathname } = new URL(url, location.href);
  return decodeURIComponent(pathname.split('/').filter(Boolean).at(-1));
}

function problemOfUpload(error) {
  const status = error.originalResponse?.getStatus() ?? 0;
  try {
    return new Problem(JSON.parse(error.originalResponse.getBody()), status);
  } catch {
    const detail = 'The connection was cut, and could not be made again.';
    const hint = 'Try again: it goes on where it was cut.';
    return new Problem({ code: 'upload_cut', title: 'The upload stopped', detail, hint }, status);
  }
}

function markOf({ file, path }) {
  return [path, file.size, file.lastModified].join('\n');
}

/**
 * Return what tells a text from others, and does not have it: names hold patients.
 *
 * Null where the browser cannot hash, which is on plain http: then another try begins anew.
 */
async function digestOf(text) {
  if (!self.crypto?.subtle) return null;
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
  return Array.from(new Uint8Array(digest), (part) => part.toString(16).padStart(2, '0')).join('');
}

/** Keeps where uploads are, until the tab is closed, without what tus adds of their names. */
class PrivateStorage {
  async findAllUploads() {
    return [];
  }

  async findUploadsByFingerprint(fingerprint) {
    const key = `${PREFIX}${fingerprint}`;
    const found = sessionStorage.getItem(key);
    if (found === null) return [];
    return [{ ...JSON.parse(found), urlStorageKey: key }];
  }

  async addUpload(fingerprint, { size, creationTime, uploadUrl }) {
    const key = `${PREFIX}${fingerprint}`;
    sessionStorage.setItem(key, JSON.stringify({ size, creationTime, uploadUrl, metadata: {} }));
    return key;
  }

  async removeUpload(key) {
    sessionStorage.removeItem(key);
  }
}
