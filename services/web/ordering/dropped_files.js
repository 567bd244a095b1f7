// The files of a drop, also those inside of dropped folders, and which files are no one slide.
import { Problem } from '../api.js';
import { number } from '../format.js';

const MOST_FILES = 5000;
const MOST_FILES_OF_A_SLIDE = 1000; // as the server has it
const WHOLE_SLIDE = /^[^.].*\.(svs|ndpi|scn|bif|svslide|czi)$/i; // one file, which needs no other

/**
 * Return the files with their paths inside of what was dropped.
 * @param {DataTransfer} dropped
 * @returns {Promise<{file: File, path: string}[]>} at most 5000, without dot files
 */
export async function droppedFiles(dropped) {
  // All entries are taken at once: the list is empty after the first wait.
  const entries = [...dropped.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (entries.length === 0) return [...dropped.files].map((file) => ({ file, path: file.name }));
  const found = [];
  for (const entry of entries) await collect(entry, '', found);
  return found;
}

/**
 * Return the problem of files that are several slides, or more than a slide can have; else null.
 *
 * The server takes all files of an upload as one slide, and would show one file of them.
 */
export function refusalOf(files) {
  const slides = files.filter(({ file }) => WHOLE_SLIDE.test(file.name));
  if (slides.length > 1) {
    return new Problem({
      code: 'several_slides',
      title: 'One slide at a time',
      detail: `Of these files ${number(slides.length)} are whole slides.`,
      hint: 'give one of them; all files together are taken as the parts of one slide',
    }, 0);
  }
  if (files.length > MOST_FILES_OF_A_SLIDE) {
    return new Problem({
      code: 'too_many_files',
      title: 'These are too many files for one slide',
      detail: `A slide has at most ${number(MOST_FILES_OF_A_SLIDE)} files.`,
      hint: 'give the files of one slide alone, or choose it in a folder of the server',
    }, 0);
  }
  return null;
}

async function collect(entry, prefix, found) {
  if (entry.name.startsWith('.') || found.length >= MOST_FILES) return;
  const path = `${prefix}${entry.name}`;
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => { entry.file(resolve, reject); });
    found.push({ file, path });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const part = await new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });
    if (part.length === 0) return; // a reader gives at most 100 entries at a time
    for (const inner of part) await collect(inner, `${path}/`, found);
  }
}
