// The picture of a result, overlay.png: for results whose findings cannot be drawn over the slide.
import { useEffect, useState } from '../../vendor/hooks.js';
import { Problem, problemOf, send } from '../../api.js';
import { html } from '../../html.js';
import { hasNothingToDraw } from '../../viewer/findings_panel.js';

const NO_PICTURE = { code: 'no_picture', title: 'overlay.png is no picture that a browser shows' };

/**
 * Return in words why the findings of a scan are not drawn over its slide; empty where they are.
 * @param {{scan: object, slide: {problem: Problem|null}, layerFault: string|null,
 *   findings: {document: object|null, problem: Problem|null}}} shown
 *   `layerFault` says why tiles of the findings cannot be read
 */
export function whyNotDrawn({ scan, slide, findings, layerFault }) {
  if (!scan.links['overlay.png']) return ''; // a scan without a result has no links
  if (!scan.links['findings.json']) {
    return 'The result comes from an older version, which made nothing to draw over the slide: order '
      + 'again to have it.';
  }
  if (findings.problem) return 'The findings cannot be read.';
  if (findings.document && hasNothingToDraw(findings.document)) {
    return 'The result has nothing to draw over the slide.';
  }
  if (slide.problem) return 'The slide cannot be shown, so nothing is drawn over it.';
  if (layerFault) return 'The findings cannot be drawn over the slide.';
  return '';
}

/**
 * Draw the picture and why there is one; a click opens it in full.
 * @param {{scan: object, why: string}} props
 */
export function OverlayPicture({ scan, why }) {
  const link = scan.links['overlay.png'];
  const { address, problem, onError } = usePicture(link);
  if (problem) {
    return html`<p class="hint">${why} There is no picture of it either: ${problem.message}.</p>`;
  }
  const { headline } = scan.summary;
  return html`<figure class="overlay">
    ${address && html`<a href=${link} target="_blank" rel="noopener"><img src=${address}
      alt="What was found, on a small picture of the slide${headline ? `: ${headline}` : ''}."
      onError=${onError} /><span>Open in full ↗</span></a>`}
    <figcaption class="hint">${why} This picture was made with the result.</figcaption></figure>`;
}

/** Return the address of the picture once it is fetched, or the problem with it. */
function usePicture(link) {
  const [state, setState] = useState({ address: '', problem: null });
  useEffect(() => {
    const ending = new AbortController();
    let address = '';
    async function read() {
      try {
        const options = { headers: { accept: 'image/png' }, signal: ending.signal };
        const picture = await (await send('GET', link, options)).blob();
        if (ending.signal.aborted) return;
        address = URL.createObjectURL(picture);
        setState({ address, problem: null });
      } catch (error) {
        if (!ending.signal.aborted) setState({ address: '', problem: problemOf(error) });
      }
    }
    read();
    return () => {
      ending.abort();
      URL.revokeObjectURL(address);
    };
  }, [link]);
  const onError = () => setState({ address: '', problem: new Problem(NO_PICTURE, 0) });
  return { ...state, onError };
}
