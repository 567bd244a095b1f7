// The templates of the page: Preact elements written as text, without a build.
//
// Values in a template become text nodes or attributes, never markup.
import { h } from './vendor/preact.js';
import htm from './vendor/htm.js';

/** Return the Preact element that a template describes. */
export const html = htm.bind(h);
