// URL standard: URL and URLSearchParams. Parsing and serialising are the host's.
const URL_PARTS = ['href', 'origin', 'protocol', 'username', 'password', 'host', 'hostname', 'port', 'pathname', 'search', 'hash'];
let attachParams;
let replaceParams;
let setSearch;

class URLSearchParams {
  #pairs = [];
  #url = null;

  static {
    attachParams = (url) => {
      const params = new URLSearchParams();
      params.#url = url;
      return params;
    };
    replaceParams = (params, search) => {
      params.#pairs = URLSearchParams.#parse(search);
    };
  }

  constructor(init = '') {
    if (typeof init === 'function' || (typeof init === 'object' && init !== null)) {
      const iterator = init[Symbol.iterator];
      if (iterator !== undefined && iterator !== null) {
        for (const pair of init) {
          const items = [...pair];
          if (items.length !== 2) throw new TypeError('each pair must have two items');
          this.#pairs.push([usvString(items[0]), usvString(items[1])]);
        }
      } else {
        const record = new Map();
        for (const key of Reflect.ownKeys(init)) {
          if (!Object.getOwnPropertyDescriptor(init, key)?.enumerable) continue;
          record.set(usvString(key), usvString(init[key]));
        }
        this.#pairs = [...record];
      }
    } else {
      this.#pairs = URLSearchParams.#parse(usvString(init));
    }
  }

  static #parse(text) {
    const flat = host.parseForm(text.startsWith('?') ? text.slice(1) : text);
    const pairs = [];
    for (let place = 0; place < flat.length; place += 2) pairs.push([flat[place], flat[place + 1]]);
    return pairs;
  }

  #changed() {
    if (this.#url !== null) setSearch(this.#url, this.toString());
  }

  get size() {
    return this.#pairs.length;
  }

  append(name, value) {
    required(arguments, 2, 'append');
    this.#pairs.push([usvString(name), usvString(value)]);
    this.#changed();
  }

  delete(name, value = undefined) {
    required(arguments, 1, 'delete');
    const key = usvString(name);
    const text = value === undefined ? undefined : usvString(value);
    this.#pairs = this.#pairs.filter((pair) => pair[0] !== key || (text !== undefined && pair[1] !== text));
    this.#changed();
  }

  get(name) {
    required(arguments, 1, 'get');
    const key = usvString(name);
    return this.#pairs.find((pair) => pair[0] === key)?.[1] ?? null;
  }

  getAll(name) {
    required(arguments, 1, 'getAll');
    const key = usvString(name);
    return this.#pairs.filter((pair) => pair[0] === key).map((pair) => pair[1]);
  }

  has(name, value = undefined) {
    required(arguments, 1, 'has');
    const key = usvString(name);
    const text = value === undefined ? undefined : usvString(value);
    return this.#pairs.some((pair) => pair[0] === key && (text === undefined || pair[1] === text));
  }

  set(name, value) {
    required(arguments, 2, 'set');
    const key = usvString(name);
    const text = usvString(value);
    const place = this.#pairs.findIndex((pair) => pair[0] === key);
    if (place < 0) {
      this.#pairs.push([key, text]);
    } else {
      this.#pairs[place][1] = text;
      this.#pairs = this.#pairs.filter((pair, index) => index <= place || pair[0] !== key);
    }
    this.#changed();
  }

  sort() {
    this.#pairs.sort(([one], [other]) => (one < other ? -1 : one > other ? 1 : 0));
    this.#changed();
  }

  forEach(callback, self = undefined) {
    if (typeof callback !== 'function') throw new TypeError('a function is wanted');
    for (const [name, value] of this) callback.call(self, value, name, this);
  }

  *entries() {
    for (let place = 0; place < this.#pairs.length; place += 1) yield [...this.#pairs[place]];
  }

  *keys() {
    for (const [name] of this.entries()) yield name;
  }

  *values() {
    for (const [, value] of this.entries()) yield value;
  }

  toString() {
    return host.serializeForm(this.#pairs.flat());
  }
}
Object.defineProperty(URLSearchParams.prototype, Symbol.iterator, {
  value: URLSearchParams.prototype.entries, writable: true, configurable: true,
});

class URL {
  #parts;
  #params = null;

  static {
    setSearch = (url, search) => {
      url.#parts = host.setUrl(url.#parts[0], 'search', search);
    };
    URL_PARTS.forEach((name, place) => {
      const get = function () {
        return this.#parts[place];
      };
      const set = function (value) {
        const parts = host.setUrl(this.#parts[0], name, usvString(value));
        if (parts === undefined) throw new TypeError(`Invalid URL: ${value}`);
        this.#parts = parts;
        if (this.#params !== null) replaceParams(this.#params, this.search);
      };
      Object.defineProperty(URL.prototype, name, {
        get, set: name === 'origin' ? undefined : set, enumerable: true, configurable: true,
      });
    });
  }

  constructor(url, base = undefined) {
    required(arguments, 1, 'URL');
    const parts = URL.#parse(url, base);
    if (parts === undefined) throw new TypeError(`Invalid URL: ${url}`);
    this.#parts = parts;
  }

  static #parse(url, base) {
    return host.parseUrl(usvString(url), base === undefined ? undefined : usvString(base));
  }

  static canParse(url, base = undefined) {
    required(arguments, 1, 'canParse');
    return URL.#parse(url, base) !== undefined;
  }

  static parse(url, base = undefined) {
    required(arguments, 1, 'parse');
    return URL.canParse(url, base) ? new URL(url, base) : null;
  }

  get searchParams() {
    if (this.#params === null) {
      this.#params = attachParams(this);
      replaceParams(this.#params, this.search);
    }
    return this.#params;
  }

  toString() {
    return this.#parts[0];
  }

  toJSON() {
    return this.#parts[0];
  }
}

define('URL', URL);
define('URLSearchParams', URLSearchParams);
