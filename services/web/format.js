// Numbers, times and sizes as people read them.

const NUMBER = new Intl.NumberFormat('en-US', { maximumFractionDigits: 3 });
const TODAY = new Intl.DateTimeFormat('en-GB', {
  hour: '2-digit', minute: '2-digit', second: '2-digit',
});
const OTHER_DAY = new Intl.DateTimeFormat('en-GB', {
  day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit',
});
const BYTE_UNITS = ['B', 'kB', 'MB', 'GB', 'TB'];
const UNITS = { um2: 'µm²', um: 'µm', mm2: 'mm²', px: 'px', s: 's', percent: '%', pct: '%' };

/** Return a number with its thousands apart: 94,599. */
export function number(value) {
  return NUMBER.format(value);
}

/** Return a size in decimal units: 40.3 MB. */
export function bytes(value) {
  let unit = 0;
  let size = value;
  while (size >= 999.5 && unit < BYTE_UNITS.length - 1) {
    size /= 1000;
    unit += 1;
  }
  let digits = 1;
  if (unit === 0 || size >= 100) digits = 0;
  return `${size.toFixed(digits)} ${BYTE_UNITS[unit]}`;
}

/** Return a duration: 0.4 s, 41.8 s, 1 min 10 s, 2 h 5 min, 3 d 4 h. */
export function duration(value) {
  if (value < 59.95) return `${value.toFixed(1)} s`;
  const whole = Math.round(value);
  if (whole < 3600) return twoUnits(whole, 60, 'min', 1, 's');
  if (whole < 86400) return twoUnits(whole, 3600, 'h', 60, 'min');
  return twoUnits(whole, 86400, 'd', 3600, 'h');
}

function twoUnits(value, large, largeName, small, smallName) {
  const rest = Math.floor((value % large) / small);
  const first = `${Math.floor(value / large)} ${largeName}`;
  if (rest === 0) return first;
  return `${first} ${rest} ${smallName}`;
}

/** Return a moment: its time, with the day where that is not today. */
export function moment(rfc3339) {
  const when = new Date(rfc3339);
  if (Number.isNaN(when.getTime())) return rfc3339;
  if (when.toDateString() === new Date().toDateString()) return TODAY.format(when);
  return OTHER_DAY.format(when);
}

/** Return a length of `px` level-0 pixels in µm or mm; empty where the slide does not say. */
export function length(px, mpp) {
  if (!mpp) return '';
  const um = px * mpp;
  if (um >= 1000) return `${(um / 1000).toFixed(2)} mm`;
  return `${um.toFixed(um >= 100 ? 0 : 1)} µm`;
}

/** Return an area of `px2` square level-0 pixels; empty where the slide does not say. */
export function area(px2, mppX, mppY) {
  if (!mppX || !mppY) return '';
  const um2 = px2 * mppX * mppY;
  if (um2 >= 1e5) return `${(um2 / 1e6).toFixed(um2 >= 1e7 ? 1 : 2)} mm²`;
  return `${number(Math.round(um2))} µm²`;
}

/** Return a unit of a parameter as people write it: `um2` is µm². */
export function unitName(unit) {
  return UNITS[unit] ?? unit ?? '';
}

/** Return the name of a slide from its source, without the folders or the host before it. */
export function sourceName(source) {
  if (!source) return 'slide';
  if (source.name) return source.name;
  if (source.path) return lastPart(source.path);
  const address = source.url ?? source.zip_url ?? source.urls?.[0];
  if (address) return lastPart(address.split(/[?#]/, 1)[0]) || 'slide';
  if (source.case_id) return `case ${source.case_id}`;
  if (source.type === 'upload') return 'uploaded slide';
  return 'slide';
}

function lastPart(path) {
  const parts = path.split('/').filter(Boolean);
  const last = parts.at(-1) ?? '';
  try {
    return decodeURIComponent(last);
  } catch {
    return last;
  }
}

/** Return the beginning of an id, enough for people to tell it from others. */
export function shortId(id) {
  if (id.length <= 12) return id;
  return `${id.slice(0, 10)}…`;
}
