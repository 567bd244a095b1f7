// The files of a drop, also those inside of dropped folders.

const MOST_FILES = 5000;

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
