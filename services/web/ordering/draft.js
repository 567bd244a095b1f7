// The order that is being filled in. It outlives a visit to another part of the page.
import { useEffect, useState } from '../vendor/hooks.js';
import { destinationOf, withoutSecrets } from './delivery_form.js';
import { middleOf, roiOf } from './region_form.js';

const EMPTY = {
  algorithm: '',
  parameters: {},
  unreadParameters: {}, // texts that cannot be read, by algorithm and name
  regionKind: 'whole',
  region: null,
  unreadCorners: undefined, // a text that is not the region, until it is corrected
  slide: '', // the id of the slide that the region was drawn on
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
 * Take from the draft what belonged to another slide: the region and the size of a pixel, and from
 * one slide to the next the case and what its task gave to the destination.
 */
export function useResetForSlide(slide, draft, change) {
  const id = slide?.id ?? '';
  useEffect(() => {
    if (id === draft.slide) return;
    let region = null;
    if (slide && draft.regionKind === 'rectangle') region = middleOf(slide);
    change({ slide: id, region, unreadCorners: undefined, mpp: '' });
    if (draft.slide) change({ caseLabel: '', destinationFields: {} });
  }, [id]);
}

/** Forget the secrets of an order that was placed: a token belongs to one task. */
export function forgetSecrets() {
  kept = { ...kept, destinationFields: withoutSecrets(kept.destinationFields) };
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
