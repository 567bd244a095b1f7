// The order that is being filled in. It outlives a visit to another part of the page.
import { useState } from '../vendor/hooks.js';
import { destinationOf } from './delivery_form.js';
import { roiOf } from './region_form.js';

const EMPTY = {
  algorithm: '',
  parameters: {},
  regionKind: 'whole',
  region: null,
  mpp: '',
  destination: '',
  destinationFields: {},
  caseLabel: '',
  priority: 'normal',
};
let kept = EMPTY;

/** Return the draft, and how to change some of it. */
export function useDraft() {
  const [draft, setDraft] = useState(kept);
  function change(part) {
    kept = { ...kept, ...part };
    setDraft(kept);
  }
  return [draft, change];
}

/**
 * Return the body of the order, or null while something that only a person can give is missing.
 *
 * The scan is called `1`: its name is in addresses, and the slide's name may be that of a patient.
 */
export function bodyOf(draft, slide, destinations) {
  const roi = roiOf(draft.regionKind, draft.region);
  if (!slide || !draft.algorithm || roi === null) return null;
  const scan = { id: '1', source: { type: 'slide', slide: slide.id } };
  if (roi) scan.roi = roi;
  if (!slide.mpp_x && Number(draft.mpp) > 0) scan.mpp = Number(draft.mpp);
  const body = { algorithm: draft.algorithm, scans: [scan], priority: draft.priority };
  const parameters = draft.parameters[draft.algorithm] ?? {};
  if (Object.keys(parameters).length) body.parameters = parameters;
  const destination = destinationOf(draft.destination, draft.destinationFields, destinations);
  if (destination) body.destination = destination;
  if (draft.caseLabel.trim()) body.labels = { case: draft.caseLabel.trim() };
  return body;
}

/**
 * Return what is still missing, in words; empty where nothing is.
 * @param {object|undefined} algorithm the card of the one that is chosen
 */
export function missingOf(draft, slide, algorithm) {
  if (!slide) return 'Choose a slide.';
  if (!draft.algorithm) return 'Choose an algorithm.';
  if (roiOf(draft.regionKind, draft.region) === null) return 'Draw the region.';
  if (algorithm?.mpp && !slide.mpp_x && !(Number(draft.mpp) > 0)) {
    return 'Say how large a pixel is.';
  }
  return '';
}
