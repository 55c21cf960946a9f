// HTML standard: structuredClone, of values that hold no host's objects; nothing is transferred.
const cloneOf = (value, seen) => {
  if (typeof value === 'function' || typeof value === 'symbol') {
    throw new DOMException(`${String(value)} can't be cloned`, 'DataCloneError');
  }
  if (typeof value !== 'object' || value === null) return value;
  if (seen.has(value)) return seen.get(value);
  const known = (twin) => {
    seen.set(value, twin);
    return twin;
  };
  if (value instanceof Boolean || value instanceof Number || value instanceof String) return known(Object(value.valueOf()));
  if (value instanceof Date) return known(new Date(value.getTime()));
  if (value instanceof RegExp) return known(new RegExp(value.source, value.flags));
  if (value instanceof ArrayBuffer) return known(value.slice());
  if (value instanceof DataView) return known(new DataView(cloneOf(value.buffer, seen), value.byteOffset, value.byteLength));
  if (ArrayBuffer.isView(value)) return known(new value.constructor(cloneOf(value.buffer, seen), value.byteOffset, value.length));
  if (value instanceof Map) {
    const twin = known(new Map());
    for (const [key, item] of [...value]) twin.set(cloneOf(key, seen), cloneOf(item, seen));
    return twin;
  }
  if (value instanceof Set) {
    const twin = known(new Set());
    for (const item of [...value]) twin.add(cloneOf(item, seen));
    return twin;
  }
  if (value instanceof Error) {
    const types = { EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError };
    const type = Object.hasOwn(types, value.name) ? types[value.name] : Error;
    const twin = known(new type(value.message));
    Object.defineProperty(twin, 'stack', { value: String(value.stack), writable: true, configurable: true });
    if (Object.hasOwn(value, 'cause')) twin.cause = cloneOf(value.cause, seen);
    return twin;
  }
  const plain = Array.isArray(value) || [Object.prototype, null].includes(Object.getPrototypeOf(value));
  if (!plain && Object.prototype.toString.call(value) !== '[object Object]') {
    throw new DOMException(`${Object.prototype.toString.call(value)} can't be cloned`, 'DataCloneError');
  }
  const twin = known(Array.isArray(value) ? new Array(value.length) : {});
  for (const key of Object.keys(value)) {
    Object.defineProperty(twin, key, { value: cloneOf(value[key], seen), writable: true, enumerable: true, configurable: true });
  }
  return twin;
};

define('structuredClone', function structuredClone(value, options = undefined) {
  required(arguments, 1, 'structuredClone');
  const { transfer = [] } = optionsOf(options);
  if ([...transfer].length > 0) throw new DOMException('nothing can be transferred', 'DataCloneError');
  return cloneOf(value, new Map());
});
