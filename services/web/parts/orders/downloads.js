// The files of a result with their sizes. They are fetched with the session's cookie: no key is in
// an address.
import { useEffect, useState } from '../../vendor/hooks.js';
import { send } from '../../api.js';
import { bytes } from '../../format.js';
import { html } from '../../html.js';

const TITLES = {
  'features.geojson': 'GeoJSON',
  'features.geojson.gz': 'GeoJSON, gzip',
  'objects.csv': 'Objects as CSV',
  'region.geojson': 'Region',
  'results.json': 'Results',
  'overlay.png': 'Overlay',
  'findings.json': 'Findings',
  'findings.pmtiles': 'Findings as tiles',
  'embeddings.h5': 'Embeddings',
  'attention.csv': 'Attention',
  'output.log': 'Output',
  'posted.json': 'Posted',
  'debug.zip': 'Debug file',
  'results.zip': 'All as zip',
};

/** Draw the downloads of a scan, and the payload of its order. */
export function Downloads({ order, scan }) {
  const links = { ...scan.links };
  if (order.links.payload) links.payload = order.links.payload;
  const names = Object.keys(links);
  const sizes = useSizes(links);
  if (names.length === 0) {
    return html`<section class="card"><h2>Download</h2>
      <p class="hint">${emptyText(scan)}</p></section>`;
  }
  return html`<section class="card"><h2>Download</h2>
    <div class="downloads">${names.map((name) => html`<a key=${name} href=${links[name]}
      download=${`${order.id}-${scan.id}-${name.replaceAll('/', '-')}`}>
      ${titleOf(name)}<small>${sizes[name]}</small></a>`)}</div></section>`;
}

function titleOf(name) {
  if (name === 'payload') return 'What was sent';
  return TITLES[name] ?? name.replace(/^files\//, '');
}

function emptyText({ state }) {
  if (state === 'failed') return 'The scan failed, so there is nothing to download.';
  if (state === 'cancelled') return 'The scan was cancelled, so there is nothing to download.';
  return 'The files are here once the scan is classified.';
}

/** Return the size of each file in words. What is made when it is asked for has none. */
function useSizes(links) {
  const [sizes, setSizes] = useState({});
  const asked = JSON.stringify(links);
  useEffect(() => {
    for (const [name, link] of Object.entries(links)) {
      send('HEAD', link, { headers: { accept: '*/*' } }).then(
        (answer) => {
          const size = Number(answer.headers.get('content-length'));
          if (size > 0) setSizes((before) => ({ ...before, [name]: bytes(size) }));
        },
        () => setSizes((before) => ({ ...before, [name]: 'no longer kept' })),
      );
    }
  }, [asked]);
  return sizes;
}
