// What the other parts use. Everything here runs before the function's code, once for each
// invocation, in a realm of its own: code that changes built-ins changes its own invocation only.
'use strict';
const { parse, stringify } = JSON;

const define = (name, value) =>
  Object.defineProperty(globalThis, name, { value, writable: true, configurable: true });

// Web IDL's conversions.
const usvString = (value) => `${value}`.toWellFormed();
const byteString = (value) => {
  const text = `${value}`;
  if (/[^\0-\xff]/.test(text)) throw new TypeError('a character is over U+00FF');
  return text;
};
const required = (given, count, what) => {
  if (given.length < count) {
    throw new TypeError(`${what}: ${count} argument${count === 1 ? '' : 's'} required`);
  }
};
const bytesOf = (source) => {
  if (ArrayBuffer.isView(source)) {
    return new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
  }
  if (source instanceof ArrayBuffer) return new Uint8Array(source);
  throw new TypeError('an ArrayBuffer or a view of one is wanted');
};
const optionsOf = (value) => {
  if (value === undefined || value === null) return {};
  if (typeof value !== 'object' && typeof value !== 'function') {
    throw new TypeError('options must be an object');
  }
  return value;
};

// Secret reads and fetches: so many at a time, the others wait here.
const waiting = [];
const asked = new Map();
const ask = (send) =>
  new Promise((resolve, reject) => {
    waiting.push({ send, resolve, reject });
    sendWaiting();
  });
const sendWaiting = () => {
  while (asked.size < host.requestsPending && waiting.length > 0) {
    const { send, resolve, reject } = waiting.shift();
    try {
      asked.set(send(), { resolve, reject });
    } catch (error) {
      reject(error);
    }
  }
};
const answered = (request) => {
  const settle = asked.get(request);
  asked.delete(request);
  sendWaiting();
  return settle;
};

// The engine seeds its own from the clock, which is the host's.
Math.random = () => host.random();
