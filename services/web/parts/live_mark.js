// Whether what is shown follows by itself, in words.
import { html } from '../html.js';
import { useLiveStatus } from '../live.js';

const WORDS = { live: '● live', polling: '○ the stream was cut: asked every 2 s' };

/** Draw the mark; nothing while the page is not followed. */
export function LiveMark() {
  const status = useLiveStatus();
  if (!WORDS[status]) return null;
  return html`<span class="live-mark ${status === 'live' ? 'is-live' : ''}">${WORDS[status]}
    </span>`;
}
