// Fetch standard, as far as a function needs it: Headers, Response, fetch. No streams, no Request,
// no AbortSignal. The server decides what may be fetched.
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const NULL_BODY = new Set([204, 205, 304]);

class Headers {
  #list = [];

  constructor(init = undefined) {
    if (init === undefined) return;
    if ((typeof init !== 'object' && typeof init !== 'function') || init === null) {
      throw new TypeError('headers must be an object or a list of pairs');
    }
    const iterator = init[Symbol.iterator];
    if (iterator !== undefined && iterator !== null) {
      for (const pair of init) {
        const items = [...pair];
        if (items.length !== 2) throw new TypeError('each header must be a name and a value');
        this.append(items[0], items[1]);
      }
    } else {
      for (const key of Reflect.ownKeys(init)) {
        if (!Object.getOwnPropertyDescriptor(init, key)?.enumerable) continue;
        this.append(key, init[key]);
      }
    }
  }

  static #name(name) {
    const text = byteString(name);
    if (!TOKEN.test(text)) throw new TypeError(`"${text}" is not a header's name`);
    return text.toLowerCase();
  }

  static #value(value) {
    const text = byteString(value).replace(/^[\t\n\r ]+|[\t\n\r ]+$/g, '');
    if (/[\0\r\n]/.test(text)) throw new TypeError('a header value may not hold NUL, CR or LF');
    return text;
  }

  append(name, value) {
    required(arguments, 2, 'append');
    this.#list.push([Headers.#name(name), Headers.#value(value)]);
  }

  delete(name) {
    required(arguments, 1, 'delete');
    const key = Headers.#name(name);
    this.#list = this.#list.filter((header) => header[0] !== key);
  }

  get(name) {
    required(arguments, 1, 'get');
    const key = Headers.#name(name);
    const values = this.#list.filter((header) => header[0] === key).map((header) => header[1]);
    return values.length === 0 ? null : values.join(', ');
  }

  getSetCookie() {
    return this.#list.filter((header) => header[0] === 'set-cookie').map((header) => header[1]);
  }

  has(name) {
    required(arguments, 1, 'has');
    const key = Headers.#name(name);
    return this.#list.some((header) => header[0] === key);
  }

  set(name, value) {
    required(arguments, 2, 'set');
    const key = Headers.#name(name);
    const text = Headers.#value(value);
    const place = this.#list.findIndex((header) => header[0] === key);
    if (place < 0) {
      this.#list.push([key, text]);
    } else {
      this.#list[place] = [key, text];
      this.#list = this.#list.filter((header, index) => index <= place || header[0] !== key);
    }
  }

  forEach(callback, self = undefined) {
    if (typeof callback !== 'function') throw new TypeError('a function is wanted');
    for (const [name, value] of this) callback.call(self, value, name, this);
  }

  *entries() {
    const names = [...new Set(this.#list.map((header) => header[0]))].sort();
    for (const name of names) {
      if (name === 'set-cookie') {
        for (const value of this.getSetCookie()) yield [name, value];
      } else {
        yield [name, this.get(name)];
      }
    }
  }

  *keys() {
    for (const [name] of this.entries()) yield name;
  }

  *values() {
    for (const [, value] of this.entries()) yield value;
  }
}
Object.defineProperty(Headers.prototype, Symbol.iterator, {
  value: Headers.prototype.entries, writable: true, configurable: true,
});

// Bytes of a body, and the content type that goes with it.
const bodyOf = (body) => {
  if (body === undefined || body === null) return [null, null];
  if (ArrayBuffer.isView(body) || body instanceof ArrayBuffer) return [bytesOf(body).slice(), null];
  if (body instanceof URLSearchParams) {
    return [host.encodeUtf8(body.toString()), 'application/x-www-form-urlencoded;charset=UTF-8'];
  }
  return [host.encodeUtf8(usvString(body)), 'text/plain;charset=UTF-8'];
};

let responseOf;

class Response {
  #bytes;
  #used = false;
  #status;
  #statusText;
  #headers;
  #url = '';
  #redirected = false;

  static {
    responseOf = (status, statusText, url, redirected, headers, bytes) => {
      const response = new Response(null, { status, statusText });
      for (let place = 0; place < headers.length; place += 2) {
        response.#headers.append(headers[place], headers[place + 1]);
      }
      response.#bytes = NULL_BODY.has(status) ? null : bytes;
      response.#url = url;
      response.#redirected = redirected;
      return response;
    };
  }

  constructor(body = null, init = undefined) {
    const { status = 200, statusText = '', headers } = optionsOf(init);
    const number = Number(status);
    if (!Number.isInteger(number) || number < 200 || number > 599) {
      throw new RangeError('the status must be from 200 to 599');
    }
    const [bytes, type] = bodyOf(body);
    if (bytes !== null && NULL_BODY.has(number)) {
      throw new TypeError(`a response of status ${number} has no body`);
    }
    this.#status = number;
    this.#statusText = byteString(statusText);
    this.#headers = new Headers(headers);
    if (type !== null && !this.#headers.has('content-type')) this.#headers.append('content-type', type);
    this.#bytes = bytes;
  }

  static json(data, init = undefined) {
    const text = stringify(data);
    if (text === undefined) throw new TypeError('the data is not JSON');
    const response = new Response(host.encodeUtf8(text), init);
    if (!response.headers.has('content-type')) response.headers.set('content-type', 'application/json');
    return response;
  }

  get ok() {
    return this.#status < 300;
  }

  get status() {
    return this.#status;
  }

  get statusText() {
    return this.#statusText;
  }

  get headers() {
    return this.#headers;
  }

  get url() {
    return this.#url;
  }

  get redirected() {
    return this.#redirected;
  }

  get bodyUsed() {
    return this.#used;
  }

  #take() {
    if (this.#used) throw new TypeError('the body has been read already');
    const bytes = this.#bytes ?? new Uint8Array(0);
    this.#used = this.#bytes !== null;
    return bytes;
  }

  async bytes() {
    return this.#take();
  }

  async arrayBuffer() {
    return this.#take().buffer;
  }

  async text() {
    return new TextDecoder().decode(this.#take());
  }

  async json() {
    return parse(new TextDecoder().decode(this.#take()));
  }

  clone() {
    if (this.#used) throw new TypeError('the body has been read already');
    const { status, statusText, headers } = this;
    const twin = new Response(null, { status, statusText, headers });
    twin.#bytes = this.#bytes === null ? null : this.#bytes.slice();
    twin.#url = this.#url;
    twin.#redirected = this.#redirected;
    return twin;
  }
}

const methodOf = (method) => {
  const text = byteString(method);
  if (!TOKEN.test(text)) throw new TypeError(`"${text}" is not a method`);
  const upper = text.toUpperCase();
  if (['CONNECT', 'TRACE', 'TRACK'].includes(upper)) throw new TypeError(`the method ${upper} is forbidden`);
  return ['DELETE', 'GET', 'HEAD', 'OPTIONS', 'POST', 'PUT'].includes(upper) ? upper : text;
};

const fetch = async function fetch(input, init = undefined) {
  required(arguments, 1, 'fetch');
  const options = optionsOf(init);
  const url = new URL(input);
  if (url.username !== '' || url.password !== '') throw new TypeError('a URL to fetch may hold no credentials');
  url.hash = '';
  const method = methodOf(options.method ?? 'GET');
  const headers = new Headers(options.headers ?? undefined);
  const [bytes, type] = bodyOf(options.body);
  if (bytes !== null && (method === 'GET' || method === 'HEAD')) {
    throw new TypeError(`a ${method} request has no body`);
  }
  if (type !== null && !headers.has('content-type')) headers.append('content-type', type);
  const redirect = `${options.redirect ?? 'follow'}`;
  if (!['follow', 'error', 'manual'].includes(redirect)) throw new TypeError(`"${redirect}" is not a way to redirect`);
  return ask(() => host.fetch(method, url.href, [...headers].flat(), bytes ?? undefined, redirect));
};

define('Headers', Headers);
define('Response', Response);
define('fetch', fetch);
