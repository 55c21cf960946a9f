// Encoding standard: TextEncoder and TextDecoder, for UTF-8.
const UTF8_LABELS = new Set(['unicode-1-1-utf-8', 'unicode11utf8', 'unicode20utf8', 'utf-8', 'utf8', 'x-unicode20utf8']);

class TextEncoder {
  get encoding() {
    return 'utf-8';
  }

  encode(text = '') {
    return host.encodeUtf8(usvString(text));
  }

  encodeInto(source, destination) {
    required(arguments, 2, 'encodeInto');
    if (!(destination instanceof Uint8Array)) throw new TypeError('a Uint8Array is wanted');
    const text = usvString(source);
    let read = 0;
    let written = 0;
    for (const character of text) {
      const code = character.codePointAt(0);
      const bytes = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
      if (written + bytes > destination.length) break;
      read += character.length;
      written += bytes;
    }
    destination.set(host.encodeUtf8(text.slice(0, read)));
    return { read, written };
  }
}

class TextDecoder {
  #fatal;
  #ignoreBOM;
  #rest = new Uint8Array(0);
  #begun = false;

  constructor(label = 'utf-8', options = undefined) {
    const name = `${label}`.replace(/^[\t\n\f\r ]+|[\t\n\f\r ]+$/g, '').toLowerCase();
    if (!UTF8_LABELS.has(name)) throw new RangeError(`the encoding "${label}" is not supported`);
    const { fatal = false, ignoreBOM = false } = optionsOf(options);
    this.#fatal = Boolean(fatal);
    this.#ignoreBOM = Boolean(ignoreBOM);
  }

  get encoding() {
    return 'utf-8';
  }

  get fatal() {
    return this.#fatal;
  }

  get ignoreBOM() {
    return this.#ignoreBOM;
  }

  decode(input = new Uint8Array(0), options = undefined) {
    const stream = Boolean(optionsOf(options).stream);
    let bytes = bytesOf(input);
    if (this.#rest.length > 0) {
      const joined = new Uint8Array(this.#rest.length + bytes.length);
      joined.set(this.#rest);
      joined.set(bytes, this.#rest.length);
      bytes = joined;
    }
    this.#rest = new Uint8Array(0);
    const begun = this.#begun;
    this.#begun = false;
    let [text, consumed] = host.decodeUtf8(bytes, this.#fatal, stream);
    if (stream) {
      this.#rest = bytes.slice(consumed);
      this.#begun = begun || text.length > 0;
    }
    if (!begun && !this.#ignoreBOM && text.startsWith('\uFEFF')) text = text.slice(1);
    return text;
  }
}

define('TextEncoder', TextEncoder);
define('TextDecoder', TextDecoder);
