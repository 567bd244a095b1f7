// What a JSON schema says of the parameters of an algorithm, in the words of the form.
import { unitName } from '../format.js';

const UNIT_ENDINGS = { um2: 'um2', um: 'um', px: 'px', mm2: 'mm2', pct: 'pct' };

/**
 * Return the fields of a form for the parameters of a schema.
 * @param {object} schema of an object, as GET /v1/algorithms has it
 * @returns {object[]} each with name, title, unit, description, kind and what its kind needs; kind
 *   is number, integer, boolean, choice, const, text, numbers or json
 */
export function fieldsOf(schema) {
  const definitions = schema?.$defs ?? {};
  return Object.entries(schema?.properties ?? {}).map(
    ([name, given]) => fieldOf(name, followed(given, definitions), definitions),
  );
}

function fieldOf(name, given, definitions) {
  const parts = (given.anyOf ?? given.oneOf ?? []).map((part) => followed(part, definitions));
  const others = parts.filter((part) => part.type !== 'null');
  const takesAuto = parts.length > others.length || [given.type].flat().includes('null');
  let own = given;
  if (others.length === 1) own = { ...others[0], ...withoutParts(given) };
  if (Array.isArray(own.type)) own = { ...own, type: own.type.find((type) => type !== 'null') };
  return {
    name,
    ...titleAndUnit(name, given),
    description: sentence(given.description ?? '', takesAuto),
    takesAuto,
    default: given.default,
    minimum: own.minimum ?? own.exclusiveMinimum,
    maximum: own.maximum ?? own.exclusiveMaximum,
    step: own.multipleOf,
    choices: own.enum,
    constant: own.const,
    schema: own,
    kind: others.length > 1 ? 'json' : kindOf(own, definitions),
  };
}

function followed(given, definitions) {
  const name = given?.$ref?.match(/^#\/\$defs\/(.+)$/)?.[1];
  if (!name || !definitions[name]) return given;
  const { $ref, ...rest } = given;
  return { ...definitions[name], ...rest };
}

function withoutParts({ anyOf, oneOf, ...rest }) {
  return rest;
}

function kindOf(own, definitions) {
  if (own.const !== undefined) return 'const';
  if (own.enum) return 'choice';
  if (['number', 'integer', 'boolean'].includes(own.type)) return own.type;
  if (own.type === 'string') return 'text';
  const items = followed(own.items ?? {}, definitions);
  if (own.type === 'array' && ['number', 'integer'].includes(items.type)) return 'numbers';
  return 'json';
}

/** Return title and unit. A title that a program made of the name is made readable here. */
function titleAndUnit(name, { title, unit }) {
  const words = name.split('_').filter(Boolean);
  let found = unit;
  if (words.length > 1 && UNIT_ENDINGS[words.at(-1)]) {
    const ending = words.pop();
    found ??= UNIT_ENDINGS[ending];
  }
  const isMade = !title || title.toLowerCase() === name.replaceAll('_', ' ').trim().toLowerCase();
  if (!isMade) return { title, unit: unitName(found) };
  const text = words.join(' ');
  return { title: text.charAt(0).toUpperCase() + text.slice(1), unit: unitName(found) };
}

function sentence(text, takesAuto) {
  let shown = text;
  if (takesAuto) shown = shown.replace(/\bnull\b/g, 'auto');
  return shown.charAt(0).toUpperCase() + shown.slice(1);
}

/**
 * Return the faults that need no server: numbers beyond the limits of their schema.
 * @param {object} schema of the parameters
 * @param {object} values by name
 */
export function rangeFaults(schema, values) {
  const faults = [];
  for (const { name, minimum, maximum } of fieldsOf(schema)) {
    const value = values[name];
    const field = `parameters.${name}`;
    if (typeof value !== 'number') continue;
    if (value < minimum) faults.push({ field, detail: `at least ${minimum} is asked for` });
    if (value > maximum) faults.push({ field, detail: `at most ${maximum} is asked for` });
  }
  return faults;
}

/**
 * Return the faults of texts that cannot be read as the values of parameters.
 * @param {object} schema of the parameters
 * @param {object} texts by name
 */
export function textFaults(schema, texts) {
  return fieldsOf(schema).filter(({ name }) => name in texts).map(({ name, kind }) => ({
    field: `parameters.${name}`,
    detail: kind === 'numbers' ? 'numbers with commas between them are asked for'
      : 'this is not JSON',
  }));
}

/** Return whether two JSON values are the same. */
export function same(one, other) {
  return JSON.stringify(one) === JSON.stringify(other);
}
