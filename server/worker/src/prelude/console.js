// Console standard, as far as lines of text go; and texts for what code logs or throws.
const SHOWN_DEPTH = 3;
const SHOWN_ITEMS = 100;
const SHOWN_CHARACTERS = 16384;

const inspect = (value, depth = 0, within = [], room = { left: SHOWN_CHARACTERS }) => {
  const shown = inspectWhole(value, depth, within, room);
  room.left -= shown.length;
  return shown;
};
const inspectWhole = (value, depth, within, room) => {
  switch (typeof value) {
    case 'string': return depth === 0 ? value : stringify(value);
    case 'bigint': return `${value}n`;
    case 'number': return Object.is(value, -0) ? '-0' : `${value}`;
    case 'function': return `[Function: ${value.name || '(anonymous)'}]`;
    case 'object': break;
    default: return String(value);
  }
  if (value === null) return 'null';
  if (within.includes(value)) return '[Circular]';
  if (value instanceof Error) return errorText(value);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'Invalid Date' : value.toISOString();
  if (value instanceof RegExp || value instanceof URL || value instanceof URLSearchParams) return String(value);
  if (value instanceof Promise) return 'Promise {}';
  if (value instanceof ArrayBuffer) return `ArrayBuffer(${value.byteLength})`;
  const name = value.constructor?.name ?? 'Object';
  if (depth > SHOWN_DEPTH || room.left < 0) return `[${name}]`;
  const inner = (item) => inspect(item, depth + 1, [...within, value], room);
  const list = (open, items, count, close) => {
    const more = count - items.length;
    const all = more > 0 ? [...items, `... ${more} more`] : items;
    return all.length === 0 ? `${open}${close}` : `${open} ${all.join(', ')} ${close}`;
  };
  const first = (iterable) => {
    const items = [];
    for (const item of iterable) {
      if (items.length === SHOWN_ITEMS) break;
      items.push(item);
    }
    return items;
  };
  if (Array.isArray(value)) return list('[', value.slice(0, SHOWN_ITEMS).map(inner), value.length, ']');
  if (ArrayBuffer.isView(value)) {
    const items = value instanceof DataView ? [] : [...value.subarray(0, SHOWN_ITEMS)].map(inner);
    return list(`${name}(${value.byteLength}) [`, items, value.length ?? 0, ']');
  }
  if (value instanceof Set) return list(`Set(${value.size}) {`, first(value).map(inner), value.size, '}');
  if (value instanceof Map || value instanceof Headers) {
    const items = first(value).map(([key, item]) => `${inner(key)} => ${inner(item)}`);
    return list(value instanceof Map ? `${name}(${value.size}) {` : `${name} {`, items, value.size ?? items.length, '}');
  }
  const keys = Object.keys(value);
  const items = keys.slice(0, SHOWN_ITEMS).map((key) => `${/^[A-Za-z_$][\w$]*$/.test(key) ? key : stringify(key)}: ${inner(value[key])}`);
  return list(name === 'Object' ? '{' : `${name} {`, items, keys.length, '}');
};
const errorText = (error) => {
  const title = String(error);
  const stack = typeof error.stack === 'string' ? host.userStack(error.stack.toWellFormed()) : '';
  return stack === '' ? title : `${title}\n${stack}`;
};

const format = (values) => {
  let rest = values;
  let text = '';
  if (typeof values[0] === 'string' && values.length > 1) {
    rest = values.slice(1);
    text = values[0].replace(/%[sdifjoOc%]/g, (directive) => {
      if (directive === '%%') return '%';
      if (rest.length === 0) return directive;
      const [value] = rest;
      rest = rest.slice(1);
      switch (directive) {
        case '%s': return typeof value === 'object' ? inspect(value, 1) : String(value);
        case '%d': case '%i': case '%f': {
          if (typeof value === 'symbol') return 'NaN';
          if (typeof value === 'bigint') return `${value}n`;
          return String(directive === '%i' ? parseInt(value, 10) : Number(value));
        }
        case '%j': return String(stringify(value));
        case '%c': return '';
        default: return inspect(value, 1);
      }
    });
    return [text, ...rest.map((value) => inspect(value))].join(' ');
  }
  return rest.map((value) => inspect(value)).join(' ');
};

const logger = (level) => (...values) => {
  host.log(level, format(values).toWellFormed());
};
const log = Object.freeze({
  debug: logger('debug'), info: logger('info'), warn: logger('warn'), error: logger('error'),
});
define('console', {
  ...log,
  log: log.info,
  dir: (value) => log.info(value),
  trace: (...values) => log.debug(...values, new Error('trace').stack),
  assert: (condition, ...values) => {
    if (!condition) log.error('Assertion failed', ...values);
  },
});
