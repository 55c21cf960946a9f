// Web Cryptography: randomness, digests, HMAC.
const HASHES = { 'SHA-1': 512, 'SHA-256': 512, 'SHA-384': 1024, 'SHA-512': 1024 };
const INTEGERS = [Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array, BigInt64Array, BigUint64Array];
const notSupported = (what) => new DOMException(`${what} is not supported`, 'NotSupportedError');
const nameOf = (algorithm) => {
  const name = typeof algorithm === 'object' && algorithm !== null ? algorithm.name : algorithm;
  if (name === undefined) throw new TypeError('an algorithm with a name is wanted');
  return `${name}`.toUpperCase();
};
const hashOf = (algorithm) => {
  const name = nameOf(algorithm);
  if (!Object.hasOwn(HASHES, name)) throw notSupported(`the hash ${name}`);
  return name;
};
const hmac = (algorithm) => {
  const name = nameOf(algorithm);
  if (name !== 'HMAC') throw notSupported(`the algorithm ${name}`);
};

const KEY = Symbol('key');
let secretOf;

class CryptoKey {
  #secret;
  #algorithm;
  #extractable;
  #usages;

  static {
    secretOf = (key, usage) => {
      if (typeof key !== 'object' || key === null || !(#secret in key)) {
        throw new TypeError('a CryptoKey is wanted');
      }
      if (!key.#usages.includes(usage)) {
        throw new DOMException(`the key is not for "${usage}"`, 'InvalidAccessError');
      }
      return [key.#algorithm.hash.name, key.#secret];
    };
  }

  constructor(key, secret, algorithm, extractable, usages) {
    if (key !== KEY) throw new TypeError('keys are made by crypto.subtle.importKey');
    this.#secret = secret;
    this.#algorithm = algorithm;
    this.#extractable = extractable;
    this.#usages = usages;
  }

  get type() {
    return 'secret';
  }

  get algorithm() {
    return this.#algorithm;
  }

  get extractable() {
    return this.#extractable;
  }

  get usages() {
    return this.#usages;
  }
}

const subtle = Object.freeze({
  async digest(algorithm, data) {
    required(arguments, 2, 'digest');
    return host.digest(hashOf(algorithm), bytesOf(data)).buffer;
  },

  async importKey(format, data, algorithm, extractable, usages) {
    required(arguments, 5, 'importKey');
    if (format !== 'raw') throw notSupported(`the key format ${format}`);
    hmac(algorithm);
    const hash = hashOf(algorithm.hash);
    const secret = bytesOf(data).slice();
    const length = secret.length * 8;
    if (length === 0) throw new DOMException('the key is empty', 'DataError');
    if (algorithm.length !== undefined && Number(algorithm.length) !== length) {
      throw new DOMException('the key has another length', 'DataError');
    }
    const uses = [...new Set([...usages].map(String))];
    if (uses.length === 0 || uses.some((usage) => usage !== 'sign' && usage !== 'verify')) {
      throw new DOMException('an HMAC key is for "sign", "verify" or both', 'SyntaxError');
    }
    return new CryptoKey(KEY, secret, { name: 'HMAC', length, hash: { name: hash } }, Boolean(extractable), uses);
  },

  async sign(algorithm, key, data) {
    required(arguments, 3, 'sign');
    hmac(algorithm);
    return host.sign(...secretOf(key, 'sign'), bytesOf(data)).buffer;
  },

  async verify(algorithm, key, signature, data) {
    required(arguments, 4, 'verify');
    hmac(algorithm);
    return host.verify(...secretOf(key, 'verify'), bytesOf(signature), bytesOf(data));
  },
});

const crypto = Object.freeze({
  subtle,

  getRandomValues(array) {
    if (!INTEGERS.some((type) => array instanceof type)) {
      throw new DOMException('an array of integers is wanted', 'TypeMismatchError');
    }
    if (array.byteLength > 65536) {
      throw new DOMException('over 65,536 bytes at once', 'QuotaExceededError');
    }
    bytesOf(array).set(host.randomBytes(array.byteLength));
    return array;
  },

  randomUUID() {
    const bytes = host.randomBytes(16);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
    return hex.replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, '$1-$2-$3-$4-$5');
  },
});

define('CryptoKey', CryptoKey);
define('crypto', crypto);
